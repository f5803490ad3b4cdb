"""The referee of a key: joins, reports, changes of its own role, revalidations, and no tick without need."""

from __future__ import annotations

import random

from p2pstore.swarm.members import EXPIRY_S
from p2pstore.swarm.messages import (
    Ask,
    Brought,
    Claim,
    Elsewhere,
    Failed,
    Fault,
    Freshness,
    Give,
    Got,
    HandOver,
    Join,
    Leave,
    Message,
    Opened,
    Poll,
    Replica,
    Reply,
    Revalidate,
    Revalidated,
    Send,
    Stage,
    Stale,
    Table,
    Urgent,
    Welcome,
)
from p2pstore.swarm.referee import TICK_S, Referee
from p2pstore.swarm.shape import Shape
from p2pstore.swarm.succession import CLAIM_S, GRACE_S, Role
from p2pstore.swarm.terms import NO_TERM, Fence, Term
from p2pstore.types import NodeId, Version

ME, A, B, C = (NodeId(name) for name in ("me", "a", "b", "c"))
V = Version("v")
PIECE = 256 << 10
SHAPE = Shape(length=40 * PIECE, ranges=True, validator="v")


def alone() -> Referee:
    """A referee that reigns already, without spares."""
    return Referee(ME, random.Random(0))


def join(number: int = 1, *, origin: bool = True, term: Term = NO_TERM, **more: object) -> Join:
    return Join(number=number, origin=origin, term=term, **more)  # type: ignore[arg-type]


def of(sends: list[Send], kind: type[Message]) -> list[tuple[NodeId, Message]]:
    return [(send.to, send.message) for send in sends if isinstance(send.message, kind)]


def opened(referee: Referee, *others: NodeId) -> Fence:
    """A joined and opened the URL; the others joined too."""
    referee.hear(A, join(), 0.0)
    for node in others:
        referee.hear(node, join(), 0.0)
    ((_, give),) = of(referee.hear(A, Ask(2), 0.0), Give)
    assert isinstance(give, Give)
    referee.hear(A, Opened(give.fence, V, SHAPE), 0.1)
    referee.check()
    return give.fence


def test_a_join_is_welcomed_with_peers_and_what_is_known() -> None:
    referee = alone()
    opened(referee, B)
    ((to, welcome),) = of(referee.hear(C, join(), 0.2), Welcome)
    assert isinstance(welcome, Welcome) and to == C
    assert set(welcome.peers) == {A, B}
    assert (welcome.ver, welcome.shape, welcome.term) == (V, SHAPE, Term(1, ME))


def test_what_the_opener_found_is_told_to_all_who_wait() -> None:
    referee = alone()
    for node in (A, B):
        referee.hear(node, join(), 0.0)
    ((_, give),) = of(referee.hear(A, Ask(2), 0.0), Give)
    assert isinstance(give, Give)
    welcomes = of(referee.hear(A, Opened(give.fence, V, SHAPE), 0.1), Welcome)
    assert [to for to, _ in welcomes] == [A, B]


def test_strangers_join_before_they_ask() -> None:
    referee = alone()
    referee.hear(A, join(), 0.0)
    assert of(referee.hear(B, Ask(2), 0.0), Poll) == [(B, Poll(Term(1, ME)))]
    referee.check()


def test_members_that_are_silent_or_leave_or_die_are_gone() -> None:
    referee = alone()
    opened(referee, B, C)
    referee.hear(B, Leave(), 1.0)
    referee.died(C, 1.0)
    assert set(referee.members.table) == {A}
    referee.tick(0.1 + EXPIRY_S)
    assert not referee.members
    assert referee.idle


def test_a_reader_that_waits_is_served_first() -> None:
    referee = alone()
    opened(referee, B)
    referee.hear(B, Urgent(V, 33), 0.2)
    ((_, give),) = of(referee.hear(B, Ask(1), 0.2), Give)
    assert isinstance(give, Give) and give.first == 33


def test_late_joiners_of_a_complete_object_ask_nobody_else() -> None:
    referee = alone()
    fence = opened(referee)
    referee.hear(A, Got(2, V, SHAPE.all), 0.2)
    referee.hear(A, Brought(number=3, ver=V, fence=fence, pieces=0b1, size_bytes=1), 0.2)
    sends = referee.hear(B, join(), 1.0) + referee.hear(B, Ask(4), 1.0) + referee.tick(2.0)
    assert of(sends, Give) == []


def test_an_old_version_is_said_to_be_over() -> None:
    referee = alone()
    fence = opened(referee, B)
    referee.hear(A, Failed(fence, Fault.CHANGED), 0.3)
    sends = referee.hear(C, join(ver=V, shape=SHAPE, have=1), 0.4)
    assert [type(send.message).__name__ for send in sends if send.to == C] == ["Ended", "Welcome"]
    assert referee.reading.ver is None


def test_state_that_was_lost_comes_back_with_the_members() -> None:
    referee = alone()
    referee.hear(A, join(ver=V, shape=SHAPE, have=0b1111), 0.0)
    ((_, give),) = of(referee.hear(A, Ask(1), 0.0), Give)
    assert isinstance(give, Give) and (give.ver, give.first) == (V, 4)


