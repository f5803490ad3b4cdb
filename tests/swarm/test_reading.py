"""Reading the origin: one opener, leases of one version, and what ends one."""

from __future__ import annotations

import pytest

from p2pstore.swarm.members import LAST_RESORT_S, Members
from p2pstore.swarm.messages import (
    Brought,
    Ended,
    Failed,
    Fault,
    Give,
    HeldLease,
    Join,
    Message,
    Opened,
    Poll,
    Released,
    Revoke,
    Send,
    Stage,
    Stranded,
    Table,
    TableLease,
    TakeFrom,
)
from p2pstore.swarm.reading import MAX_ENDED, OPEN_S, STRANDED_S, Reading
from p2pstore.swarm.shape import Shape
from p2pstore.swarm.terms import NO_TERM, Fence, Term
from p2pstore.types import NodeId, Version

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
V, W = Version("v"), Version("w")
PIECE = 256 << 10
T = Term(1, A)
SHAPE = Shape(length=12 * PIECE, ranges=True, validator="v")


class Desk:
    """A reading with its members; `say` keeps what was sent."""

    def __init__(self, *nodes: NodeId, origin: bool = True, room: int = 2) -> None:
        self.members = Members()
        self.reading = Reading(self.members)
        self.reading.term = T
        self.number = 0
        for node in nodes:
            self.join(node, origin=origin)
            if origin:
                self.reading.askers.ask(node, room)

    def join(self, node: NodeId, *, origin: bool = True, have: int = 0, ver: Version | None = None) -> None:
        self.number += 1
        self.members.join(
            node, Join(number=self.number, origin=origin, have=have, ver=ver, term=NO_TERM), 0.0
        )

    def give(self, now: float = 0.0) -> list[Send]:
        sends = self.reading.give(now)
        self.reading.check()
        return sends

    def open(self, shape: Shape = SHAPE, ver: Version = V) -> Fence:
        """One node opened the URL."""
        (send,) = self.give()
        give = send.message
        assert isinstance(give, Give) and give.ver is None
        news, _ = self.reading.opened(send.to, Opened(give.fence, ver, shape), 0.0)
        assert news
        self.reading.check()
        return give.fence

    def brings(self, node: NodeId, fence: Fence, pieces: int, **more: object) -> tuple[bool, list[Send]]:
        self.number += 1
        report = Brought(
            number=self.number,
            ver=V,
            fence=fence,
            pieces=pieces,
            size_bytes=self.number * PIECE,
            **more,  # type: ignore[arg-type]
        )
        result = self.reading.brought(node, report, 1.0)
        self.reading.check()
        return result


def of(sends: list[Send], kind: type[Message]) -> list[tuple[NodeId, Message]]:
    return [(send.to, send.message) for send in sends if isinstance(send.message, kind)]


def test_one_opens_and_the_others_wait() -> None:
    desk = Desk(A, B, C)
    assert [send.to for send in desk.give()] == [A]
    assert desk.give() == []


def test_then_all_read_by_the_stripe() -> None:
    desk = Desk(A, B)
    fence = desk.open()
    gives = of(desk.give(), Give)
    assert [(to, give.first, give.count) for to, give in gives] == [(B, 4, 4), (A, 8, 4)]  # type: ignore[union-attr]
    assert desk.reading.leases is not None
    assert desk.reading.leases.active[fence].node == A


def test_an_opener_that_says_nothing_is_replaced_with_growing_patience() -> None:
    desk = Desk(A, B)
    desk.give()
    assert desk.reading.tick(OPEN_S * 0.9) == []
    assert [to for to, _ in of(desk.reading.tick(OPEN_S), Revoke)] == [A]
    assert [send.to for send in desk.give(OPEN_S)] == [B]
    assert desk.reading.tick(OPEN_S * 2.9) == []
    assert [to for to, _ in of(desk.reading.tick(OPEN_S * 3), Revoke)] == [B]


def test_of_two_openers_the_first_to_speak_counts_and_the_other_stops() -> None:
    desk = Desk(A, B)
    (first,) = desk.give()
    desk.reading.tick(OPEN_S)
    (second,) = desk.give(OPEN_S)
    assert isinstance(first.message, Give) and isinstance(second.message, Give)
    news, sends = desk.reading.opened(A, Opened(first.message.fence, V, SHAPE), 6.0)
    assert news and of(sends, Revoke) == [(B, Revoke(T, second.message.fence))]
    news, sends = desk.reading.opened(B, Opened(second.message.fence, V, SHAPE), 6.0)
    assert not news and of(sends, Revoke) == [(B, Revoke(T, second.message.fence))]
    news, sends = desk.reading.opened(B, Opened(second.message.fence, W, SHAPE), 6.0)
    assert news and desk.reading.ver == W, "the later request saw another version"
    news, sends = desk.reading.opened(A, Opened(first.message.fence, V, SHAPE), 6.0)
    assert not news and desk.reading.ver == W


