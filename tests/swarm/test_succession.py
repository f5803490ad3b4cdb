"""Who reigns: claims, beats, silence, hand-over, and who gives way to whom."""

from __future__ import annotations

from p2pstore.swarm.messages import Claim, HandOver, Message, Replica, Reply, Send, Table
from p2pstore.swarm.succession import (
    BEAT_S,
    CLAIM_S,
    FULL_EVERY,
    GRACE_S,
    SILENCE_S,
    YIELD_AGAIN_S,
    YIELD_S,
    Role,
    Succession,
)
from p2pstore.swarm.terms import NO_TERM, Term
from p2pstore.types import NodeId, Version

A, B, C, D = (NodeId(name) for name in "abcd")
MINE = Table(ver=Version("mine"))
THEIRS = Table(ver=Version("theirs"))


def node(me: NodeId, *ranked: NodeId) -> Succession:
    one = Succession(me, lambda: MINE)
    assert one.view(ranked or (A, B, C, D), 0.0) == []
    return one


def role(one: Succession) -> Role:
    """The attribute anew: a type checker takes it for unchanged."""
    return one.role


def messages(sends: list[Send], to: NodeId | None = None) -> list[Message]:
    return [send.message for send in sends if to in (None, send.to)]


def reigning(me: NodeId = A, *ranked: NodeId) -> Succession:
    one = node(me, *ranked)
    one.whom((), 0.0)
    one.tick(CLAIM_S)
    assert one.gives
    return one


def test_the_first_in_rank_asks_its_spares_before_it_reigns() -> None:
    one = node(A)
    leader, sends = one.whom((), 0.0)
    assert leader is None
    assert sends == [Send(B, Claim(Term(1, A))), Send(C, Claim(Term(1, A)))]
    assert not one.reigns
    one.hear(B, Reply(NO_TERM, False), 0.01)
    assert role(one) is Role.CLAIMING
    one.hear(C, Reply(NO_TERM, False), 0.02)
    assert one.gives and one.term == Term(1, A)


def test_silent_spares_are_not_waited_for_long() -> None:
    one = node(A)
    one.whom((), 0.0)
    one.tick(CLAIM_S * 0.9)
    assert not one.reigns
    one.tick(CLAIM_S)
    assert one.gives


def test_a_node_by_itself_reigns_at_once() -> None:
    one = node(A, A)
    assert one.whom((), 0.0) == (None, [])
    assert one.gives


def test_the_others_send_to_who_is_higher_unless_it_was_asked_in_vain() -> None:
    assert node(C).whom((), 0.0) == (A, [])
    assert node(C).whom((A,), 0.0) == (B, [])
    leader, sends = node(C).whom((A, B), 0.0)
    assert leader is None and sends


def test_a_claimant_is_told_of_a_living_referee_and_follows() -> None:
    spare = node(C)
    spare.hear(B, Replica(Term(3, B), True, THEIRS), 0.0)
    assert messages(spare.hear(A, Claim(Term(1, A)), 0.5)) == [Reply(Term(3, B), True)]
    one = node(A)
    one.whom((), 0.0)
    one.hear(C, Reply(Term(3, B), True), 0.1)
    assert role(one) is Role.FOLLOWING
    assert one.whom((), 0.2) == (B, [])


def test_a_referee_hands_over_exactly_to_a_higher_claimant() -> None:
    old, new = reigning(B, B, C), node(A)
    old.view((A, B, C, D), 0.5)
    claims = new.whom((), 1.0)[1]
    (reply,) = messages(old.hear(A, claims[0].message, 1.0))  # type: ignore[arg-type]
    assert reply == Reply(Term(1, B), False, MINE, exact=True)
    assert role(old) is Role.FOLLOWING
    new.hear(B, reply, 1.1)
    new.hear(C, Reply(NO_TERM, False), 1.1)
    assert new.gives and new.term == Term(2, A), "no grace: nothing was lost"
    assert new.inherited == [MINE]


def test_a_referee_refuses_a_lower_claimant_and_a_stranger() -> None:
    for claimant in (C, NodeId("stranger")):
        one = reigning(A)
        assert messages(one.hear(claimant, Claim(Term(9, claimant)), 1.0)) == [Reply(Term(1, A), True)]
        assert one.gives


def test_after_a_death_there_is_a_time_of_grace_with_the_replica() -> None:
    spare = node(B)
    spare.hear(A, Replica(Term(1, A), True, THEIRS), 0.0)
    assert spare.tick(SILENCE_S * 0.9) == []
    assert messages(spare.tick(SILENCE_S)) == [Claim(Term(2, B))] * 2
    spare.tick(SILENCE_S + CLAIM_S)
    assert role(spare) is Role.GRACE and spare.reigns and not spare.gives
    assert spare.inherited == [THEIRS]
    spare.tick(SILENCE_S + CLAIM_S + GRACE_S)
    assert spare.gives


def test_spares_take_over_one_after_the_other() -> None:
    second, third = node(C), node(D)
    for one in (second, third):
        one.hear(A, Replica(Term(1, A), True, None), 0.0)
        assert one.tick(SILENCE_S * 1.9) == []
    assert second.tick(SILENCE_S * 2)
    assert third.tick(SILENCE_S * 100) == [], "not a spare"


