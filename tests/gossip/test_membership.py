"""One member on its own clock: probes, suspicion, relays, isolation, stalls, farewell, and hostile input."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.gossip import timing
from p2pstore.gossip.decisions import Decision, Departed, Isolation, MemberChanged, Send, Stalled
from p2pstore.gossip.members import Address, Entry, Stamp, State
from p2pstore.gossip.membership import Membership
from p2pstore.gossip.messages import (
    Ack,
    Correct,
    Gossip,
    Join,
    Leave,
    Message,
    Nack,
    Ping,
    PingRequest,
    Sync,
    Synced,
    encode,
)
from p2pstore.types import NodeId
from tests.gossip.samples import accusation, address, alive, ident, membership, sent

NONCE = b"12345678"


class Node:
    """Member 0 with its clock; `log` holds what it sent and when."""

    def __init__(self, *known: Entry, seeds: tuple[int, ...] = ()) -> None:
        self.core = membership(seeds=seeds)
        self.now = 0.0
        self.log: list[tuple[float, NodeId | None, Message]] = []
        self.events: list[tuple[float, Decision]] = []
        for at in range(0, len(known), 8):
            self.hear(Gossip(NONCE, known[at : at + 8]), 99)
        self.log.clear()
        self.events.clear()

    def note(self, decisions: list[Decision]) -> None:
        self.core.check()
        self.log += [(self.now, to, message) for to, message in sent(decisions)]
        self.events += [(self.now, one) for one in decisions if not isinstance(one, Send)]

    def hear(
        self, message: Message, sender: int, *, reliable: bool = False, at: Address | None = None
    ) -> None:
        where = address(sender) if at is None else at
        self.note(self.core.handle(encode(message), ident(sender), where, self.now, reliable=reliable))

    def run(self, until: float) -> None:
        while self.core.next_at() <= until:
            self.now = max(self.now, self.core.next_at())
            self.note(self.core.tick(self.now))
        self.now = until

    def of(self, kind: type[Message], to: int | None = None) -> list[Message]:
        return [
            message
            for _, node, message in self.log
            if isinstance(message, kind) and (to is None or node == ident(to))
        ]

    def states(self, number: int) -> list[tuple[float, State]]:
        return [
            (at, event.after)
            for at, event in self.events
            if isinstance(event, MemberChanged) and event.node == ident(number)
        ]

    def answer_pings(self, *numbers: int) -> None:
        """The latest ping to each of these is answered."""
        for number in numbers:
            pings = self.of(Ping, number)
            if pings:
                ping = pings[-1]
                assert isinstance(ping, Ping)
                self.hear(Ack(ping.nonce, Stamp(1, 0), 0, self.core.fingerprint), number)


def test_a_silent_member_is_pinged_relayed_suspected_checked_and_dead() -> None:
    node = Node(alive(1))
    node.run(1.99)
    first = [(to, type(message)) for _, to, message in node.log if not isinstance(message, Gossip)]
    assert first.count((ident(1), Ping)) >= 4
    node.run(12.0)
    (suspected_at, suspect), (dead_at, dead) = node.states(1)
    assert (suspect, dead) == (State.SUSPECT, State.DEAD)
    assert 1.0 <= suspected_at <= 2.0 and 5.0 <= dead_at - suspected_at <= 6.0
    final = [
        at for at, _, message in node.log if isinstance(message, Ping) and dead_at - 1.01 <= at < dead_at
    ]
    assert len(final) >= 4


def test_relays_are_asked_and_their_answer_counts() -> None:
    node = Node(alive(1), alive(2), alive(3), alive(4))
    while not node.of(PingRequest):
        node.run(node.core.next_at())
    request = node.of(PingRequest)[0]
    assert isinstance(request, PingRequest)
    target = int(request.target[:8], 16)
    relay = next(to for _, to, message in node.log if message is request)
    assert relay is not None and len(node.of(PingRequest)) == 3
    node.hear(Ack(request.nonce, Stamp(1, 0), 0, 0), int(relay[:8], 16))
    node.run(node.now + 0.6)
    assert node.states(target) == []


def test_an_answer_with_a_stolen_nonce_from_somebody_else_does_not_count() -> None:
    node = Node(alive(1), alive(2))
    node.run(0.99)
    for ping in node.of(Ping):
        assert isinstance(ping, Ping)
        node.hear(Ack(ping.nonce, Stamp(1, 0), 0, 0), 50)
    node.run(3.5)
    assert {State.SUSPECT} <= {state for number in (1, 2) for _, state in node.states(number)}


def test_any_message_is_a_sign_of_life() -> None:
    node = Node(alive(1))
    for step in range(1, 100):
        node.run(step / 2)
        node.hear(Nack(NONCE), 1)
    assert node.states(1) == []


def test_other_traffic_is_a_sign_of_life_too() -> None:
    node = Node(alive(1))
    for step in range(1, 100):
        node.run(step / 2)
        node.note(node.core.heard(ident(1), node.now))
    assert node.states(1) == []


def test_a_suspect_that_answers_its_check_without_a_word_to_the_accusation_lives() -> None:
    node = Node(alive(1), alive(2), accusation(1, State.SUSPECT, accusers=[2, 3, 4]))
    for step in range(1, 400):
        node.run(step / 10)
        node.answer_pings(1, 2)
    assert (State.DEAD not in {state for _, state in node.states(1)}) and node.core.get(ident(1)) is not None
    member = node.core.get(ident(1))
    assert member is not None and member.state == State.SUSPECT


def test_a_relayed_answer_during_the_final_check_does_not_leave_the_suspect_waiting() -> None:
    node = Node(alive(1), alive(2), accusation(1, State.SUSPECT, accusers=[2, 3, 4]))
    for _ in range(400):
        node.run(node.core.next_at())
        for _, to, message in node.log:
            if isinstance(message, PingRequest) and to is not None:
                node.hear(Ack(message.nonce, Stamp(1, 0), 0, 0), int(to[:8], 16))
        node.log.clear()
    node.run(node.now + 60.0)
    assert node.states(1)[-1][1] == State.DEAD


def test_planted_deafness_to_signs_of_life_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Membership, "_heard", lambda *_: None)
    with pytest.raises(AssertionError):
        test_any_message_is_a_sign_of_life()


def test_nacks_show_that_the_fault_is_not_here() -> None:
    for nacks, health in ((True, 0), (False, 1)):
        node = Node(alive(1), alive(2))
        while not node.states(1) and not node.states(2):
            node.run(node.core.next_at())
            for _, to, message in list(node.log):
                if isinstance(message, PingRequest) and nacks and to is not None:
                    node.hear(Nack(message.nonce), int(to[:8], 16))
            node.log.clear()
        assert node.core.health == health


def test_a_relay_pings_and_passes_the_answer_on_or_says_that_there_was_none() -> None:
    node = Node(alive(1), alive(2))
    node.hear(PingRequest(NONCE, ident(2), address(2)), 1)
    ((_, to, ping),) = node.log[-1:]
    assert to == ident(2) and isinstance(ping, Ping) and ping.nonce != NONCE
    node.hear(Ack(ping.nonce, Stamp(1, 0), 0, 0), 2)
    passed = node.of(Ack, 1)[-1]
    assert isinstance(passed, Ack) and passed.nonce == NONCE and alive(2) in passed.entries
    node.hear(PingRequest(b"again678", ident(2), address(2)), 1)
    node.run(node.now + 0.3)
    assert node.of(Nack, 1) == [Nack(b"again678")]


def test_a_ping_is_answered_and_an_accusation_in_it_with_a_new_incarnation() -> None:
    node = Node(alive(1))
    node.hear(Ping(NONCE, ident(0), (Stamp(1, 0), State.SUSPECT), 0), 1)
    (ack,) = node.of(Ack)
    assert isinstance(ack, Ack)
    assert ack.nonce == NONCE and ack.stamp == Stamp(1, 1) and node.core.me in ack.entries


def test_a_ping_for_a_former_tenant_of_the_address_is_not_answered() -> None:
    node = Node(alive(1))
    node.hear(Ping(NONCE, ident(7), (Stamp(1, 0), State.ALIVE), 0), 1)
    assert node.of(Ack) == [] and node.core.dropped["for somebody else"] == 1


def test_a_member_held_dead_is_told_so_whatever_it_says() -> None:
    for message in (
        Nack(NONCE),
        Gossip(bytes(8), (alive(2),)),
        Correct(()),
        PingRequest(NONCE, ident(2), address(2)),
    ):
        node = Node(alive(1), accusation(1, State.DEAD))
        node.hear(message, 1)
        told = [one for one in node.of(Correct, 1) if isinstance(one, Correct)]
        assert [one.entries for one in told] == [(accusation(1, State.DEAD),)]


def test_a_stranger_is_asked_who_it_is() -> None:
    node = Node()
    node.hear(Nack(NONCE), 5)
    (ping,) = node.of(Ping, 5)
    assert isinstance(ping, Ping) and ping.view == (Stamp(0, 0), State.ALIVE)


def test_hearsay_is_checked_with_pings_before_it_is_believed() -> None:
    node = Node(alive(1), accusation(1, State.DEAD), alive(2))
    node.hear(Gossip(NONCE, (alive(1, inc=1, at=77),)), 2)
    assert node.core.get(ident(1)).state == State.DEAD  # type: ignore[union-attr]
    node.run(node.now + 0.01)
    (ping,) = node.of(Ping, 1)
    assert isinstance(ping, Ping) and ping.view == (Stamp(1, 0), State.DEAD)
    node.hear(Ack(ping.nonce, Stamp(1, 1), 0, 0, (alive(1, inc=1, at=77),)), 1)
    assert node.core.get(ident(1)).state == State.ALIVE  # type: ignore[union-attr]


def test_hearsay_without_an_answer_is_forgotten() -> None:
    node = Node(alive(1), accusation(1, State.DEAD), alive(2))
    node.hear(Gossip(NONCE, (alive(1, inc=1),)), 2)
    node.run(20.0)
    assert node.core.get(ident(1)).state == State.DEAD  # type: ignore[union-attr]


def test_alone_it_calls_its_seeds_and_when_nobody_is_heard_too() -> None:
    node = Node(seeds=(5,))
    node.run(30.0)
    assert len(node.of(Join)) >= 4
    node = Node(*(alive(number) for number in range(1, 9)), seeds=(50,))
    node.run(9.9)
    before = len(node.of(Join))
    node.run(30.0)
    assert before <= 1 and len(node.of(Join)) >= 4


def test_isolation_ends_with_the_first_word() -> None:
    node = Node(*(alive(number) for number in range(1, 9)))
    node.run(11.0)
    states = [node.core.isolated]
    node.hear(Nack(NONCE), 1)
    assert [*states, node.core.isolated] == [True, False]
    assert node.events[-1][1] == Isolation(False)


def test_a_stall_is_not_taken_for_the_silence_of_others() -> None:
    node = Node(alive(1), accusation(1, State.SUSPECT), alive(2), alive(3))
    node.run(0.5)
    node.now = 400.0
    node.hear(Nack(NONCE), 2)
    node.note(node.core.tick(400.0))
    assert any(isinstance(event, Stalled) for _, event in node.events)
    assert node.core.health == 1
    node.run(402.0)
    assert node.states(1) == []
    assert node.of(Sync), "and what was missed is asked for"


def test_planted_disregard_of_stalls_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Membership, "_stalled", lambda *_: None)
    with pytest.raises(AssertionError):
        test_a_stall_is_not_taken_for_the_silence_of_others()


def test_a_timer_that_came_due_while_a_probe_ran_is_no_stall() -> None:
    node = Node(*(alive(number) for number in range(1, 9)))
    for step in range(1, 400):
        node.run(step / 10)
        node.answer_pings(1, 2, 3)
    assert not any(isinstance(event, Stalled) for _, event in node.events)


def test_farewell() -> None:
    node = Node(*(alive(number) for number in range(1, 30)))
    node.note(node.core.leave(node.now))
    node.run(5.0)
    assert len(node.of(Leave)) == timing.LEAVE_TARGETS * timing.LEAVE_TIMES
    assert node.events[-1][1] == Departed() and node.core.next_at() == math.inf
    node.hear(Ping(NONCE, ident(0), (Stamp(1, 0), State.DEAD), 0), 1)
    assert node.of(Ack) == [] and node.core.leave(6.0) == []


def test_a_farewell_is_believed_of_the_one_who_says_it() -> None:
    node = Node(alive(1), alive(2))
    node.hear(Leave(Stamp(1, 0)), 1)
    assert [state for _, state in node.states(1)] == [State.LEFT]
    node.run(20.0)
    assert node.of(Sync, 1) == []


def test_the_lag_of_others_is_known_and_its_own_is_told() -> None:
    node = Node(alive(1))
    node.core.report_lag(2.5)
    node.hear(Ping(NONCE, ident(0), (Stamp(1, 0), State.ALIVE), 0), 1)
    (ack,) = node.of(Ack)
    assert isinstance(ack, Ack) and ack.lag_ms == 2500
    node.hear(Ack(NONCE, Stamp(1, 0), 1500, 0), 1)
    assert node.core.get(ident(1)).lag_s == 1.5  # type: ignore[union-attr]


def test_unasked_bulk_is_dropped() -> None:
    node = Node()
    node.hear(Synced(NONCE, 16, (), (alive(2),)), 1, reliable=True)
    assert node.core.get(ident(2)) is None and node.core.dropped["not asked for"] == 1


def test_all_dead_and_still_the_caps_hold() -> None:
    node = Node(
        *(entry for number in range(1, 60) for entry in (alive(number), accusation(number, State.DEAD)))
    )
    node.log.clear()
    node.run(60.0)
    assert len(node.log) <= 60 / timing.DEAD_CONTACT_SMALL_S * 2


def test_many_members_are_probed_one_a_second() -> None:
    node = Node()
    for base in range(1, 600, 10):
        node.hear(Gossip(NONCE, tuple(alive(number) for number in range(base, base + 10))), 1)
    node.log.clear()
    node.run(10.0)
    gossip = [at for at, _, message in node.log if isinstance(message, Gossip)]
    assert all(sum(at <= other < at + 0.999 for other in gossip) <= 15 for at in gossip)


def hostile(rng: random.Random) -> bytes:
    messages: list[Message] = [
        Gossip(NONCE, (alive(1), accusation(0, State.DEAD, 1, 5), accusation(3, State.LEFT))),
        Ping(NONCE, ident(0), (Stamp(9, 9), State.LEFT), 3, (alive(4, gen=4_000_000_000),)),
        Ack(NONCE, Stamp(1, 1), 3, 3, (alive(0, gen=7),)),
        PingRequest(NONCE, ident(rng.randrange(9)), address(3)),
        Join(NONCE, alive(rng.randrange(9))),
        Leave(Stamp(1, rng.randrange(5))),
    ]
    whole = encode(rng.choice(messages))
    broken = bytearray(whole)
    for _ in range(rng.randrange(4)):
        broken[rng.randrange(len(broken))] = rng.randrange(256)
    return bytes(broken[: rng.choice([len(broken), rng.randrange(len(broken))])])


@given(st.integers(0, 1 << 32))
def test_hostile_messages_raise_nothing_and_leave_it_sound(seed: int) -> None:
    rng, node = random.Random(seed), Node(alive(1), alive(2))
    for _ in range(40):
        node.now += rng.random() * 0.5
        reliable = rng.random() < 0.3
        payload, sender = hostile(rng), ident(rng.randrange(6))
        node.note(node.core.handle(payload, sender, address(1), node.now, reliable=reliable))
        if node.core.next_at() <= node.now:
            node.note(node.core.tick(node.now))
    assert ident(0) in node.core.live()