@pytest.mark.parametrize("fault", [Fault.UNREACHABLE, Fault.DENIED, Fault.TIMEOUT])
def test_who_does_not_reach_the_origin_is_not_sent_again(fault: Fault) -> None:
    desk = Desk(A, B)
    fence = desk.open()
    desk.reading.failed(A, Failed(fence, fault), 0.0)
    later = desk.give(5.0)
    assert later and {to for to, _ in of(later, Give)} == {B}


def test_a_busy_origin_is_left_alone_for_as_long_as_it_wants() -> None:
    desk = Desk(A, B)
    fence = desk.open()
    desk.reading.failed(A, Failed(fence, Fault.BUSY, 5.0), 0.0)
    assert desk.give(4.9) == []
    assert desk.give(5.1)


def test_the_end_of_a_version_is_told_to_all() -> None:
    desk = Desk(A, B)
    fence = desk.open()
    _, ended = desk.reading.failed(A, Failed(fence, Fault.CHANGED), 0.0)
    assert of(ended, Ended) == [(node, Ended(T, V, Fault.CHANGED, False)) for node in (A, B)]
    assert desk.reading.ver is None
    assert desk.reading.over(V) is not None


def test_old_readers_may_finish_what_is_held_whole() -> None:
    desk = Desk(A, B)
    fence = desk.open()
    desk.brings(A, fence, SHAPE.all)
    news, sends = desk.reading.opened(B, Opened(Fence(T, 50), W, SHAPE), 2.0)
    assert news and desk.reading.ver == W
    assert of(sends, Ended) == [(node, Ended(T, V, Fault.CHANGED, True)) for node in (A, B)]


def test_news_of_a_lease_that_is_over_end_nothing() -> None:
    desk = Desk(A, B)
    desk.open()
    desk.reading.failed(B, Failed(Fence(T, 99), Fault.CHANGED), 0.0)
    assert desk.reading.ver == V


def test_ended_versions_do_not_come_back_and_are_few() -> None:
    desk = Desk(A)
    for number in range(2 * MAX_ENDED):
        fence = desk.open(ver=Version(f"{number}"))
        desk.reading.failed(A, Failed(fence, Fault.CHANGED), 0.0)
        desk.reading.check()
        desk.reading.askers.ask(A, 2)
    assert not desk.reading.know(Version(f"{2 * MAX_ENDED - 1}"), SHAPE)
    assert desk.reading.know(W, SHAPE)


def test_pieces_of_another_version_do_not_count() -> None:
    desk = Desk(A, B)
    fence = desk.open()
    report = Brought(number=9, ver=W, fence=fence, pieces=0b1, size_bytes=9)
    news, sends = desk.reading.brought(A, report, 0.0)
    assert not news and of(sends, Poll) == [(A, Poll(T))]
    assert desk.reading.leases is not None and desk.reading.leases.held == 0


def test_a_stranger_is_asked_to_join_before_its_pieces_count() -> None:
    desk = Desk(A)
    fence = desk.open()
    _, sends = desk.brings(C, fence, 0b1)
    assert of(sends, Poll) == [(C, Poll(T))]


def test_a_revoked_lessees_pieces_are_anothers() -> None:
    desk = Desk(A, B)
    fence = desk.open()
    desk.give()
    (revoke, *_) = of(desk.reading.tick(2.0), Revoke)
    assert revoke == (A, Revoke(T, fence))
    desk.reading.released(A, Released(fence, V, 0b1, 0b10), 2.1)
    (to, give), *_ = of(desk.give(2.2), Give)
    assert isinstance(give, Give)
    assert (to, give.first, give.count) == (B, 2, 2)


def test_without_ranges_after_all_one_goes_on_with_everything() -> None:
    desk = Desk(A, B)
    fence = desk.open()
    desk.give()
    news, sends = desk.reading.failed(A, Failed(fence, Fault.NO_RANGES), 0.0)
    assert news and len(of(sends, Revoke)) == 2
    assert desk.reading.leases is not None
    for to, revoke in of(sends, Revoke):
        assert isinstance(revoke, Revoke)
        assert desk.give() == [], "not while the others read"
        desk.reading.released(to, Released(revoke.fence, V, 0, 0), 0.1)
    (give,) = of(desk.give(), Give)
    assert give[1].count == 0  # type: ignore[union-attr]


def test_what_can_not_be_read_again_ends_with_its_reader() -> None:
    desk = Desk(A, B)
    desk.open(Shape(length=12 * PIECE, ranges=True, validator=""))
    desk.members.drop(A)
    ended = of(desk.reading.lost(A, 0.0), Ended)
    assert ended == [(B, Ended(T, V, Fault.CHANGED, False))]


def test_what_can_is_read_by_the_next() -> None:
    desk = Desk(A, B)
    desk.open(Shape(length=12 * PIECE, ranges=False, validator="v"))
    assert desk.give() == []
    desk.members.drop(A)
    desk.reading.lost(A, 0.0)
    assert [to for to, _ in of(desk.give(), Give)] == [B]


