"""Many keys at one node: bounded tables, few packets, nothing dropped that is in use."""

from __future__ import annotations

import random

import pytest

from p2pstore.swarm import referees as referees_module
from p2pstore.swarm.messages import (
    MAX_KEYS,
    Ask,
    Brought,
    Give,
    Join,
    Leave,
    Message,
    Opened,
    Send,
    TakeFrom,
    Welcome,
)
from p2pstore.swarm.referees import Packet, Referees, batched
from p2pstore.swarm.shape import INLINE_BYTES, Shape
from p2pstore.swarm.terms import NO_TERM
from p2pstore.types import Key, NodeId, Version

ME, A, B = NodeId("me"), NodeId("a"), NodeId("b")
KEYS = [Key(f"{number:04x}") for number in range(600)]
SMALL = Shape(length=1000, ranges=True, validator="v")


def referees() -> Referees:
    return Referees(ME, 7, lambda key: ([ME], []), random.Random(0))


def join(number: int = 1) -> Join:
    return Join(number=number, origin=True, term=NO_TERM)


def said(packets: list[Packet], kind: type[Message]) -> list[tuple[Key, NodeId, Message]]:
    return [
        (key, packet.to, message)
        for packet in packets
        for key, message in packet.messages
        if isinstance(message, kind)
    ]


def brings_small(table: Referees, key: Key, body: bytes) -> None:
    """A opens and brings a small object."""
    packets = table.hear(A, [(key, join()), (key, Ask(1))], 0.0)
    ((_, _, give),) = said(packets, Give)
    assert isinstance(give, Give)
    table.hear(A, [(key, Opened(give.fence, Version(key), SMALL))], 0.1)
    report = Brought(number=2, ver=Version(key), fence=give.fence, pieces=1, size_bytes=1000, body=body)
    table.hear(A, [(key, report)], 0.2)
    table.check()


def test_many_keys_are_answered_in_few_packets() -> None:
    table = referees()
    packets = table.hear(A, [(key, join()) for key in KEYS], 0.0)
    assert [packet.to for packet in packets] == [A] * len(packets)
    assert len(packets) == -(-len(KEYS) // MAX_KEYS)
    assert {key for key, _, _ in said(packets, Welcome)} == set(KEYS)


def test_each_receivers_order_is_kept() -> None:
    sends = [(KEYS[number % 7], Send(A if number % 3 else B, Ask(number))) for number in range(1000)]
    packets = batched(sends)
    for node in (A, B):
        got = [message for packet in packets if packet.to == node for _, message in packet.messages]
        assert got == [send.message for _, send in sends if send.to == node]
    assert all(len(packet.messages) <= MAX_KEYS for packet in packets)


def test_the_idle_make_room_and_those_at_work_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referees_module, "MAX_REFEREES", 3)
    table = referees()
    for key in KEYS[:3]:
        table.hear(A, [(key, join())], 0.0)
    assert table.hear(A, [(KEYS[3], join())], 0.0) == []
    assert table.refused == 1
    table.hear(A, [(KEYS[1], Leave())], 1.0)
    table.tick(2.0)
    assert table.hear(A, [(KEYS[3], join())], 3.0)
    assert table.get(KEYS[1]) is None and table.get(KEYS[0]) is not None
    table.check()


def test_a_referee_that_was_forgotten_does_not_use_its_fences_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referees_module, "MAX_REFEREES", 1)
    table, fences = referees(), []
    for number, key in enumerate((KEYS[0], KEYS[1], KEYS[0])):
        packets = table.hear(A, [(key, join()), (key, Ask(1))], float(number))
        fences += [message.fence for _, _, message in said(packets, Give) if isinstance(message, Give)]
        table.hear(A, [(key, Leave())], float(number))
        table.tick(number + 0.5)
    assert len(set(fences)) == 3


def test_bodies_are_bounded_together_and_holders_answer_for_those_that_went(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(referees_module, "MAX_BODY_BYTES", 2 * INLINE_BYTES)
    table = referees()
    for key in KEYS[:3]:
        brings_small(table, key, bytes(INLINE_BYTES))
    last = table.hear(B, [(KEYS[2], join())], 1.0)
    assert [message.body for _, _, message in said(last, Welcome)] == [bytes(INLINE_BYTES)]  # type: ignore[union-attr]
    first = table.hear(B, [(KEYS[0], join())], 1.0)
    assert [message.body for _, _, message in said(first, Welcome)] == [None]  # type: ignore[union-attr]
    assert [message.holder for _, _, message in said(first, TakeFrom)] == [A]  # type: ignore[union-attr]


def test_a_planted_table_without_bound_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referees_module, "MAX_BODY_BYTES", INLINE_BYTES)
    monkeypatch.setattr(Referees, "_weigh", lambda self, key, one: self._bodies.update({key: INLINE_BYTES}))
    table = referees()
    brings_small(table, KEYS[0], bytes(INLINE_BYTES))
    with pytest.raises(AssertionError):
        brings_small(table, KEYS[1], bytes(INLINE_BYTES))


def test_the_cluster_speaks_to_all_of_them() -> None:
    ranked = [ME]
    table = Referees(ME, 7, lambda key: (ranked, []), random.Random(0))
    for key in KEYS[:3]:
        table.hear(A, [(key, join()), (key, Ask(1))], 0.0)
    packets = table.died(A, 0.5)
    assert packets == [] and all(A not in one.members for key in KEYS[:3] if (one := table.get(key)))
    ranked.append(B)
    table.view(1.0)
    assert {packet.to for packet in table.leave(2.0)} == {B}
    assert sum(len(packet.messages) for packet in table.leave(3.0)) == 3
