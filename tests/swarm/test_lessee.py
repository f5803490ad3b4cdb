"""A member: whose word counts, no fence twice, what it says of itself and when."""

from __future__ import annotations

import pytest

from p2pstore.swarm import terms as terms_module
from p2pstore.swarm.lessee import ASK_S, JOIN_S, TELL_S, Lessee
from p2pstore.swarm.messages import (
    MAX_HELD,
    Ask,
    Brought,
    Elsewhere,
    Ended,
    Failed,
    Fault,
    Freshness,
    Give,
    Got,
    HeldLease,
    Join,
    Leave,
    Message,
    Opened,
    Outcome,
    Poll,
    Released,
    Revalidate,
    Revoke,
    Send,
    Stale,
    Stranded,
    TakeFrom,
    Urgent,
    Welcome,
)
from p2pstore.swarm.search import ALONE_S, ANSWER_S, TRIES
from p2pstore.swarm.shape import Shape
from p2pstore.swarm.tasks import (
    Alone,
    AskOrigin,
    Decision,
    Fresh,
    Learned,
    Over,
    Read,
    Stop,
    Take,
    Unreachable,
)
from p2pstore.swarm.terms import Fence, Obedience, Term
from p2pstore.types import NodeId, Version

A, B, ME = NodeId("a"), NodeId("b"), NodeId("me")
V, W = Version("v"), Version("w")
T1, T2 = Term(1, A), Term(2, B)
PIECE = 256 << 10
SHAPE = Shape(length=12 * PIECE, ranges=True, validator="v")


def joined(slots: int = 2) -> Lessee:
    one = Lessee(ME, slots=slots)
    one.start([A, B], 0.0)
    one.hear(Welcome(T1, V, SHAPE, ()), 0.0)
    return one


def give(number: int, first: int = 0, count: int = 4, term: Term = T1, ver: Version | None = V) -> Give:
    return Give(term, Fence(term, number), ver, None if ver is None else SHAPE, first, count)


def sent(decisions: list[Decision], kind: type[Message]) -> list[Message]:
    return [one.message for one in decisions if isinstance(one, Send) and isinstance(one.message, kind)]


def test_it_joins_the_first_in_rank_and_asks() -> None:
    one = Lessee(ME, zone="z", slots=3, number=7)
    decisions = one.start([A, B], 0.0)
    (join,) = sent(decisions, Join)
    assert isinstance(join, Join)
    assert (join.number, join.zone, join.origin) == (8, "z", True)
    assert sent(decisions, Ask) == [Ask(3)]
    assert {one.to for one in decisions if isinstance(one, Send)} == {A}


def test_a_node_without_a_way_to_the_origin_asks_for_nothing() -> None:
    one = Lessee(ME)
    decisions = one.start([A], 0.0)
    assert sent(decisions, Ask) == []
    assert not sent(decisions, Join)[0].origin  # type: ignore[union-attr]


def test_a_lease_is_read_reported_and_the_next_asked_for_before_it_ends() -> None:
    one = joined()
    fence = Fence(T1, 1)
    assert one.hear(give(1), 0.1) == [Read(fence, V, 0, 4)]
    for piece in range(3):
        decisions = one.received(fence, 1 << piece, (piece + 1) * PIECE, 0.2)
        (report,) = sent(decisions, Brought)
        assert isinstance(report, Brought) and report.pieces == 1 << piece
        assert sent(decisions, Ask) == [Ask(2 if piece == 2 else 1)], "no gap at the last piece"
    one.received(fence, 0b1000, 4 * PIECE, 0.3)
    assert not one.leases and one.have == 0b1111


def test_bytes_are_told_now_and_then() -> None:
    one = joined()
    one.hear(give(1), 0.0)
    fence = Fence(T1, 1)
    assert sent(one.received(fence, 0, 10, 1.0), Brought)
    assert one.received(fence, 0, 20, 1.0 + TELL_S * 0.9) == []
    assert sent(one.received(fence, 0, 30, 1.0 + TELL_S), Brought)


def test_an_old_referee_is_not_obeyed() -> None:
    one = joined()
    one.hear(Poll(T2), 0.1)
    assert one.hear(give(5), 0.2) == []
    assert one.hear(Revoke(T1, Fence(T1, 5)), 0.2) == []
    assert one.hear(give(1, term=T2), 0.3) == [Read(Fence(T2, 1), V, 0, 4)]
    assert one.referee == B


def test_a_new_referee_may_not_give_an_old_fence() -> None:
    one = joined()
    assert one.hear(Give(T2, Fence(T1, 9), V, SHAPE, 0, 4), 0.1) == []


def test_planted_obedience_to_everybody_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Obedience, "accepts", lambda self, term: True)
    monkeypatch.setattr(Obedience, "begins", lambda self, fence: True)
    with pytest.raises(AssertionError):
        test_an_old_referee_is_not_obeyed()


