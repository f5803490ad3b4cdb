"""What is sent: within a datagram, within the caps, and with the accusation that somebody has to answer."""

from __future__ import annotations

import random

import pytest

from p2pstore.gossip import timing
from p2pstore.gossip.beliefs import Beliefs
from p2pstore.gossip.decisions import Decision, Send
from p2pstore.gossip.members import Entry, State
from p2pstore.gossip.messages import Ack, Correct, Gossip, Leave, Ping, PingRequest
from p2pstore.gossip.outbox import UNCONFIRMED, Origin, Outbox
from p2pstore.gossip.probing import Probe, Purpose
from tests.gossip.samples import accusation, address, alive, ident, sent

NONCE = b"12345678"


class Node:
    """The outbox of node 0, who knows some others."""

    def __init__(self, *known: Entry) -> None:
        self.out: list[Decision] = []
        rng = random.Random(1)
        self.beliefs = Beliefs(alive(0), 0.0, rng, self.out)
        self.beliefs.take(known, ident(9), 0.0)
        self.outbox = Outbox(self.beliefs, 0.0, rng, self.out)
        self.out.clear()

    def sends(self) -> list[Send]:
        return [one for one in self.out if isinstance(one, Send)]


def crowd(count: int) -> list[Entry]:
    return [alive(number) for number in range(1, count + 1)]


def origin(number: int, *, reliable: bool = False) -> Origin:
    return Origin(ident(number), address(999), 1.0, reliable)


def test_no_datagram_is_too_long_however_much_there_is_to_tell() -> None:
    node = Node(*crowd(300))
    node.outbox.gossip(1.0)
    node.outbox.ping(ident(1), address(1), NONCE, 1.0)
    node.outbox.acknowledge(NONCE, origin(2), crowd(200))
    node.outbox.correct(crowd(200), origin(2))
    sizes = [len(send.payload) for send in node.sends()]
    assert len(sizes) == timing.GOSSIP_TARGETS + 3
    assert timing.MAX_PAYLOAD_BYTES - 100 < max(sizes) <= timing.MAX_PAYLOAD_BYTES


def test_a_ping_tells_the_target_of_what_it_stands_accused() -> None:
    node = Node(alive(1), accusation(1, State.SUSPECT))
    node.outbox.ping(ident(1), address(1), NONCE, 1.0)
    ((_, ping),) = sent(node.out)
    assert isinstance(ping, Ping) and ping.view == ((1, 0), State.SUSPECT)


def test_an_answer_tells_the_asker_of_what_it_stands_accused() -> None:
    node = Node(alive(1), accusation(1, State.DEAD))
    node.outbox.acknowledge(NONCE, origin(1), [])
    node.outbox.correct([], origin(1))
    (_, ack), (_, correct) = sent(node.out)
    assert isinstance(ack, Ack) and isinstance(correct, Correct)
    assert accusation(1, State.DEAD) in ack.entries and correct.entries == (accusation(1, State.DEAD),)


@pytest.mark.parametrize(("reliable", "at"), [(False, 999), (True, 1)])
def test_where_an_answer_goes(reliable: bool, at: int) -> None:
    node = Node(alive(1))
    node.outbox.acknowledge(NONCE, origin(1, reliable=reliable), [])
    node.outbox.acknowledge(NONCE, origin(5, reliable=reliable), [])
    assert [(send.address, send.reliable) for send in node.sends()] == [
        (address(at), reliable),
        (address(999), reliable),
    ]


def test_nobody_is_corrected_without_need() -> None:
    node = Node(alive(1))
    node.outbox.correct([], origin(1))
    assert node.out == []


def test_corrections_and_greetings_are_capped() -> None:
    node = Node(alive(1))
    for number in range(100):
        node.outbox.correct([alive(1)], origin(2))
        node.outbox.greet(origin(100 + number))
    assert len(node.out) == timing.MAX_CORRECTIONS_PER_S // 2


def test_small_clusters_ask_for_confirmation_and_large_ones_do_not() -> None:
    for count, asked in ((5, True), (200, False)):
        node = Node(*crowd(count))
        node.outbox.gossip(1.0)
        messages = [message for _, message in sent(node.out)]
        assert len(messages) == timing.GOSSIP_TARGETS
        for message in messages:
            assert isinstance(message, Gossip) and (message.nonce != UNCONFIRMED) is asked


def test_goodbyes_go_to_a_few() -> None:
    node = Node(*crowd(30))
    node.outbox.say_goodbye()
    messages = sent(node.out)
    assert len({to for to, _ in messages}) == timing.LEAVE_TARGETS
    assert all(message == Leave(node.beliefs.me.stamp) for _, message in messages)


def test_a_relayed_answer_carries_what_the_target_says_of_itself() -> None:
    node = Node(alive(1))
    ack = Ack(NONCE, alive(1).stamp, 5, 0)
    node.outbox.pass_on(ack, ident(1), ident(2), address(2), b"87654321")
    ((to, passed),) = sent(node.out)
    assert to == ident(2)
    assert passed == Ack(b"87654321", alive(1).stamp, 5, node.beliefs.table.fingerprint, (alive(1),))


def test_relays_are_others_than_the_target_and_kept() -> None:
    node = Node(*crowd(6))
    probe = Probe(NONCE, ident(1), Purpose.ROUTINE, 0.0, 0.15)
    node.outbox.ask_relays(probe, address(1))
    asked = sent(node.out)
    assert {to for to, _ in asked} == probe.relays and len(probe.relays) == timing.RELAYS_PER_PROBE
    assert ident(1) not in probe.relays
    assert all(message == PingRequest(NONCE, ident(1), address(1)) for _, message in asked)
