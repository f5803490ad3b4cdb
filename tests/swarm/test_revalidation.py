"""Revalidation: one request per interval, every waiter told, whoever is sent in vain replaced."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pstore.swarm.messages import Outcome, Revalidated, Stale
from p2pstore.swarm.revalidation import MAX_TRIES, REVALIDATE_S, WAIT_S, Revalidation
from p2pstore.swarm.terms import Fence, Term
from p2pstore.types import NodeId

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")


def fence(number: int) -> Fence:
    return Fence(Term(1, A), number)


def report(number: int, status: int = 304, age_s: float = 0.0) -> Revalidated:
    return Revalidated(fence(number), status, (("etag", '"x"'),), age_s)


def asked(*nodes: NodeId, origin: bool = True) -> Revalidation:
    one = Revalidation()
    for node in nodes:
        assert one.ask(node, Stale(0, origin), 0.0) is None
    return one


def test_all_wait_for_one_and_all_are_told() -> None:
    one = asked(A, B)
    assert (one.waiting, one.candidates()) == (True, [A, B])
    one.give(fence(1), A, 0.0)
    assert (one.waiting, one.busy) == (False, True)
    assert one.ask(C, Stale(0, True), 0.1) is None
    result = one.reported(A, report(1), 0.2)
    assert result is not None
    outcome, waiters = result
    assert (outcome.order, outcome.status, waiters) == (1, 304, (A, B, C))
    assert not one.busy


def test_a_copy_from_before_the_outcome_gets_it_with_its_age() -> None:
    one = asked(A)
    one.give(fence(1), A, 0.0)
    one.reported(A, report(1, age_s=2.0), 1.0)
    late = one.ask(B, Stale(0, True), 4.0)
    assert late is not None and (late.order, late.age_s) == (1, 5.0)
    assert not one.busy, "no second request"


def test_a_copy_that_carries_the_outcome_leads_to_another() -> None:
    one = asked(A)
    one.give(fence(1), A, 0.0)
    one.reported(A, report(1), 1.0)
    assert one.ask(B, Stale(1, True), 4.0) is None
    assert one.waiting


def test_a_caller_may_insist() -> None:
    one = asked(A)
    one.give(fence(1), A, 0.0)
    one.reported(A, report(1), 1.0)
    assert one.ask(B, Stale(0, True, force=True), 1.1) is None
    assert one.waiting


def test_only_the_lessee_is_believed() -> None:
    one = asked(A, B)
    one.give(fence(1), A, 0.0)
    assert one.reported(B, report(1), 0.1) is None
    assert one.reported(A, report(2), 0.1) is None
    assert one.busy


def test_who_gets_no_answer_is_replaced_and_then_all_are_told_so() -> None:
    one = asked(*(NodeId(f"{number}") for number in range(MAX_TRIES + 2)))
    for number in range(1, MAX_TRIES + 1):
        lessee = one.candidates()[0]
        one.give(fence(number), lessee, 0.0)
        result = one.reported(lessee, report(number, status=0), 0.1)
        assert (result is None) == (number < MAX_TRIES)
    assert result is not None and result[0].status == 0
    assert len(result[1]) == MAX_TRIES + 2
    assert one.last is None, "a failure is not remembered"


def test_a_silent_lessee_and_a_dead_one_lose_the_lease() -> None:
    one = asked(A, B, C)
    one.give(fence(1), A, 0.0)
    assert one.expire(REVALIDATE_S * 0.9) is None
    one.expire(REVALIDATE_S)
    assert one.candidates() == [B, C]
    one.give(fence(2), B, REVALIDATE_S)
    one.node_lost(B)
    assert one.candidates() == [C]


def test_waiters_are_told_when_nobody_can_ask() -> None:
    one = asked(A, B, origin=False)
    assert one.candidates() == []
    assert one.expire(WAIT_S * 0.9) is None
    result = one.expire(WAIT_S)
    assert result is not None and (result[0].status, result[1]) == (0, (A, B))


def test_nobody_left_who_waits() -> None:
    one = asked(A)
    one.node_lost(A)
    assert not one.busy


def test_orders_rise_over_a_change_of_the_referee() -> None:
    one = Revalidation()
    one.adopt(Outcome(7, 304, (), 0.0), 0.0)
    one.adopt(Outcome(3, 304, (), 0.0), 0.0)
    assert one.last is not None and one.last.order == 7
    amnesiac = Revalidation()
    amnesiac.ask(A, Stale(9, True), 0.0)
    amnesiac.give(fence(1), A, 0.0)
    result = amnesiac.reported(A, report(1), 0.1)
    assert result is not None and result[0].order == 10


class Cluster:
    """Copies that expire every second, and news that takes its time."""

    def __init__(self, one: Revalidation) -> None:
        self.one, self.requests, self.fences = one, 0, 0
        self.orders = dict.fromkeys((A, B, C), 0)

    def interval(self, order: list[tuple[NodeId, bool]], now: float) -> None:
        """Every node asks for its stale copy, some of them only after the outcome is there."""
        early = [node for node, late in order if not late] or [order[0][0]]
        for node in early:
            self.ask(node, now)
        self.settle(now)
        for node, _ in order:
            if node not in early:
                self.ask(node, now)
        self.settle(now)

    def settle(self, now: float) -> None:
        while self.one.waiting:
            self.requests, self.fences = self.requests + 1, self.fences + 1
            lessee = self.one.candidates()[0]
            self.one.give(fence(self.fences), lessee, now)
            result = self.one.reported(lessee, report(self.fences), now)
            assert result is not None
            for node in result[1]:
                self.orders[node] = result[0].order

    def ask(self, node: NodeId, now: float) -> None:
        outcome = self.one.ask(node, Stale(self.orders[node], True), now)
        if outcome is not None:
            self.orders[node] = outcome.order


LATE = st.lists(
    st.permutations([A, B, C]).flatmap(
        lambda nodes: st.tuples(*(st.tuples(st.just(n), st.booleans()) for n in nodes))
    ),
    min_size=1,
    max_size=20,
)


def requests(one: Revalidation, intervals: list[tuple[tuple[NodeId, bool], ...]]) -> int:
    cluster = Cluster(one)
    for number, order in enumerate(intervals):
        cluster.interval(list(order), float(number))
    return cluster.requests


@given(LATE)
def test_one_request_per_interval(intervals: list[tuple[tuple[NodeId, bool], ...]]) -> None:
    assert requests(Revalidation(), intervals) == len(intervals)


def test_a_planted_forgetfulness_is_caught() -> None:
    class Forgets(Revalidation):
        def ask(self, node: NodeId, stale: Stale, now: float) -> Outcome | None:
            self.last = None
            return super().ask(node, stale, now)

    late: list[tuple[tuple[NodeId, bool], ...]] = [((A, False), (B, True), (C, False))] * 2
    assert requests(Revalidation(), late) == 2
    assert requests(Forgets(), late) != 2