def test_the_length_of_a_stream_is_news() -> None:
    desk = Desk(A, B)
    fence = desk.open(Shape(length=None, ranges=False, validator="v"))
    assert not desk.brings(A, fence, 0b1)[0]
    news, _ = desk.brings(A, fence, 0b10, length=(4 << 20) + 1)
    assert news and desk.reading.shape is not None and desk.reading.shape.length == (4 << 20) + 1
    assert desk.reading.leases is not None and desk.reading.leases.done


def test_a_lost_end_is_made_good_by_the_next_join() -> None:
    desk = Desk(A, B)
    stream = Shape(length=None, ranges=False, validator="v")
    desk.open(stream)
    assert desk.reading.know(V, stream.ended((4 << 20) + 1))
    assert desk.reading.shape is not None and desk.reading.shape.length == (4 << 20) + 1
    assert desk.reading.leases is not None and desk.reading.leases.leased == 0b11
    desk.reading.check()


def test_a_small_object_goes_inline_or_from_holder_to_holder() -> None:
    small = Shape(length=PIECE, ranges=True, validator="v")
    for body in (b"bytes", None):
        desk = Desk(A, B, C)
        fence = desk.open(small)
        desk.reading.has(B, 0.0)
        desk.reading.has(C, 0.0)
        news, sends = desk.brings(A, fence, 0b1, body=body)
        assert news == (body is not None)
        assert of(sends, TakeFrom) == ([] if body else [(B, TakeFrom(T, V, A)), (C, TakeFrom(T, V, A))])


def test_when_nobody_can_read_gateways_are_asked() -> None:
    desk = Desk(A, B, origin=False)
    desk.reading.gateways.view([C])
    assert desk.give() == [Send(C, Stage(T))]
    desk.join(C)
    desk.reading.askers.ask(C, 2)
    assert [to for to, _ in of(desk.give(0.1), Give)] == [C]


def test_the_last_one_that_can_is_sent_again_and_the_others_are_told() -> None:
    desk = Desk(A, B)
    desk.join(B, origin=False)
    (send,) = desk.give()
    assert isinstance(send.message, Give)
    desk.reading.failed(A, Failed(send.message.fence, Fault.DENIED), 0.0)
    assert desk.give(LAST_RESORT_S * 0.9) == []
    assert [one.to for one in desk.give(LAST_RESORT_S)] == [A]
    desk.members.drop(A)
    desk.reading.lost(A, 2.0)
    assert desk.give(2.0) == []
    assert desk.give(2.0 + STRANDED_S) == [Send(B, Stranded(T, Fault.DENIED))]
    assert desk.give(2.1 + STRANDED_S) == []


def test_what_is_gone_is_not_asked_for_again() -> None:
    desk = Desk(A, B)
    (send,) = desk.give()
    assert isinstance(send.message, Give)
    _, sends = desk.reading.failed(A, Failed(send.message.fence, Fault.GONE), 0.0)
    assert of(sends, Ended) == [(node, Ended(T, None, Fault.GONE, False)) for node in (A, B)]
    assert desk.give() == [] and not desk.members


def test_gateways_are_left_alone_while_somebody_can() -> None:
    desk = Desk(A)
    desk.reading.gateways.view([C])
    desk.open()
    assert of(desk.give(), Stage) == []


def test_a_predecessors_table_is_taken_over() -> None:
    desk = Desk(A)
    old = Fence(Term(0, B), 5)
    table = Table(ver=V, shape=SHAPE, held=0b1111, leases=(TableLease(B, HeldLease(old, 4, 4, 0b1100_0000)),))
    assert desk.reading.merge(table, 0.0) == []
    desk.reading.check()
    assert desk.reading.leases is not None
    assert desk.reading.leases.leased == 0b1100_0000
    assert [give.first for _, give in of(desk.give(), Give)] == [4, 8]  # type: ignore[union-attr]
    again = Desk(A)
    again.reading.merge(desk.reading.table(), 0.0)
    assert again.reading.leases is not None
    assert again.reading.leases.leased == desk.reading.leases.leased


def test_a_predecessors_opener_is_waited_for_unless_a_member_knows_more() -> None:
    desk = Desk(A, B)
    old = Fence(Term(0, B), 5)
    desk.reading.merge(Table(opener=TableLease(B, HeldLease(old, 0, 0, 0))), 0.0)
    assert desk.give() == []
    assert desk.reading.know(V, SHAPE)
    desk.reading.check()
    assert desk.give()


def test_a_lost_holders_pieces_are_asked_for_then_read_again() -> None:
    desk = Desk(A, B)
    fence = desk.open()
    desk.brings(A, fence, 0b1111)
    desk.members.drop(A)
    assert of(desk.reading.lost(A, 0.0), Poll) == [(B, Poll(T))]
    assert desk.reading.leases is not None and desk.reading.leases.doubtful == 0b1111
