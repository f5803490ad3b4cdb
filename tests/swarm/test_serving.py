"""Serving: limits, order, the server's choice, refusals, and turns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from p2pstore.swarm.decisions import Abort, Accept, Busy, Served
from p2pstore.swarm.pieces import bits
from p2pstore.swarm.sampling import bitmap_of
from p2pstore.swarm.serving import MAX_QUEUE, MIN_SLOTS, UPLOAD_STALL_S, Serving, Shelf, _Upload
from p2pstore.types import NodeId, Version

V, W = Version("a" * 32), Version("b" * 32)
PIECE = 1000
PEERS = [NodeId(f"{number:02x}") for number in range(20)]
A, B = PEERS[:2]


def shelf(pieces: int = 32, have: int | None = None, ver: Version = V) -> Shelf:
    return Shelf(ver, pieces * PIECE, PIECE, bits(0, pieces) if have is None else have)


def fast(bytes_per_s: float = 1e6) -> Serving:
    """A node that has measured its upload rate."""
    serving = Serving()
    (accept,) = serving.want(PEERS[19], 99, shelf(), (0,), 1, 0.0)
    assert isinstance(accept, Accept)
    serving.sent(PEERS[19], 99, int(bytes_per_s), 1.0)
    assert serving.ended(PEERS[19], 99, 1.0) == []
    assert serving.rate == bytes_per_s
    return serving


def taken(decisions: list[Served]) -> tuple[int, ...]:
    (accept,) = decisions
    assert isinstance(accept, Accept)
    return accept.pieces


def fill(serving: Serving, on: Shelf, count: int) -> list[Served]:
    return [
        one for peer in PEERS[2 : 2 + count] for one in serving.want(peer, 1, on, tuple(range(32)), 1, 1.0)
    ]


def test_slots_then_queue_then_refusal() -> None:
    serving, mine = Serving(), shelf()
    decisions = fill(serving, mine, MIN_SLOTS + MAX_QUEUE + 3)
    assert [type(one) for one in decisions] == [Accept] * MIN_SLOTS + [Busy] * 3
    assert (serving.active, serving.queued) == (MIN_SLOTS, MAX_QUEUE)
    serving.check()


def test_slots_follow_the_rate() -> None:
    for rate, slots in ((1e3, 2), (3e4, 3), (1e9, 8)):
        serving = fast(rate)
        fill(serving, shelf(), 12)
        assert serving.active == slots


def test_what_was_sent_least_often_goes_first() -> None:
    serving, mine = fast(), shelf(8)
    for _ in range(2):
        mine.promise(3)
    mine.promise(4)
    assert taken(serving.want(A, 1, mine, (3, 4, 5, 6), 3, 1.0)) == (5, 6, 4)
    assert [mine.served(index) for index in (3, 4, 5, 6)] == [2, 2, 1, 1]


def test_all_nodes_get_different_pieces_first() -> None:
    serving, mine = fast(), shelf(8)
    sent = [taken(serving.want(peer, 1, mine, tuple(range(8)), 1, 1.0))[0] for peer in PEERS[:8]]
    assert sorted(sent) == list(range(8))


def test_only_what_is_verified_is_served() -> None:
    serving, mine = fast(), shelf(8, have=0b0100)
    assert taken(serving.want(A, 1, mine, (1, 2, 3), 3, 1.0)) == (2,)
    mine.verified(3)
    mine.dropped(0b0100)
    assert taken(serving.want(B, 1, mine, (1, 2, 3), 3, 1.0)) == (3,)
    assert taken(serving.want(B, 2, mine, (7,), 3, 1.0)) == ()
    assert serving.active == 2, "an empty answer takes no slot"
    with pytest.raises(IndexError):
        mine.verified(8)


def test_a_readers_piece_leads() -> None:
    serving, mine = fast(), shelf(8)
    mine.promise(7)
    assert taken(serving.want(A, 1, mine, (7, 1, 2), 2, 1.0, first=True)) == (7, 1)
    assert taken(serving.want(A, 2, mine, (7, 1, 3), 2, 1.0)) == (3, 1)
    assert taken(serving.want(B, 1, shelf(8, have=0b10), (7, 1), 2, 1.0, first=True)) == (1,)


def test_a_hot_server_does_not_repeat_itself() -> None:
    serving, mine = fast(1e4), shelf()
    mine.promise(1)
    fill(serving, mine, 3)
    assert serving.queued == 1
    serving.want(A, 1, mine, (30, 1), 8, 1.0)
    first, second = serving.ended(PEERS[2], 1, 1.0), serving.ended(PEERS[3], 1, 1.0)
    assert len(taken(first)) == 1
    assert taken(second) == (30, 1), "nobody waits any more"
    serving = fast(1e4)
    fill(serving, mine, 2)
    serving.want(A, 1, mine, (31, 1), 8, 1.0)
    serving.want(B, 1, mine, (31, 1), 8, 1.0)
    assert taken(serving.ended(PEERS[2], 1, 1.0)) == (31,)


def test_nonsense_in_a_want_list_is_not_heard() -> None:
    serving, mine = fast(1e9), shelf(8)
    assert taken(serving.want(A, 1, mine, (-1, 8, 10**9, 2, 2, 3), 10**6, 1.0)) == (2, 3)
    assert len(taken(serving.want(A, 2, shelf(100), tuple(range(100)), 10**6, 1.0))) == 8
    assert taken(serving.want(B, 1, shelf(100), (*range(32), 99), 8, 1.0)) == tuple(range(8))
    assert len(taken(serving.want(B, 2, mine, (1,), -5, 1.0))) == 1


def test_the_same_request_again_is_not_heard() -> None:
    serving, mine = Serving(), shelf()
    serving.want(A, 1, mine, (1,), 1, 1.0)
    assert serving.want(A, 1, mine, (1,), 1, 1.0) == []
    fill(serving, mine, 3)
    serving.want(B, 1, mine, (1,), 1, 1.0)
    assert serving.want(B, 1, mine, (1,), 1, 1.0) == []
    serving.check()


def test_a_greedy_peer_has_two_requests() -> None:
    serving, mine = fast(), shelf()
    decisions = [serving.want(A, rid, mine, (rid,), 1, 1.0)[0] for rid in range(5)]
    assert [type(one) for one in decisions] == [Accept, Accept, Busy, Busy, Busy]


def test_a_peers_promised_bytes_are_bounded() -> None:
    # A second of upload is three pieces here.
    serving, mine = fast(3.5 * PIECE), shelf()
    assert len(taken(serving.want(A, 1, mine, tuple(range(32)), 8, 1.0))) == 3
    assert len(taken(serving.want(A, 2, mine, tuple(range(8, 32)), 8, 1.0))) == 1


def test_the_wait_tells_what_is_promised() -> None:
    serving, mine = fast(10 * PIECE), shelf()
    assert serving.wait_s == 0.0
    serving.want(A, 1, mine, tuple(range(5)), 5, 1.0)
    assert serving.wait_s == pytest.approx(0.5)
    serving.sent(A, 1, 2 * PIECE, 1.01)
    assert serving.wait_s == pytest.approx(0.3)
    fill(serving, mine, 3)
    assert serving.wait_s == pytest.approx(0.6), "two of them wait"
    serving.set_cap(PIECE)
    assert serving.wait_s == pytest.approx(6.0)


def test_versions_take_turns() -> None:
    serving, one, other = Serving(), shelf(), shelf(ver=W)
    fill(serving, one, MIN_SLOTS)
    for peer in PEERS[10:13]:
        serving.want(peer, 1, one, (1,), 1, 1.0)
    serving.want(B, 1, other, (1,), 1, 1.0)
    (accept,) = serving.ended(PEERS[2], 1, 1.0)
    assert isinstance(accept, Accept)
    assert accept.ver == W
    (accept,) = serving.ended(B, 1, 1.0)
    assert isinstance(accept, Accept)
    assert accept.peer == PEERS[10]


def test_cancelled_pieces_are_not_sent() -> None:
    serving, mine = fast(10 * PIECE), shelf()
    serving.want(A, 1, mine, (1, 2, 3), 3, 1.0)
    assert serving.cancel(A, 1, 0b0100, 1.0) == (1, 3)
    assert serving.wait_s == pytest.approx(0.2)
    fill(serving, mine, 2)
    serving.want(B, 1, mine, (1, 2), 2, 1.0)
    queued = serving.queued
    assert serving.cancel(B, 1, 0b0010, 1.0) == ()
    assert serving.queued == queued
    serving.cancel(B, 1, 0b0100, 1.0)
    assert serving.queued == queued - 1
    assert serving.cancel(B, 7, 0b0100, 1.0) == ()


def test_a_peer_that_is_gone_makes_room() -> None:
    serving, mine = Serving(), shelf()
    for rid in (1, 2):
        serving.want(A, rid, mine, (rid,), 1, 1.0)
    serving.want(B, 1, mine, (3,), 1, 1.0)
    assert taken(serving.gone(A, 1.0)) == (3,)
    assert (serving.active, serving.queued) == (1, 0)


def test_who_takes_nothing_loses_the_slot() -> None:
    serving, mine = Serving(), shelf()
    assert serving.timer() is None
    for rid in (1, 2):
        serving.want(A, rid, mine, (rid,), 1, 1.0)
    serving.want(B, 1, mine, (3,), 1, 1.0)
    serving.sent(A, 2, 1, 5.0)
    at = serving.timer()
    assert at == 1.0 + UPLOAD_STALL_S
    assert serving.expire(at - 0.1) == []
    aborted, started = serving.expire(at)
    assert aborted == Abort(A, 1)
    assert isinstance(started, Accept) and started.peer == B


def test_counts_stay_in_order_for_ever() -> None:
    mine = shelf(3)
    for _ in range(1000):
        mine.promise(1)
    mine.promise(2)
    assert mine.served(1) > mine.served(2) > mine.served(0) == 0


def unfair(accept: Accept, before: dict[int, int], wanted: tuple[int, ...], first: bool) -> bool:
    """Whether something was sent that had been sent more often than something left unsent."""
    sent = accept.pieces[1:] if first else accept.pieces
    unsent = set(wanted) - set(accept.pieces)
    return any(before[one] > before[other] for one in sent for other in unsent)


class Server(RuleBasedStateMachine):
    """Any order of events; the limits, the choice and the slots hold after each."""

    def __init__(self) -> None:
        super().__init__()
        self.serving = Serving()
        self.shelves = [shelf(12, have=0b101010101111), shelf(12, ver=W)]
        self.wants: dict[tuple[NodeId, int], tuple[Shelf, tuple[int, ...], bool]] = {}
        self.uploads: set[tuple[NodeId, int]] = set()
        self.waiting: set[tuple[NodeId, int]] = set()
        self.now = 0.0
        self.rid = 0

    @initialize(rate=st.sampled_from([0, 500, 50_000, 10**7]))
    def measured(self, rate: int) -> None:
        if rate:
            self.serving = fast(float(rate))
        self.now = 2.0

    def obey(self, call: Callable[[], list[Served]]) -> None:
        before = {each.ver: {index: each.served(index) for index in range(12)} for each in self.shelves}
        for one in call():
            pair = (one.peer, one.rid)
            if isinstance(one, Accept):
                on, want, first = self.wants[pair]
                mine = tuple(index for index in want if on.have >> index & 1)
                assert set(one.pieces) <= set(mine)
                assert len(one.pieces) == len(set(one.pieces)) <= 8
                assert bool(one.pieces) == bool(mine)
                leads = first and bool(mine) and mine[0] == want[0]
                assert not leads or one.pieces[0] == want[0]
                assert not unfair(one, before[on.ver], mine, leads)
                for index in one.pieces:
                    before[on.ver][index] += 1
                if one.pieces:
                    self.uploads.add(pair)
            elif isinstance(one, Abort):
                assert pair in self.uploads
                self.uploads.discard(pair)
            self.waiting.discard(pair)

    @rule(
        peer=st.sampled_from(PEERS[:6]),
        on=st.integers(0, 1),
        want=st.lists(st.integers(0, 11), min_size=1, max_size=12, unique=True),
        most=st.integers(1, 8),
        first=st.booleans(),
    )
    def want(self, peer: NodeId, on: int, want: list[int], most: int, first: bool) -> None:
        self.rid += 1
        self.wants[peer, self.rid] = (self.shelves[on], tuple(want), first)
        self.waiting.add((peer, self.rid))
        self.obey(
            lambda: self.serving.want(
                peer, self.rid, self.shelves[on], tuple(want), most, self.now, first=first
            )
        )

    @rule(data=st.data(), size=st.integers(1, 3000))
    def sent(self, data: st.DataObject, size: int) -> None:
        if self.uploads:
            self.serving.sent(*data.draw(st.sampled_from(sorted(self.uploads))), size, self.now)

    @rule(data=st.data())
    def ended(self, data: st.DataObject) -> None:
        if self.uploads:
            pair = data.draw(st.sampled_from(sorted(self.uploads)))
            self.uploads.discard(pair)
            self.obey(lambda: self.serving.ended(*pair, self.now))

    @rule(data=st.data(), pieces=st.sets(st.integers(0, 11)))
    def cancel(self, data: st.DataObject, pieces: set[int]) -> None:
        known = self.uploads | self.waiting
        if known:
            pair = data.draw(st.sampled_from(sorted(known)))
            on, want, first = self.wants[pair]
            kept = self.serving.cancel(*pair, bitmap_of(pieces), self.now)
            assert not set(kept) & pieces
            if pair in self.waiting:
                left = tuple(index for index in want if index not in pieces)
                self.wants[pair] = (on, left, first)
                self.waiting -= set() if left else {pair}

    @rule(peer=st.sampled_from(PEERS[:6]))
    def gone(self, peer: NodeId) -> None:
        self.uploads = {pair for pair in self.uploads if pair[0] != peer}
        self.waiting = {pair for pair in self.waiting if pair[0] != peer}
        self.obey(lambda: self.serving.gone(peer, self.now))

    @rule(passed_s=st.sampled_from([0.01, 1.0, UPLOAD_STALL_S]))
    def passes(self, passed_s: float) -> None:
        self.now += passed_s
        self.obey(lambda: self.serving.expire(self.now))

    @invariant()
    def holds(self) -> None:
        self.serving.check()
        assert self.serving.active == len(self.uploads)
        assert self.serving.queued == len(self.waiting)
        assert self.serving.active >= MIN_SLOTS or not self.serving.queued, (
            "a slot is free and somebody waits"
        )


PLANTED = settings(
    max_examples=300,
    stateful_step_count=40,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)


TestServer = Server.TestCase
TestServer.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def test_sending_in_the_order_of_the_wish_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def obliging(self: Serving, upload: _Upload) -> tuple[int, ...]:
        return tuple(index for index in upload.want if upload.shelf.have >> index & 1)[: upload.most]

    monkeypatch.setattr(Serving, "_take", obliging)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Server, settings=PLANTED)
