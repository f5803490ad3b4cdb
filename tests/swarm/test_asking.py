"""Asking: whom, what, how much; locks in balance whatever happens; wrong bytes never counted."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from p2pstore.swarm import endgame
from p2pstore.swarm.asking import Asking
from p2pstore.swarm.blame import BAN_S, SHUN_S, Blame, Verdict
from p2pstore.swarm.choosing import WANTS_PER_PIECE
from p2pstore.swarm.decisions import Asked, Cancel, Drop, Refresh, Want
from p2pstore.swarm.neighbours import MAX_NEIGHBOURS, REFRESH_S
from p2pstore.swarm.pieces import bits
from p2pstore.swarm.requests import MAX_REQUESTS, MAX_REQUESTS_PER_PEER, MAX_WANT, Requests
from p2pstore.swarm.sampling import bitmap_of, indexes
from p2pstore.types import ByteRange, NodeId, Version

V = Version("a" * 32)
PIECE = 1000
PEERS = [NodeId(f"{number:02x}") for number in range(40)]
A, B, C = PEERS[:3]
RIGHT, WRONG, DISPUTED = Verdict.RIGHT, Verdict.WRONG, Verdict.DISPUTED


def make(pieces: int = 100, peers: int = 1, have: int = 0, rate: float = 0.0) -> Asking:
    """A node and its neighbours, which have everything."""
    asking = Asking(V, pieces * PIECE, PIECE, Blame(), have=have)
    for peer in PEERS[:peers]:
        assert asking.join(peer, bits(0, pieces), 0.0)
        asking.heard(peer, 0, 0.0, rate)
    return asking


def drain(asking: Asking, now: float = 1.0) -> list[Asked]:
    out = asking.drain(now, random.Random(1))
    asking.check()
    return out


def wants(asking: Asking, now: float = 1.0) -> list[Want]:
    return [one for one in drain(asking, now) if isinstance(one, Want)]


def accept(asking: Asking, want: Want, count: int = 1, now: float = 1.0) -> list[int]:
    """The server chooses the first pieces of the list."""
    chosen = list(want.pieces[:count])
    asking.accepted(want.peer, want.rid, bitmap_of(chosen), 0.0, 0.0, now)
    return chosen


def deliver(asking: Asking, want: Want, now: float = 1.0, verdict: Verdict = RIGHT) -> list[int]:
    chosen = accept(asking, want, want.most, now)
    for index in chosen:
        asking.arrived(want.peer, want.rid, index, verdict, now)
    return chosen


def test_a_neighbour_has_two_requests_of_different_pieces() -> None:
    asking = make()
    one, other = wants(asking)
    assert one.peer == other.peer == A
    assert one.rid != other.rid
    assert not set(one.pieces) & set(other.pieces)
    assert len(one.pieces) == WANTS_PER_PIECE * one.most == WANTS_PER_PIECE
    assert wants(asking) == []


def test_there_is_a_most_of_requests() -> None:
    asking = make(1000, peers=20, rate=1e6)
    assert len(wants(asking)) == MAX_REQUESTS


def test_a_slow_network_has_fewer_requests_out_once_it_is_known_to_be_slow() -> None:
    asking = make(1000, peers=20)
    sent = wants(asking)
    assert len(sent) == MAX_REQUESTS
    accept(asking, sent[0], now=1.0)
    asking.arrived(sent[0].peer, sent[0].rid, sent[0].pieces[0], RIGHT, 1.1)
    for want in sent[1:4]:
        asking.ended(want.peer, want.rid, 1.0)
    assert len(wants(asking, 1.2)) == 6 - 4


def test_fast_neighbours_are_asked_for_more() -> None:
    asking = make(rate=1e9)
    want = wants(asking)[0]
    assert want.most == 8
    assert len(want.pieces) == MAX_WANT


def test_the_least_waiting_is_asked_first() -> None:
    asking = make(peers=3)
    for peer, wait_s in ((A, 0.3), (B, 0.1), (C, 0.2)):
        asking.heard(peer, 0, wait_s, 1000.0)
    order = [want.peer for want in wants(asking)]
    assert order[0] == B
    assert set(order) == {A, B, C}


def test_nothing_is_asked_that_was_not_said_to_be_there() -> None:
    asking = make(8, peers=0)
    asking.join(A, 0, 0.0)
    assert wants(asking) == []
    asking.heard(A, 0b1010 | 1 << 200, 0.0, 0.0)
    want = wants(asking)[0]
    assert set(want.pieces) <= {1, 3}
    asking.heard(A, 0b100, 0.0, 0.0, dropped=0b1010)
    asking.ended(A, want.rid, 1.0)
    assert [one.pieces for one in wants(asking)] == [(2,)]


def test_pieces_next_to_the_cursor_come_first() -> None:
    asking = make(1000, peers=10, have=bits(0, 300))
    near = [max(want.pieces) < 300 + 256 for want in wants(asking)]
    assert near.count(True) >= 6


def test_the_server_chooses_and_the_rest_is_free() -> None:
    asking = make()
    want = wants(asking)[0]
    (chosen,) = accept(asking, want)
    request = asking.requests.get(want.rid, A)
    assert request is not None and request.left == 1 << chosen
    assert asking.arrived(A, want.rid, chosen, RIGHT, 1.1)
    assert asking.have == 1 << chosen
    assert asking.requests.get(want.rid, A) is None
    asking.check()


def test_all_pieces_come_one_after_another() -> None:
    asking, now = make(200, peers=4, rate=1e5), 1.0
    while asking.missing:
        now += 0.01
        for want in wants(asking, now):
            deliver(asking, want, now)
    assert asking.done
    assert drain(asking, now) == []
    assert asking.timer(now) is None


@pytest.mark.parametrize("answer", [0, 1 << 99, bits(0, 100)], ids=["nothing", "else", "too much"])
def test_an_answer_that_is_none_frees_all_and_asks_no_more_there(answer: int) -> None:
    asking = make(8)
    want = wants(asking)[0]
    asking.accepted(A, want.rid, answer, 0.0, 0.0, 1.0)
    asking.check()
    again = [index for one in wants(asking) for index in one.pieces]
    assert not set(again) & set(want.pieces)


def test_an_answer_of_somebody_else_is_not_heard() -> None:
    asking = make(peers=2)
    want = next(one for one in wants(asking) if one.peer == A)
    asking.accepted(B, want.rid, 0, 0.0, 0.0, 1.0)
    asking.busy(B, want.rid, 1.0, 1.0, random.Random(1))
    asking.ended(B, want.rid, 1.0)
    assert asking.requests.get(want.rid, A) is not None


def test_a_busy_neighbour_is_left_alone_for_a_moment() -> None:
    asking = make()
    for want in wants(asking):
        asking.busy(A, want.rid, 0.04, 1.0, random.Random(1))
    assert wants(asking, 1.001) == []
    at = asking.timer(1.001)
    assert at is not None and 1.01 <= at <= 1.03
    assert len(wants(asking, at)) == 2


def test_a_dead_neighbours_pieces_are_free_at_once() -> None:
    asking = make(8, peers=2)
    wants(asking)
    asking.left(A)
    asking.check()
    assert all(request.peer == B for request in asking.requests)
    asking.left(A)
    asking.left(B)
    assert asking.requests.pending == 0


def test_neighbours_are_bounded() -> None:
    asking = make(peers=MAX_NEIGHBOURS)
    assert not asking.join(PEERS[MAX_NEIGHBOURS], 0, 0.0)
    asking.heard(PEERS[MAX_NEIGHBOURS], 1, 0.0, 0.0)
    assert asking.join(A, 0, 0.0)


def test_a_reader_comes_first() -> None:
    asking = make(1000, peers=3)
    assert not asking.wait_for(1, ByteRange(700 * PIECE, 702 * PIECE))
    first, second, third, *_ = wants(asking)
    assert (first.pieces[0], first.first) == (700, True)
    assert (second.pieces[0], second.first) == (701, True)
    assert not third.first
    assert min(third.pieces) >= 700
    asking.cursors.forget(1)
    assert asking.wait_for(2, ByteRange(0, 1)) is False


def test_a_readers_piece_is_asked_of_who_has_it() -> None:
    asking = make(100, peers=2)
    asking.heard(A, bits(0, 50), 0.0, 0.0, whole=True)
    asking.heard(B, 0, 5.0, 1000.0)
    asking.wait_for(1, ByteRange(70 * PIECE, 71 * PIECE))
    want = wants(asking)[0]
    assert (want.peer, want.pieces[0]) == (B, 70)


def test_what_nobody_offers_is_known() -> None:
    asking = make(8)
    asking.heard(A, 0b1111, 0.0, 0.0, whole=True)
    assert asking.unheld() == 0b11110000
    assert asking.urgent() is None
    asking.wait_for(1, ByteRange(5 * PIECE, 7 * PIECE))
    assert asking.urgent() == 5
    asking.reserve(1 << 5)
    assert asking.unheld() == 0b11010000
    assert asking.urgent() == 6


def test_pieces_that_come_in_another_way_are_not_asked_for() -> None:
    asking = make(8)
    asking.reserve(bits(0, 7))
    assert [one.pieces for one in wants(asking)] == [(7,)]
    asking.release(0b1)
    assert [one.pieces for one in wants(asking)] == [(0,)]
    assert asking.stored(3)
    assert not asking.stored(3)
    asking.check()


def test_what_came_in_another_way_is_taken_back() -> None:
    asking = make()
    want = wants(asking)[0]
    chosen = accept(asking, want, 1)
    asking.stored(chosen[0])
    assert Cancel(A, want.rid, 1 << chosen[0]) in drain(asking)
    other = next(request for request in asking.requests if not request.accepted)
    lost = indexes(other.want)[0]
    asking.stored(lost)
    asking.accepted(A, other.rid, 1 << lost, 0.0, 0.0, 1.0)
    assert Cancel(A, other.rid, 1 << lost) in drain(asking)
    assert asking.requests.get(other.rid, A) is None


def test_a_request_that_nothing_is_left_of_is_taken_back_as_a_whole() -> None:
    asking = make(8)
    want = wants(asking)[0]
    for index in want.pieces:
        asking.stored(index)
    assert Cancel(A, want.rid, bitmap_of(want.pieces)) in drain(asking)
    assert asking.requests.get(want.rid, A) is None


def test_a_neighbour_whose_answers_end_with_nothing_is_dropped() -> None:
    """As when each connection to it is refused: no endless asking."""
    asking, asked = make(), 0
    while asking.neighbours.get(A) is not None:
        for want in wants(asking):
            asked += 1
            asking.ended(A, want.rid, 1.0)
    assert asked == 3
    assert asking.requests.pending == 0


def test_an_answer_that_ends_early_frees_the_rest() -> None:
    asking = make(rate=1e9)
    want = wants(asking)[0]
    chosen = accept(asking, want, 3)
    asking.arrived(A, want.rid, chosen[0], RIGHT, 1.1)
    asking.ended(A, want.rid, 1.1)
    asking.check()
    assert asking.neighbours.get(A).snubs == []  # type: ignore[union-attr]
    assert asking.requests.get(want.rid, A) is None


def test_a_zone_restricts_what_is_asked() -> None:
    asking = make(8)
    asking.restrict(A, 0b100)
    assert [one.pieces for one in wants(asking)] == [(2,)]


def test_dropped_pieces_are_missing_again() -> None:
    asking = make(4, have=0b1111)
    assert asking.missing == 0
    asking.dropped(0b10)
    assert asking.missing == 0b10
    assert [one.pieces for one in wants(asking)] == [(1,)]


def test_silence_is_snubbed_and_three_times_dropped() -> None:
    asking, now = make(), 1.0
    assert len(wants(asking, now)) == MAX_REQUESTS_PER_PEER
    for request in asking.requests:
        request.heard_at += 0.1 * request.rid
    at = asking.timer(now)
    assert at is not None and at >= now + endgame.MIN_PATIENCE_S
    out = drain(asking, at)
    assert [type(one) for one in out] == [Cancel]
    assert len(asking.requests) == 1, "one piece at a time for the snubbed"
    now = at
    while asking.neighbours.get(A) is not None:
        timer = asking.timer(now)
        assert timer is not None
        now = timer
        out = drain(asking, now)
    assert isinstance(out[-1], Drop)
    assert asking.requests.pending == 0
    assert now < 10.0
    assert not asking.join(A, 0, now)
    assert asking.join(A, 0, now + SHUN_S)


def test_a_sign_of_life_is_enough() -> None:
    asking = make()
    want, other = wants(asking)
    asking.progressed(A, want.rid, 1.9)
    asking.progressed(A, other.rid, 1.9)
    assert drain(asking, 2.5) == []
    assert drain(asking, 2.9) != []


def test_a_neighbour_that_delivers_again_is_trusted_again() -> None:
    asking = make()
    wants(asking)
    out = drain(asking, 2.0)
    want = next(one for one in out + drain(asking, 2.0) if isinstance(one, Want))
    deliver(asking, want, 2.1)
    assert len(wants(asking, 2.2)) == 2


def test_silent_neighbours_are_asked_again_what_they_have() -> None:
    asking = make(8, peers=0)
    asking.join(A, 0, 0.0)
    assert drain(asking, 0.5) == []
    assert asking.timer(0.5) == REFRESH_S
    assert drain(asking, REFRESH_S) == [Refresh(A)]
    assert drain(asking, REFRESH_S) == []
    asking.heard(A, 0b1, 0.0, 0.0, whole=True)
    assert len(wants(asking)) == 1


def late_piece() -> tuple[Asking, Want]:
    """One piece is missing, its neighbour is late, another one has it too."""
    asking = make(2, peers=1)
    want = wants(asking)[0]
    accept(asking, want, 1, now=1.0)
    asking.arrived(A, want.rid, want.pieces[0], RIGHT, 1.1)
    asking.join(B, 0b11, 1.0)
    for one in wants(asking, 1.1):
        if one.peer != A:
            asking.ended(one.peer, one.rid, 1.0)
    last = next(iter(asking.requests), None)
    if last is None:
        asking.neighbours.get(B).busy_until = 1.2  # type: ignore[union-attr]
        (retry,) = wants(asking, 1.1)
    else:
        retry = Want(last.peer, last.rid, tuple(indexes(last.want)), last.most)
    accept(asking, retry, 1, now=1.2)
    return asking, retry


def test_the_last_piece_is_asked_twice_when_it_is_late() -> None:
    asking, want = late_piece()
    assert wants(asking, 1.3) == []
    at = asking.timer(1.3)
    assert at == pytest.approx(1.5)
    (again,) = wants(asking, 1.51)
    assert (again.peer, again.pieces, again.most) == (B, want.pieces, 1)
    assert wants(asking, 1.8) == [], "never three times"
    asking.arrived(B, again.rid, again.pieces[0], RIGHT, 1.8)
    assert drain(asking, 1.8) == [Cancel(A, want.rid, bitmap_of(want.pieces))]
    assert asking.done and len(asking.requests) == 0


def test_asking_nobody_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endgame, "latest", lambda *_: None)
    with pytest.raises(ValueError, match="unpack"):
        test_the_last_piece_is_asked_twice_when_it_is_late()


def test_no_piece_is_asked_twice_before_the_end() -> None:
    asking = make(300, peers=2, have=bits(0, 200))
    for want in wants(asking):
        accept(asking, want)
    asking.reserve(asking.missing & ~asking.requests.pending)
    asking._nominal_s = 0.01
    assert len(asking.requests) == 4
    assert wants(asking, 1.9) == []


def test_a_wrong_piece_is_never_counted_and_asked_of_others() -> None:
    asking = make(4, peers=1)
    want = wants(asking)[0]
    (chosen,) = accept(asking, want)
    assert not asking.arrived(A, want.rid, chosen, WRONG, 1.1)
    assert asking.have == 0
    again = [index for one in wants(asking, 1.2) for index in one.pieces]
    assert chosen not in again
    asking.join(B, 0b1111, 1.2)
    asking.left(A)
    assert chosen in {index for one in wants(asking, 1.2) for index in one.pieces}


def test_a_liar_is_dropped_and_not_let_in_for_a_time() -> None:
    asking = make(10, peers=1)
    for want in wants(asking):
        asking.arrived(A, want.rid, want.pieces[0], WRONG, 1.0)
    assert [one for one in drain(asking) if not isinstance(one, Cancel)] == [Drop(A, "it sent wrong bytes")]
    assert asking.requests.pending == 0
    assert not asking.join(A, 0, 1.0 + BAN_S - 1)
    assert asking.join(A, 0, 1.0 + BAN_S)


def test_whoever_lied_about_other_versions_is_dropped_here_too() -> None:
    blame = Blame()
    asking = Asking(V, 4 * PIECE, PIECE, blame)
    for peer in (A, B):
        asking.join(peer, 0b1111, 0.0)
    for letter in "bcd":
        blame.wrong(Version(letter * 32), A, 0.0)
    out = drain(asking)
    assert out[0] == Drop(A, "it sent wrong bytes")
    assert {one.peer for one in out[1:]} == {B}


def test_what_is_disputed_is_nobodys_fault_and_waits() -> None:
    asking = make(4, peers=1)
    want = wants(asking)[0]
    for index in accept(asking, want):
        asking.arrived(A, want.rid, index, DISPUTED, 1.0)
        assert asking.reserved == 1 << index
        assert index not in {each for one in wants(asking) for each in one.pieces}
        asking.release(1 << index)
    assert A in {one.peer for one in asking.neighbours}


def test_a_right_piece_counts_whoever_sends_it() -> None:
    asking = make(4, peers=1)
    assert asking.arrived(C, 77, 2, RIGHT, 1.0)
    with pytest.raises(IndexError):
        asking.arrived(C, 77, 4, RIGHT, 1.0)
    with pytest.raises(ValueError, match="have"):
        make(4, have=0b10000)


class Asker(RuleBasedStateMachine):
    """Neighbours that do anything in any order; the locks stay in balance, and only right pieces count."""

    def __init__(self) -> None:
        super().__init__()
        self.blame = Blame()
        self.rng = random.Random(1)
        self.now = 0.0
        self.out: dict[int, Want] = {}
        self.right = 0
        self.had = 0
        self.lied: set[NodeId] = set()
        self.pieces = 0

    @initialize(pieces=st.sampled_from([3, 70, 300]), peers=st.integers(1, 5))
    def begin(self, pieces: int, peers: int) -> None:
        self.pieces = pieces
        self.asking = Asking(V, pieces * PIECE - 1, PIECE, self.blame)
        for peer in PEERS[:peers]:
            self.asking.join(peer, self.rng.getrandbits(pieces), self.now)

    @rule(passed_s=st.sampled_from([0.0, 0.01, 0.3, 2.0]))
    def drains(self, passed_s: float) -> None:
        self.now += passed_s
        for one in self.asking.drain(self.now, self.rng):
            if isinstance(one, Want):
                neighbour = self.asking.neighbours.get(one.peer)
                assert neighbour is not None
                assert not bitmap_of(one.pieces) & ~neighbour.offers, "asked for what it did not say it has"
                assert not bitmap_of(one.pieces) & (self.asking.have | self.asking.reserved)
                assert 1 <= len(one.pieces) == len(set(one.pieces)) <= MAX_WANT
                assert 1 <= one.most <= 8
                self.out[one.rid] = one
            elif isinstance(one, Drop) and "wrong" in one.why:
                assert one.peer in self.lied, "an honest neighbour was banned"

    def any_want(self, data: st.DataObject) -> Want | None:
        return self.out[data.draw(st.sampled_from(sorted(self.out)))] if self.out else None

    @rule(data=st.data(), count=st.integers(0, 9))
    def accepts(self, data: st.DataObject, count: int) -> None:
        want = self.any_want(data)
        if want is not None:
            chosen = bitmap_of(want.pieces[:count])
            self.asking.accepted(want.peer, want.rid, chosen, 0.1, self.rng.choice([0.0, 1e5]), self.now)

    @rule(data=st.data(), verdict=st.sampled_from([RIGHT, RIGHT, RIGHT, WRONG, DISPUTED]))
    def arrives(self, data: st.DataObject, verdict: Verdict) -> None:
        want = self.any_want(data)
        if want is None:
            return
        index = data.draw(st.sampled_from(want.pieces))
        if verdict is RIGHT:
            self.right |= 1 << index
        elif verdict is WRONG:
            self.lied.add(want.peer)
        fresh = self.asking.arrived(want.peer, want.rid, index, verdict, self.now)
        assert not fresh or verdict is RIGHT
        if verdict is WRONG:
            neighbour = self.asking.neighbours.get(want.peer)
            assert neighbour is None or not neighbour.offers >> index & 1

    @rule(data=st.data(), wait_s=st.floats(0, 100))
    def refuses(self, data: st.DataObject, wait_s: float) -> None:
        want = self.any_want(data)
        if want is not None:
            self.asking.busy(want.peer, want.rid, wait_s, self.now, self.rng)

    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        want = self.any_want(data)
        if want is not None:
            self.asking.ended(want.peer, want.rid, self.now)
            assert self.asking.requests.get(want.rid, want.peer) is None

    @rule(number=st.integers(0, 5), joins=st.booleans())
    def comes_or_goes(self, number: int, joins: bool) -> None:
        if joins:
            barred = self.blame.barred(V, PEERS[number], self.now)
            joined = self.asking.join(PEERS[number], self.rng.getrandbits(self.pieces), self.now)
            assert joined != barred
        else:
            self.asking.left(PEERS[number])
            assert not self.asking.requests.of(PEERS[number])

    @rule(number=st.integers(0, 5), wait_s=st.floats(), rate=st.floats(), whole=st.booleans())
    def tells(self, number: int, wait_s: float, rate: float, whole: bool) -> None:
        new, gone = self.rng.getrandbits(self.pieces + 8), self.rng.getrandbits(self.pieces)
        self.asking.heard(PEERS[number], new, wait_s, rate, dropped=gone, whole=whole)

    @rule(reader=st.integers(0, 3), first=st.integers(0, 299), forgets=st.booleans())
    def reads(self, reader: int, first: int, forgets: bool) -> None:
        if forgets:
            self.asking.cursors.forget(reader)
        else:
            rng = ByteRange(first * PIECE, (first + 3) * PIECE)
            there = all(self.asking.have >> index & 1 for index in range(first, min(first + 3, self.pieces)))
            assert self.asking.wait_for(reader, rng) == there

    @rule(first=st.integers(0, 299), kind=st.sampled_from(["reserve", "release", "stored", "dropped"]))
    def comes_in_another_way(self, first: int, kind: str) -> None:
        pieces = bits(first % self.pieces, 4) & bits(0, self.pieces)
        if kind == "stored":
            self.right |= 1 << (first % self.pieces)
            self.asking.stored(first % self.pieces)
        elif kind == "dropped":
            self.had &= ~pieces
            self.asking.dropped(pieces)
        else:
            getattr(self.asking, kind)(pieces)

    @invariant()
    def holds(self) -> None:
        self.asking.check()
        self.blame.check()
        assert not self.asking.have & ~self.right, "a piece that was never right counts"
        assert not self.had & ~self.asking.have, "a piece was lost"
        self.had = self.asking.have
        timer = self.asking.timer(self.now)
        assert timer is not None or self.asking.done or not len(self.asking.requests)

    def teardown(self) -> None:
        """Everything that neighbours still hold ends; nothing stays locked."""
        for want in self.out.values():
            self.asking.ended(want.peer, want.rid, self.now)
        assert self.asking.requests.pending == self.asking.requests.twice == 0
        assert len(self.asking.requests) == 0


TestAsker = Asker.TestCase
TestAsker.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


PLANTED = settings(
    max_examples=300,
    stateful_step_count=40,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)


def forgets_the_lock(self: Asking, peer: NodeId, rid: int, *_: object) -> None:
    self.requests._open.pop(rid, None)


def counts_everything(self: Asking, peer: NodeId, rid: int, index: int, verdict: Verdict, now: float) -> bool:
    return self.stored(index)


@pytest.mark.parametrize(
    ("where", "name", "planted"),
    [
        (Asking, "busy", forgets_the_lock),
        (Asking, "arrived", counts_everything),
        (Requests, "narrow", lambda self, request, left: setattr(request, "left", request.left & left)),
        (Blame, "wrong", lambda self, ver, peer, now: False),
    ],
    ids=["busy leaks", "wrong pieces count", "narrowing leaks", "nobody is barred"],
)
def test_planted_bugs_are_caught(
    monkeypatch: pytest.MonkeyPatch, where: type, name: str, planted: Callable[..., object]
) -> None:
    monkeypatch.setattr(where, name, planted)
    if where is Blame:
        with pytest.raises(AssertionError):
            test_a_liar_is_dropped_and_not_let_in_for_a_time()
        return
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Asker, settings=PLANTED)