def test_a_referee_known_to_be_dead_is_not_waited_for() -> None:
    spare = node(B)
    spare.hear(A, Replica(Term(1, A), True, THEIRS), 0.0)
    spare.died(A, 0.1)
    assert messages(spare.view((B, C, D), 0.1)) == [Claim(Term(2, B))] * 2


def test_a_referee_of_whom_the_cluster_has_not_told_yet_is_not_taken_for_dead() -> None:
    spare = node(B, B, C)
    spare.hear(A, Replica(Term(1, A), True, THEIRS), 0.0)
    assert spare.tick(0.1) == []
    assert spare.tick(SILENCE_S) != []


def test_a_referee_with_nothing_to_do_may_be_silent() -> None:
    spare = node(B)
    spare.hear(A, Replica(Term(1, A), False, THEIRS), 0.0)
    assert not spare.waits
    assert spare.tick(1000.0) == []


def test_beats_go_to_the_spares_and_say_what_changed() -> None:
    one = reigning(A)
    first = one.beat(True, 1.0)
    assert [send.to for send in first] == [B, C]
    assert one.beat(True, 1.0 + BEAT_S / 2) == []
    tables = []
    for number in range(1, 2 * FULL_EVERY):
        (replica, _) = messages(one.beat(True, 1.0 + number * BEAT_S))
        assert isinstance(replica, Replica) and replica.busy
        tables.append(replica.table)
    assert tables.count(MINE) == 2, "a lost one is made good"
    last = messages(one.beat(False, 10.0))
    assert last == [Replica(one.term, False, MINE)] * 2
    assert one.beat(False, 20.0) == []


def test_a_higher_term_ends_a_reign_and_a_lower_one_is_told() -> None:
    one = reigning(A)
    assert messages(one.hear(B, Replica(Term(0, B), True, None), 1.0)) == [Reply(Term(1, A), True)]
    assert one.gives
    one.hear(B, Replica(Term(2, B), True, THEIRS), 1.0)
    assert role(one) is Role.FOLLOWING and one.heir == B
    other = reigning(A)
    other.hear(C, Reply(Term(7, B), True), 1.0)
    assert role(other) is Role.FOLLOWING
    third = reigning(A)
    third.note(Term(7, B))
    assert role(third) is Role.FOLLOWING


def test_a_node_that_reigned_and_forgot_claims_a_higher_term() -> None:
    one = node(B)
    one.note(Term(4, B))
    leader, sends = one.whom((), 0.0)
    assert leader is None
    assert messages(sends, A) == [Claim(Term(5, B))]
    one.tick(CLAIM_S)
    assert role(one) is Role.GRACE


def test_a_reign_that_turns_out_to_be_an_earlier_selfs_is_claimed_anew() -> None:
    one = Succession(A, lambda: MINE, instance=5)
    one.whom((), 0.0)
    assert one.term == Term(1, A, 5)
    one.note(Term(3, A, 4))
    assert not one.reigns
    one.whom((), 0.1)
    assert (role(one), one.term) == (Role.GRACE, Term(4, A, 5))


def test_the_table_goes_to_a_higher_node_that_joins() -> None:
    one = reigning(B, B, C)
    assert one.view((A, B, C), YIELD_AGAIN_S) == []
    (hand_over,) = one.tick(YIELD_AGAIN_S + CLAIM_S)
    assert hand_over == Send(A, HandOver(Term(1, B), MINE))
    assert one.reigns and not one.gives
    heir = node(A, A, B, C)
    heir.hear(B, HandOver(Term(1, B), MINE), 20.0)
    assert heir.gives and heir.term == Term(2, A) and heir.inherited == [MINE]
    one.hear(A, Replica(Term(2, A), True, None), 20.1)
    assert role(one) is Role.FOLLOWING


def test_a_hand_over_that_comes_to_nothing_is_taken_back() -> None:
    one = reigning(B, B, C)
    one.view((A, B, C), 20.0)
    assert role(one) is Role.YIELDING
    assert one.tick(20.0 + YIELD_S) == []
    assert one.gives
    assert one.tick(20.0 + YIELD_AGAIN_S) != []


def test_who_leaves_hands_over() -> None:
    assert reigning(A).leave(1.0) == [Send(B, HandOver(Term(1, A), MINE))]
    assert node(B).leave(1.0) == []
    assert reigning(A, A).leave(1.0) == []


def test_who_agreed_to_a_claim_sends_there_and_does_not_claim_itself() -> None:
    one = node(B, B)
    one.hear(A, Claim(Term(1, A)), 0.0)
    assert one.whom((), 0.1) == (A, [])
    one.whom((), SILENCE_S)
    assert one.gives, "nothing was heard of it since"


def test_two_claimants_that_do_not_know_each_other_meet() -> None:
    """C promised itself to B, of whom A has not heard: A asks B before it reigns."""
    witness = node(C, C)
    witness.hear(B, Claim(Term(1, B)), 0.0)
    (reply,) = messages(witness.hear(A, Claim(Term(1, A)), 0.1))
    assert isinstance(reply, Reply) and reply.recent and reply.term == Term(1, B)
    one = node(A, A, C)
    one.whom((), 0.1)
    (sent,) = one.hear(C, reply, 0.2)
    assert sent.to == B and isinstance(sent.message, Claim)
    assert not one.reigns
    one.hear(B, Reply(Term(1, B), True), 0.3)
    assert one.whom((), 0.4) == (B, [])
