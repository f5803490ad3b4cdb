"""Who is next: in turn, a bounded share each, slow ones last."""

from __future__ import annotations

from collections import Counter

from p2pstore.swarm.askers import ALONE_S, Askers
from p2pstore.swarm.messages import MAX_HELD
from p2pstore.types import NodeId

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")


class Desk:
    """The queue and the leases that were given from it."""

    def __init__(self) -> None:
        self.askers = Askers()
        self.held: Counter[NodeId] = Counter()
        self.barred: set[NodeId] = set()

    def next(self, now: float = 0.0, window: int = 16) -> NodeId | None:
        node = self.askers.choose(window, self.held.__getitem__, lambda node: node not in self.barred, now)
        if node is not None:
            self.askers.given(node)
            self.held[node] += 1
        return node


def test_they_take_turns() -> None:
    desk = Desk()
    for node in (A, B, C):
        desk.askers.ask(node, 2)
    assert [desk.next() for _ in range(7)] == [A, B, C, A, B, C, None]


def test_asking_again_keeps_the_place() -> None:
    desk = Desk()
    desk.askers.ask(A, 1)
    desk.askers.ask(B, 1)
    desk.askers.ask(A, 4)
    assert [desk.next(), desk.next()] == [A, B]


def test_a_wish_can_be_taken_back() -> None:
    desk = Desk()
    desk.askers.ask(A, 3)
    desk.askers.ask(A, 0)
    assert desk.next() is None
    assert len(desk.askers) == 0


def test_one_alone_gets_no_more_than_it_may_hold() -> None:
    desk = Desk()
    desk.askers.ask(A, 1000)
    assert [desk.next() for _ in range(MAX_HELD + 1)] == [A] * MAX_HELD + [None]
    desk.askers.ask(A, 1000)
    assert desk.next() is None


def test_among_many_each_may_have_two() -> None:
    desk = Desk()
    desk.held[A] = 2
    for node in (A, *(NodeId(f"n{number}") for number in range(20))):
        desk.askers.ask(node, 8)
    assert desk.next(window=16) == "n0"


def test_who_can_not_reach_the_origin_is_passed_over() -> None:
    desk = Desk()
    desk.askers.ask(A, 1)
    desk.askers.ask(B, 1)
    desk.barred.add(A)
    assert desk.next() == B


def slow_desk() -> Desk:
    desk = Desk()
    for node, rate in ((A, 10.0), (B, 100.0), (C, 100.0)):
        desk.askers.measured(node, rate)
    return desk


def test_a_slow_one_waits_until_no_other_asked_for_a_while() -> None:
    desk = slow_desk()
    desk.askers.ask(A, 2)
    assert desk.next(0.0) is None
    assert desk.next(ALONE_S * 0.9) is None
    assert desk.next(ALONE_S) == A


def test_a_faster_one_goes_before_and_the_wait_begins_again() -> None:
    desk = slow_desk()
    desk.askers.ask(A, 2)
    assert desk.next(0.0) is None
    desk.askers.ask(B, 1)
    assert desk.next(ALONE_S) == B
    assert desk.next(ALONE_S) is None
    assert desk.next(2 * ALONE_S) == A


def test_a_new_one_counts_as_fast() -> None:
    desk = slow_desk()
    desk.askers.ask(NodeId("new"), 1)
    assert desk.next() == "new"


def test_a_dropped_one_is_forgotten() -> None:
    desk = slow_desk()
    desk.askers.ask(A, 2)
    desk.askers.drop(A)
    assert A not in desk.askers
    desk.askers.ask(A, 2)
    assert desk.next() == A