def test_a_fence_is_used_once_and_the_memory_of_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms_module, "MAX_SEEN", 4)
    one = joined()
    for number in (3, 5, 2, 9, 7):
        assert one.hear(give(number), 0.0), number
        one.failed(Fence(T1, number), Fault.STOPPED, 0.0)
        one.check()
    for number in (1, 2, 3, 5, 7, 9):
        assert one.hear(give(number), 0.0) == []


def test_no_more_leases_than_it_may_have() -> None:
    one = joined(slots=MAX_HELD)
    big = Shape(length=100 * PIECE, ranges=True, validator="v")
    for number in range(MAX_HELD):
        one.hear(Give(T1, Fence(T1, number), V, big, number * 4, 4), 0.0)
    decisions = one.hear(Give(T1, Fence(T1, 99), V, big, 80, 4), 0.0)
    assert sent(decisions, Failed) == [Failed(Fence(T1, 99), Fault.NOT_NEEDED)]
    one.check()


def test_what_is_here_is_not_read_again() -> None:
    one = joined()
    one.got(0b1111)
    decisions = one.hear(give(1), 0.0)
    assert not any(isinstance(each, Read) for each in decisions)
    assert sent(decisions, Got) and sent(decisions, Failed)


def test_a_revoked_read_ends_with_the_piece_that_is_coming_in() -> None:
    one = joined()
    fence = Fence(T1, 1)
    one.hear(give(1), 0.0)
    one.received(fence, 0b1, PIECE + 1, 0.1)
    decisions = one.hear(Revoke(T1, fence), 0.2)
    assert Stop(fence, 0b10) in decisions
    assert sent(decisions, Released) == [Released(fence, V, 0b1, 0b10)]
    one.received(fence, 0b10, 2 * PIECE, 0.3)
    assert not one.leases


def test_a_revoked_read_without_a_byte_ends_at_once_and_an_unknown_one_is_void() -> None:
    one = joined()
    one.hear(give(1), 0.0)
    assert Stop(Fence(T1, 1), 0) in one.hear(Revoke(T1, Fence(T1, 1)), 0.2)
    assert one.hear(Revoke(T1, Fence(T1, 2)), 0.2) == [Send(A, Released(Fence(T1, 2), V, 0, 0))]
    assert one.hear(give(2), 0.3) == [], "the revocation overtook it"


def test_opening_tells_what_there_is_until_it_is_known() -> None:
    one = Lessee(ME, slots=2)
    one.start([A], 0.0)
    fence = Fence(T1, 1)
    assert one.hear(give(1, 0, 0, ver=None), 0.0) == [Read(fence, None, 0, 0)]
    opened = Opened(fence, V, SHAPE)
    assert sent(one.opened(fence, V, SHAPE, 0.1), Opened) == [opened]
    assert sent(one.hear(Poll(T1), 0.2), Opened) == [opened]
    one.hear(Welcome(T1, V, SHAPE, ()), 0.3)
    assert sent(one.tick(0.3 + ASK_S), Opened) == []
    assert one.leases[fence].left == 0b1111


def test_an_opening_that_is_not_wanted_any_more_stops() -> None:
    one = joined()
    assert one.opened(Fence(T1, 7), V, SHAPE, 0.0) == [Stop(Fence(T1, 7), 0)]


def test_a_read_of_all_of_it_learns_its_length_at_the_end() -> None:
    one = Lessee(ME, slots=2)
    one.start([A], 0.0)
    fence = Fence(T1, 1)
    one.hear(give(1, 0, 0, ver=None), 0.0)
    endless = Shape(length=None, ranges=False, validator="")
    one.opened(fence, V, endless, 0.1)
    one.received(fence, 0b1, 10, 0.2)
    assert fence in one.leases
    (report,) = sent(one.received(fence, 0b10, 20, 0.3, length=(4 << 20) + 1), Brought)
    assert isinstance(report, Brought) and report.length == (4 << 20) + 1


def test_another_version_stops_what_was_read_of_the_old_one() -> None:
    one = joined()
    one.hear(give(1), 0.0)
    one.got(0b1000_0000)
    decisions = one.hear(Welcome(T1, W, SHAPE, (B,)), 0.1)
    assert decisions[0] == Stop(Fence(T1, 1), 0)
    assert Learned(W, SHAPE, (B,), None) in decisions
    assert (one.ver, one.have) == (W, 0)


def test_the_end_of_a_version_ends_its_reads_and_no_others() -> None:
    one = joined()
    one.hear(give(1), 0.0)
    assert one.hear(Ended(T1, W, Fault.CHANGED, False), 0.1) == []
    assert one.hear(Ended(T1, V, Fault.CHANGED, True), 0.1) == [
        Stop(Fence(T1, 1), 0),
        Over(V, Fault.CHANGED, True),
    ]
    assert one.ver is None


