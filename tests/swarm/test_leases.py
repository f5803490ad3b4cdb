"""Leases: file order by the stripe, nothing twice, deadlines, and what comes back when a lessee is slow or gone."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2pstore.swarm import leases as leases_module
from p2pstore.swarm.leases import (
    DOUBT_S,
    LEAST_AGE_S,
    MAX_STALL_S,
    MAX_URGENT,
    RELEASE_S,
    STALL_S,
    Lease,
    Leases,
)
from p2pstore.swarm.messages import HeldLease
from p2pstore.swarm.pieces import bits
from p2pstore.swarm.shape import MAX_PIECES, Shape
from p2pstore.swarm.terms import Fence, Term
from p2pstore.types import NodeId

A, B = NodeId("a"), NodeId("b")
PIECE = 256 << 10


def fence(number: int, term: int = 1) -> Fence:
    return Fence(Term(term, A), number)


def shape(pieces: int | None = 10, *, ranges: bool = True, validator: str = "v") -> Shape:
    return Shape(length=None if pieces is None else pieces * PIECE, ranges=ranges, validator=validator)


def given(leases: Leases, *nodes: NodeId, now: float = 0.0) -> list[Lease]:
    found = [
        leases.give(fence(len(leases.active) + number + 100), node, now) for number, node in enumerate(nodes)
    ]
    return [lease for lease in found if lease is not None]


def free(leases: Leases) -> int:
    """The property anew: a type checker takes it for unchanged."""
    return leases.free


def spans(leases: list[Lease]) -> list[tuple[int, int]]:
    return [(lease.first, lease.count) for lease in leases]


def nobody(_node: NodeId) -> bool:
    return False


def anybody(_node: NodeId) -> bool:
    return True


def test_stripes_in_file_order() -> None:
    leases = Leases(shape(10))
    assert spans(given(leases, A, B, A, B)) == [(0, 4), (4, 4), (8, 2)]
    assert not free(leases)
    leases.check()


def test_what_is_held_is_not_leased_and_a_stripe_with_a_hole_is_two() -> None:
    leases = Leases(shape(10))
    leases.note_held(0b0110_0010)
    assert spans(given(leases, A, A, A, A, A)) == [(0, 1), (2, 2), (4, 1), (7, 1), (8, 2)]


def test_the_first_stripe_is_the_openers() -> None:
    leases = Leases(shape(10))
    leases.opened(fence(1), A, 0.0)
    assert leases.leased == 0b1111
    assert spans(given(leases, B)) == [(4, 4)]


def test_a_readers_stripe_is_next() -> None:
    leases = Leases(shape(40))
    leases.hurry(21)
    leases.hurry(99)
    assert spans(given(leases, A, A)) == [(21, 3), (0, 4)]
    for piece in range(2 * MAX_URGENT):
        leases.hurry(piece % 40)
    leases.check()


def test_a_lease_is_over_when_its_pieces_are_there_whoever_brought_them() -> None:
    leases = Leases(shape(8))
    first, second = given(leases, A, B)
    assert leases.note_held(0b0111) == []
    assert leases.note_held(0b1111_1111) == [first, second]
    assert leases.done and not leases.active


def test_bytes_are_progress_and_silence_is_not() -> None:
    leases = Leases(shape(8))
    (lease,) = given(leases, A)
    assert leases.progressed(lease.fence, A, 1000, 1.5) == 1000
    assert leases.progressed(lease.fence, A, 900, 1.6) == 0
    assert leases.progressed(lease.fence, B, 9000, 1.6) == 0
    assert leases.expire(1.5 + STALL_S * 0.9, nobody) == []
    assert leases.expire(1.5 + STALL_S, nobody) == [lease]


def test_a_revoked_lease_is_free_when_released_or_not_answered_for() -> None:
    leases = Leases(shape(8))
    first, _second = given(leases, A, B)
    leases.expire(STALL_S, nobody)
    assert not free(leases), "not before the lessee said so, or had the time to"
    leases.released(first.fence, A, 0, STALL_S + 0.1)
    assert free(leases) == 0b1111
    leases.expire(STALL_S + RELEASE_S, nobody)
    assert free(leases) == 0b1111_1111


def test_what_had_begun_stays_with_its_lessee() -> None:
    leases = Leases(shape(8))
    (lease,) = given(leases, A)
    leases.expire(STALL_S, nobody)
    leases.released(lease.fence, A, 0b0010, STALL_S)
    assert free(leases) == 0b1111_1101
    leases.note_held(0b0010)
    assert not leases.active


def test_a_residue_that_stalls_is_free_without_asking_again() -> None:
    leases = Leases(shape(8))
    (lease,) = given(leases, A)
    leases.expire(STALL_S, nobody)
    leases.released(lease.fence, A, 0b0010, STALL_S)
    assert leases.expire(STALL_S * 4, nobody) == []
    assert free(leases) == 0b1111_1111


def test_patience_grows_while_nobody_receives_anything_and_ends_with_a_byte() -> None:
    leases = Leases(shape(4))
    now, waits = 0.0, []
    for number in range(8):
        lease = leases.give(fence(number), A, now)
        assert lease is not None
        began = now
        while not leases.expire(now, nobody):
            now += 0.5
        waits.append(now - began)
        leases.released(lease.fence, A, 0, now)
    assert waits == [2, 4, 8, 16, 30, 30, 30, 30]
    assert waits[-1] == MAX_STALL_S
    lease = leases.give(fence(99), A, now)
    assert lease is not None and leases.progressed(lease.fence, A, 1, now)
    assert leases.expire(now + STALL_S, nobody) == [lease]


def finished_in(leases: Leases, seconds: float) -> None:
    lease = leases.give(fence(1), B, 0.0)
    assert lease is not None
    leases.progressed(lease.fence, B, 4 * PIECE, seconds)
    leases.note_held(lease.left)
    leases.finished(lease, seconds)


@pytest.mark.parametrize(("pieces", "factor"), [(40, 4.0), (8, 2.0)])
def test_a_slow_lessee_gives_way_if_others_wait_sooner_in_the_endgame(pieces: int, factor: float) -> None:
    leases = Leases(shape(pieces))
    finished_in(leases, 1.0)
    (lease,) = given(leases, A, now=0.0)
    for tenth in range(1, 60):
        now = tenth / 10
        leases.progressed(lease.fence, A, tenth, now)
        assert leases.expire(now, nobody) == []
        if leases.expire(now, anybody):
            assert factor < now <= factor + 0.11
            return
    pytest.fail("never revoked")


def test_no_lease_is_slow_at_once() -> None:
    leases = Leases(shape(40))
    finished_in(leases, 0.001)
    given(leases, A)
    assert leases.expire(LEAST_AGE_S, anybody) == []


def test_an_origin_that_grew_slower_does_not_lose_every_lease() -> None:
    leases = Leases(shape(400))
    finished_in(leases, 1.0)
    revoked, now = 0, 0.0
    for number in range(10):
        lease = leases.give(fence(100 + number), A, now)
        assert lease is not None
        for tenth in range(1, 80):
            leases.progressed(lease.fence, A, tenth, now + tenth / 10)
            if leases.expire(now + tenth / 10, anybody):
                revoked += 1
                leases.released(lease.fence, A, 0, now)
                break
        now += 8.0
        leases.close(lease.fence, A)
    assert revoked <= 2


def test_what_only_a_dead_member_had_is_in_doubt_for_a_while() -> None:
    leases = Leases(shape(8))
    leases.note_held(0b1111_1111)
    assert leases.holders_lost(0b0000_1111, 0.0)
    assert not free(leases)
    leases.note_held(0b0001_0000)
    leases.expire(DOUBT_S * 0.9, nobody)
    assert not free(leases)
    leases.expire(DOUBT_S, nobody)
    assert free(leases) == 0b1110_0000
    assert not leases.holders_lost(0b1111_1111, 0.0)


def test_many_losses_are_kept_in_a_bounded_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "MAX_DOUBTS", 3)
    leases = Leases(shape(40))
    leases.note_held(bits(0, 40))
    for lost in range(1, 20):
        leases.holders_lost(bits(lost, 40), lost / 100)
        leases.check()
    leases.expire(DOUBT_S + 0.2, nobody)
    assert free(leases) == bits(0, 19)


def test_hearsay_counts_until_members_had_time_to_confirm_it() -> None:
    leases = Leases(shape(8))
    leases.hearsay(0b1111, 0.0)
    assert free(leases) == 0b1111_0000 and leases.held == 0
    leases.note_held(0b0011)
    leases.expire(2 * DOUBT_S, nobody)
    assert free(leases) == 0b1111_1100


def test_a_predecessors_lease_goes_on_and_a_contested_one_does_not() -> None:
    leases = Leases(shape(12))
    given(leases, A)
    assert leases.adopt(HeldLease(fence(5, term=0), 4, 4, 0b1110_0000), B, 0.0)
    assert free(leases) == 0b1111_0001_0000
    assert leases.adopt(HeldLease(fence(5, term=0), 4, 4, 0b1110_0000), B, 0.0), "said again"
    assert not leases.adopt(HeldLease(fence(6, term=0), 0, 4, 0b1111), B, 0.0)
    leases.note_held(0b1111_0000_0000)
    assert leases.adopt(HeldLease(fence(7, term=0), 8, 4, bits(8, 4)), B, 0.0), "late, and all there"
    assert leases.count_of(B) == 1
    leases.check()


@pytest.mark.parametrize("pieces", [8, None])
def test_what_can_not_be_cut_is_one_lease(pieces: int | None) -> None:
    leases = Leases(shape(pieces, ranges=False))
    first = given(leases, A, B)
    assert spans(first) == [(0, 0)]
    leases.note_held(0b0111)
    leases.check()
    leases.node_lost(A)
    assert spans(given(leases, B)) == [(0, 0)], "from the beginning, since there is no other way"


def test_the_end_tells_an_unknown_length() -> None:
    leases = Leases(shape(None))
    (lease,) = given(leases, A)
    leases.note_held(0b111)
    assert leases.active
    assert leases.learn_length(shape(None).ended(3 * (4 << 20))) == [lease]
    assert leases.done
    leases.check()


def test_pieces_that_can_not_be_are_ignored() -> None:
    leases = Leases(shape(8))
    leases.note_held(1 << 8)
    assert leases.held == 0
    endless = Leases(shape(None))
    endless.note_held(1 << MAX_PIECES | 1)
    assert endless.held == 1


def test_only_the_lessee_gives_back() -> None:
    leases = Leases(shape(8))
    (lease,) = given(leases, A)
    assert leases.close(lease.fence, B) is None
    assert leases.close(lease.fence, A) is lease
    assert free(leases) == 0b1111_1111
    assert leases.table() == ()


class AnyHistory(RuleBasedStateMachine):
    """Leases under anything that members may say, in any order; the books are kept here a second time."""

    core = Leases
    PIECES = 14

    def __init__(self) -> None:
        super().__init__()
        self.leases = self.core(shape(self.PIECES))
        self.now = 0.0
        self.numbers = 0
        self.have: dict[NodeId, int] = {A: 0, B: 0}
        self.given: dict[Fence, tuple[NodeId, int]] = {}
        self.ended: set[Fence] = set()

    @rule(node=st.sampled_from([A, B]))
    def ask(self, node: NodeId) -> None:
        self.numbers += 1
        free = self.leases.free
        lease = self.leases.give(fence(self.numbers), node, self.now)
        assert (lease is not None) == bool(free), "what is free is given"
        if lease is not None:
            span = bits(lease.first, lease.count)
            assert not span & ~free, "what is not free is not given"
            for other, (_, pieces) in self.given.items():
                assert other in self.ended or not span & pieces & ~self.union(), "leased twice"
            self.given[lease.fence] = (node, span)

    def union(self) -> int:
        return self.have[A] | self.have[B]

    @precondition(lambda self: self.given)
    @rule(data=st.data(), pieces=st.integers(0, 0b1111))
    def bring(self, data: st.DataObject, pieces: int) -> None:
        one = data.draw(st.sampled_from(sorted(self.given)))
        node, span = self.given[one]
        mine = span & (pieces << (span & -span).bit_length() - 1)
        self.have[node] |= mine
        self.leases.progressed(one, node, mine.bit_count() * PIECE, self.now)
        for lease in self.leases.note_held(mine):
            self.ended.add(lease.fence)
            self.leases.finished(lease, self.now)

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(sorted(self.given)))
        if self.leases.close(one, self.given[one][0]) is not None:
            self.ended.add(one)

    @precondition(lambda self: self.given)
    @rule(data=st.data(), begun=st.integers(0, 0b1111))
    def release(self, data: st.DataObject, begun: int) -> None:
        one = data.draw(st.sampled_from(sorted(self.given)))
        node, span = self.given[one]
        keep = span & (begun << (span & -span).bit_length() - 1)
        active = self.leases.active.get(one)
        if active is not None and active.revoked_at is not None:
            self.leases.released(one, node, keep, self.now)
            self.given[one] = (node, span & keep)
            if one not in self.leases.active:
                self.ended.add(one)

    @rule(node=st.sampled_from([A, B]))
    def die(self, node: NodeId) -> None:
        self.ended |= {lease.fence for lease in self.leases.node_lost(node)}
        self.have[node] = 0
        self.leases.holders_lost(self.union(), self.now)

    @rule(passed=st.sampled_from([0.1, 1.0, 2.0, 31.0]), wanted=st.booleans())
    def wait(self, passed: float, wanted: bool) -> None:
        self.now += passed
        self.leases.expire(self.now, lambda _: wanted)
        self.ended |= self.given.keys() - self.leases.active.keys()

    @invariant()
    def agrees(self) -> None:
        self.leases.check()
        assert self.leases.held == self.union(), "held is what live members have"
        assert not self.ended & self.leases.active.keys()

    def teardown(self) -> None:
        """Whatever was, somebody who goes on asking gets everything."""
        for _ in range(40):
            self.now += MAX_STALL_S
            for lease in self.leases.expire(self.now, anybody):
                self.leases.released(lease.fence, lease.node, 0, self.now)
            self.numbers += 1
            lease_ = self.leases.give(fence(self.numbers), A, self.now)
            if lease_ is not None:
                self.leases.note_held(bits(lease_.first, lease_.count))
        assert self.leases.done, "pieces are lost for ever"


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=40)


class GivesWhatIsLeased(Leases):
    @property
    def free(self) -> int:
        return self.all & ~(self.held | self.doubtful)


class KeepsDoubts(Leases):
    def expire(self, now: float, wanted: object) -> list[Lease]:
        kept = self._doubts
        revoked = super().expire(now, wanted)  # type: ignore[arg-type]
        self._doubts = kept
        return revoked


class NeverRevokes(Leases):
    def expire(self, now: float, wanted: object) -> list[Lease]:
        return []


@pytest.mark.parametrize("planted", [GivesWhatIsLeased, KeepsDoubts, NeverRevokes])
def test_planted_bugs_are_caught(planted: type[Leases]) -> None:
    machine = type("Planted", (AnyHistory,), {"core": planted}).TestCase  # type: ignore[attr-defined]
    machine.settings = settings(
        max_examples=60, stateful_step_count=40, phases=[Phase.generate], print_blob=False
    )
    with pytest.raises(AssertionError):
        machine("runTest").runTest()
