"""Pings for others."""

from __future__ import annotations

from p2pstore.gossip import timing
from p2pstore.gossip.relaying import Relay, Relays
from tests.gossip.samples import address, ident


def relay(ends_at: float = 5.0) -> Relay:
    return Relay(ident(1), address(1), b"theirs", ident(2), ends_at)


def test_only_the_target_ends_a_relay() -> None:
    relays = Relays()
    assert relays.start(b"mine", relay())
    assert relays.take(b"mine", ident(3)) is None
    assert relays.take(b"other", ident(2)) is None
    assert relays.take(b"mine", ident(2)) == relay()
    assert relays.take(b"mine", ident(2)) is None


def test_those_without_an_answer_are_given_once() -> None:
    relays = Relays()
    relays.start(b"one", relay(5.0))
    relays.start(b"two", relay(6.0))
    assert relays.next_at() == 5.0
    assert relays.take_failed(5.0) == [relay(5.0)]
    assert relays.take_failed(5.0) == []
    assert relays.next_at() == 6.0
    assert relays.take_failed(9.0) and relays.next_at() is None


def test_there_are_never_too_many() -> None:
    relays = Relays()
    started = [relays.start(number.to_bytes(8, "big"), relay()) for number in range(timing.MAX_RELAYS + 5)]
    assert sum(started) == len(relays) == timing.MAX_RELAYS