def test_it_joins_again_and_again_with_what_it_has_and_holds() -> None:
    one = joined()
    one.hear(give(1), 0.0)
    one.received(Fence(T1, 1), 0b1, PIECE, 0.1)
    assert sent(one.tick(JOIN_S * 0.9), Join) == []
    (join,) = sent(one.tick(JOIN_S), Join)
    assert isinstance(join, Join)
    assert join.have == 0b1 and join.term == T1
    assert join.leases == (HeldLease(Fence(T1, 1), 0, 4, 0b1110),)


def test_a_lonely_node_asks_for_peers_sooner() -> None:
    one = joined()
    assert sent(one.tick(ASK_S * 0.9, lonely=True), Join) == []
    (join,) = sent(one.tick(ASK_S, lonely=True), Join)
    assert isinstance(join, Join) and join.peers > 0


def test_who_does_not_answer_is_left_and_in_the_end_the_node_is_alone() -> None:
    one = Lessee(ME, slots=1)
    one.start([A, B], 0.0)
    asked, now = [], 0.0
    alone = 0
    while now < ALONE_S + 1:
        now += ANSWER_S
        decisions = one.tick(now)
        alone += Alone() in decisions
        asked += [each.to for each in decisions if isinstance(each, Send) and isinstance(each.message, Join)]
    assert asked[: 2 * TRIES] == [A] * (TRIES - 1) + [B] * TRIES + [A]
    assert alone == 1


def test_a_redirect_is_followed() -> None:
    one = Lessee(ME, slots=1)
    one.start([A], 0.0)
    decisions = one.hear(Elsewhere(T2, B), 0.1)
    assert {each.to for each in decisions if isinstance(each, Send)} == {B}
    assert one.hear(Elsewhere(T1, A), 0.2) == [], "who says so knows less"


def test_a_referee_that_left_the_cluster_is_replaced() -> None:
    one = joined()
    assert one.view([A, B], 0.1) == []
    assert sent(one.view([B], 0.2), Join)


def test_small_objects_are_taken_from_the_holder_that_was_named() -> None:
    one = joined()
    assert one.hear(TakeFrom(T1, V, B), 0.1) == [Take(V, B)]
    assert one.hear(TakeFrom(T1, W, B), 0.1) == []
    one.got(SHAPE.all)
    assert one.hear(TakeFrom(T1, V, B), 0.1) == []


def test_pieces_that_are_gone_are_said_to_be() -> None:
    one = joined()
    one.got(0b1111)
    (join,) = sent(one.dropped(0b1, 0.1), Join)
    assert isinstance(join, Join) and join.have == 0b1110


def test_a_readers_piece_is_urgent() -> None:
    assert joined().hurry(7) == [Send(A, Urgent(V, 7))]
    assert Lessee(ME).hurry(7) == []


def test_being_done_is_told_and_ends_the_asking() -> None:
    one = joined()
    assert sent(one.got(SHAPE.all), Got)
    assert sent(one.tick(ASK_S), Ask) == []
    assert one.done


def test_a_stale_copy_is_asked_about_until_there_is_an_outcome() -> None:
    one = joined()
    assert one.stale(3, False, 0.0) == [Send(A, Stale(3, True))]
    assert sent(one.hear(Poll(T2), 0.1), Stale) == [Stale(3, True)]
    assert one.hear(Revalidate(T2, Fence(T2, 1)), 0.2) == [AskOrigin(Fence(T2, 1))]
    assert one.hear(Revalidate(T2, Fence(T2, 1)), 0.2) == [], "a second request"
    outcome = Outcome(4, 304, (), 0.0)
    assert one.hear(Freshness(T2, outcome), 0.3) == [Fresh(outcome)]
    assert sent(one.hear(Poll(T2), 0.4), Stale) == []


def test_a_revalidation_that_finds_another_version_opens_it() -> None:
    one = joined()
    one.got(SHAPE.all)
    one.hear(Revalidate(T1, Fence(T1, 4)), 0.2)
    decisions = one.opened(Fence(T1, 4), W, SHAPE, 0.3)
    assert sent(decisions, Opened) == [Opened(Fence(T1, 4), W, SHAPE)]
    assert one.leases[Fence(T1, 4)].left == 0b1111
    assert (one.ver, one.have) == (W, 0)


def test_what_is_gone_is_not_joined_again_until_somebody_wants_it() -> None:
    one = joined()
    assert one.hear(Ended(T1, None, Fault.GONE, False), 0.1) == [Over(V, Fault.GONE, False)]
    assert one.tick(100.0) == []
    assert one.hear(Poll(T1), 100.0) == []
    assert sent(one.start([A], 101.0), Join)


def test_members_are_told_that_nobody_can_reach_the_origin() -> None:
    assert joined().hear(Stranded(T1, Fault.DENIED), 0.1) == [Unreachable(Fault.DENIED)]


def test_leaving_is_said() -> None:
    one = joined()
    assert one.leave() == [Send(A, Leave())]
    assert one.tick(100.0) == []