def test_not_reigning_it_says_who_does() -> None:
    referee = Referee(ME, random.Random(0))
    referee.view([A, ME], [], 0.0)
    assert referee.hear(B, join(), 0.0) == [Send(B, Elsewhere(NO_TERM, A))]
    assert referee.idle


def test_who_asks_while_it_claims_is_served_when_it_reigns() -> None:
    referee = Referee(ME, random.Random(0))
    referee.view([ME, A, B], [], 0.0)
    assert len(of(referee.hear(C, join(), 0.0), Claim)) == 2
    assert referee.hear(C, Ask(1), 0.0) == []
    referee.hear(A, Reply(NO_TERM, False), 0.01)
    sends = referee.hear(B, Reply(NO_TERM, False), 0.02)
    assert [to for to, _ in of(sends, Give)] == [C]
    assert [to for to, _ in of(sends, Replica)] == [A, B]


def test_who_asked_is_sent_on_when_the_claim_is_refused() -> None:
    referee = Referee(ME, random.Random(0))
    referee.view([ME, A, B], [], 0.0)
    referee.hear(C, join(), 0.0)
    sends = referee.hear(A, Reply(Term(4, B), True), 0.01)
    assert sends == [Send(C, Elsewhere(Term(4, B), B))]
    assert not referee.members


def test_a_successor_asks_everybody_and_gives_nothing_before_the_grace_is_over() -> None:
    referee = Referee(ME, random.Random(0))
    referee.view([A, ME], [], 0.0)
    table = Table(ver=V, shape=SHAPE, held=0b1111, members=(B, C))
    referee.hear(A, Replica(Term(1, A), True, table), 0.0)
    referee.died(A, 0.1)
    sends = referee.view([ME], [], 0.1)
    assert referee.succession.role is Role.GRACE
    assert [to for to, _ in of(sends, Poll)] == [B, C]
    referee.hear(B, join(), 0.2)
    assert of(referee.hear(B, Ask(1), 0.2), Give) == []
    ((_, give),) = of(referee.tick(0.1 + CLAIM_S + GRACE_S), Give)
    assert isinstance(give, Give) and give.first == 4


def test_a_hand_over_is_complete_and_needs_no_grace() -> None:
    referee = Referee(ME, random.Random(0))
    referee.view([ME, A], [], 0.0)
    sends = referee.hear(A, HandOver(Term(3, A), Table(ver=V, shape=SHAPE, members=(B,))), 0.0)
    assert [to for to, _ in of(sends, Poll)] == [B]
    assert [to for to, _ in of(sends, Replica)] == [A]
    referee.hear(B, join(), 0.1)
    assert of(referee.hear(B, Ask(1), 0.1), Give)


def test_a_referee_that_hears_of_a_higher_term_sends_its_members_there() -> None:
    referee = alone()
    opened(referee, B)
    referee.view([ME, A], [], 0.0)
    sends = referee.hear(A, Replica(Term(9, A), True, None), 0.5)
    assert of(sends, Elsewhere) == [(node, Elsewhere(Term(9, A), A)) for node in (A, B)]
    assert of(referee.hear(B, Ask(2), 0.6), Give) == []


def test_a_join_may_bring_the_news_of_a_higher_term() -> None:
    referee = alone()
    opened(referee)
    referee.view([ME, B], [], 0.0)
    sends = referee.hear(C, join(term=Term(9, B)), 0.5)
    assert (C, Elsewhere(Term(9, B), B)) in of(sends, Elsewhere)


def test_revalidation_is_leased_once_and_told_to_waiters_and_holders() -> None:
    referee = alone()
    opened(referee, B)
    ((to, lease),) = of(referee.hear(C, Stale(0, False), 1.0), Revalidate)
    assert isinstance(lease, Revalidate) and to == A, "a member that can, since the waiter can not"
    assert of(referee.hear(B, Stale(0, True), 1.0), Revalidate) == []
    sends = referee.hear(A, Revalidated(lease.fence, 304), 1.1)
    assert {to for to, _ in of(sends, Freshness)} == {A, B, C}
    assert of(referee.hear(C, Stale(0, False), 1.2), Freshness)
    assert of(referee.hear(C, Stale(1, False), 1.2), Revalidate)


def test_a_revalidation_goes_through_a_gateway_when_it_must() -> None:
    referee = alone()
    referee.view([ME], [B], 0.0)
    assert of(referee.hear(C, Stale(0, False), 0.0), Stage) == [(B, Stage(Term(1, ME)))]
    assert not referee.idle
    sends = referee.hear(B, join(), 0.1) + referee.tick(0.1 + TICK_S)
    assert [to for to, _ in of(sends, Revalidate)] == [B]


def test_the_outcome_outlives_the_referee() -> None:
    referee = alone()
    ((_, lease),) = of(referee.hear(A, Stale(6, True), 0.0), Revalidate)
    assert isinstance(lease, Revalidate)
    referee.hear(A, Revalidated(lease.fence, 304), 0.1)
    table = referee.table()
    heir = Referee(A, random.Random(0))
    heir.hear(ME, HandOver(Term(1, ME), table), 1.0)
    ((_, news),) = of(heir.hear(B, Stale(6, True), 2.0), Freshness)
    assert isinstance(news, Freshness) and news.outcome.order == 7
