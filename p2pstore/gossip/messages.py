"""The messages of membership, as MessagePack arrays that begin with the kind. No IO here.

Whatever comes in, `decode` gives a message whose every field is in range, or None for a kind of a later version, or raises
RemoteProtocolError; what follows the known fields is ignored. Sealing, and with it the sender's id, is the transport's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgpack

from p2pstore.errors import RemoteProtocolError
from p2pstore.gossip import timing
from p2pstore.gossip.fields import binary, items, unpacked, whole
from p2pstore.gossip.members import (
    ACCUSER_BYTES,
    MAX_NUMBER,
    Accusation,
    Address,
    Alive,
    Contact,
    Entry,
    Stamp,
    State,
)
from p2pstore.types import NodeId

NODE_BYTES: Final = 32
NONCE_BYTES: Final = 8
FINGERPRINT_BYTES: Final = 8
MAX_HOST_CHARS: Final = 64
MAX_ZONE_CHARS: Final = 32
MAX_LAG_MS: Final = 3_600_000
HEAD_BYTES: Final = 110
"""Longest message without its entries, of those that carry any in a datagram."""

Entries: TypeAlias = tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? `view` is what the sender holds of the target, so that it can answer an accusation at once."""

    nonce: bytes
    target: NodeId
    view: tuple[Stamp, State]
    fingerprint: int
    entries: Entries = ()


@dataclass(frozen=True, slots=True)
class Ack:
    """Here; also passed on by a relay, whose `fingerprint` it then carries, and confirms a Gossip with the same nonce."""

    nonce: bytes
    stamp: Stamp
    lag_ms: int
    fingerprint: int
    entries: Entries = ()


@dataclass(frozen=True, slots=True)
class PingRequest:
    """Ping the target for me."""

    nonce: bytes
    target: NodeId
    address: Address


@dataclass(frozen=True, slots=True)
class Nack:
    """The relay is well and got no answer (Lifeguard)."""

    nonce: bytes


@dataclass(frozen=True, slots=True)
class Gossip:
    """News; a nonce asks for an Ack."""

    nonce: bytes
    entries: Entries


@dataclass(frozen=True, slots=True)
class Correct:
    """What the sender holds against something older that it was told."""

    entries: Entries


@dataclass(frozen=True, slots=True)
class Join:
    """Take me in; answered by Joined."""

    nonce: bytes
    me: Alive


@dataclass(frozen=True, slots=True)
class Joined:
    """All members."""

    nonce: bytes
    entries: Entries


@dataclass(frozen=True, slots=True)
class Sync:
    """Compare: fingerprints of the members by bucket; answered by Synced."""

    nonce: bytes
    me: Alive
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Synced:
    """All that is held in the buckets that differ, of `count`; answered by Filled."""

    nonce: bytes
    count: int
    differing: tuple[int, ...]
    entries: Entries


@dataclass(frozen=True, slots=True)
class Filled:
    """What a Synced lacked."""

    nonce: bytes
    entries: Entries


@dataclass(frozen=True, slots=True)
class Leave:
    """The sender goes."""

    stamp: Stamp


Message: TypeAlias = (
    Ping | Ack | PingRequest | Nack | Gossip | Correct | Join | Joined | Sync | Synced | Filled | Leave
)


def encode(message: Message) -> bytes:
    """The message as bytes; how long they may be is up to how they travel."""
    kind = _KINDS.index(type(message)) + 1
    packed: bytes = msgpack.packb([kind, *_PACKERS[kind - 1](message)])
    return packed


def decode(payload: bytes, limit_bytes: int) -> Message | None:
    """The message in `payload`; None for an unknown kind. Raises RemoteProtocolError on anything unsound."""
    if len(payload) > limit_bytes:
        raise RemoteProtocolError(f"a message of {len(payload)} bytes is over the limit of {limit_bytes}")
    fields = unpacked(
        payload,
        most_items=timing.MAX_BULK_ENTRIES,
        most_chars=255,
        most_binary=timing.MAX_BUCKETS * FINGERPRINT_BYTES,
    )
    kind = whole(fields[0], 255)
    if not 1 <= kind <= len(_KINDS):
        return None
    return _READERS[kind - 1](fields)


def entry_bytes(entry: Entry) -> int:
    """How long the entry is in a message."""
    return len(msgpack.packb(_pack_entry(entry)))


def _pack_entry(entry: Entry) -> list[Any]:
    head = [bytes.fromhex(entry.node)]
    if isinstance(entry, Accusation):
        return [*head, int(entry.state), *entry.stamp, list(entry.accusers)]
    contact = entry.contact
    return [*head, 0, *entry.stamp, *contact.address, *contact[1:]]


def _pack_entries(entries: Entries) -> list[list[Any]]:
    return [_pack_entry(entry) for entry in entries]


def _pack_ping(ping: Ping) -> list[Any]:
    stamp, state = ping.view
    head = [ping.nonce, bytes.fromhex(ping.target), *stamp, int(state)]
    return [*head, ping.fingerprint, _pack_entries(ping.entries)]


def _pack_ack(ack: Ack) -> list[Any]:
    return [ack.nonce, *ack.stamp, ack.lag_ms, ack.fingerprint, _pack_entries(ack.entries)]


def _pack_request(request: PingRequest) -> list[Any]:
    return [request.nonce, bytes.fromhex(request.target), *request.address]


def _pack_sync(sync: Sync) -> list[Any]:
    joined = b"".join(one.to_bytes(FINGERPRINT_BYTES, "big") for one in sync.buckets)
    return [sync.nonce, _pack_entry(sync.me), joined]


def _pack_synced(synced: Synced) -> list[Any]:
    return [synced.nonce, synced.count, list(synced.differing), _pack_entries(synced.entries)]


def _field(fields: list[Any], at: int) -> Any:
    if at >= len(fields):
        raise RemoteProtocolError("a message lacks a field")
    return fields[at]


def _text(value: Any, most_chars: int, least_chars: int = 0) -> str:
    if type(value) is not str or not least_chars <= len(value) <= most_chars or not value.isprintable():
        raise RemoteProtocolError(
            f"a message holds {value!r:.40} for a text of at most {most_chars} characters"
        )
    return value


def _nonce(fields: list[Any]) -> bytes:
    return binary(_field(fields, 1), NONCE_BYTES)


def _node(value: Any) -> NodeId:
    return NodeId(binary(value, NODE_BYTES).hex())


def _stamp(fields: list[Any], at: int, least: int = 1) -> Stamp:
    return Stamp(whole(_field(fields, at), MAX_NUMBER, least), whole(_field(fields, at + 1), MAX_NUMBER))


def _fingerprint(value: Any) -> int:
    return whole(value, (1 << 64) - 1)


def _address(fields: list[Any], at: int) -> Address:
    return Address(_text(_field(fields, at), MAX_HOST_CHARS, 1), whole(_field(fields, at + 1), 65535, 1))


def _entry(value: Any) -> Entry:
    fields = items(value, 255)
    node, state, stamp = _node(_field(fields, 0)), State(whole(_field(fields, 1), 3)), _stamp(fields, 2)
    if state == State.ALIVE:
        contact = Contact(
            _address(fields, 4),
            whole(_field(fields, 6), 65535),
            _text(_field(fields, 7), MAX_ZONE_CHARS),
            whole(_field(fields, 8), MAX_NUMBER),
            whole(_field(fields, 9), MAX_NUMBER),
        )
        return Alive(node, stamp, contact)
    named = items(_field(fields, 4), timing.MAX_ACCUSERS)
    return Accusation(node, stamp, state, tuple(sorted({binary(one, ACCUSER_BYTES) for one in named})))


def _entries(fields: list[Any], at: int, most: int = timing.MAX_ENTRIES) -> Entries:
    return tuple(_entry(one) for one in items(_field(fields, at), most))


def _alive(value: Any) -> Alive:
    entry = _entry(value)
    if not isinstance(entry, Alive):
        raise RemoteProtocolError("a member must speak of itself as alive")
    return entry


def _read_ping(fields: list[Any]) -> Ping:
    view = _stamp(fields, 3, 0), State(whole(_field(fields, 5), 3))
    target, fingerprint = _node(_field(fields, 2)), _fingerprint(_field(fields, 6))
    return Ping(_nonce(fields), target, view, fingerprint, _entries(fields, 7))


def _read_ack(fields: list[Any]) -> Ack:
    lag_ms = whole(_field(fields, 4), MAX_LAG_MS)
    return Ack(
        _nonce(fields), _stamp(fields, 2), lag_ms, _fingerprint(_field(fields, 5)), _entries(fields, 6)
    )


def _read_request(fields: list[Any]) -> PingRequest:
    return PingRequest(_nonce(fields), _node(_field(fields, 2)), _address(fields, 3))


def _read_sync(fields: list[Any]) -> Sync:
    joined = _field(fields, 3)
    if type(joined) is not bytes or not joined or len(joined) % FINGERPRINT_BYTES:
        raise RemoteProtocolError("a sync holds no row of fingerprints")
    parts = range(0, len(joined), FINGERPRINT_BYTES)
    fingerprints = tuple(int.from_bytes(joined[at : at + FINGERPRINT_BYTES], "big") for at in parts)
    return Sync(_nonce(fields), _alive(_field(fields, 2)), fingerprints)


def _read_synced(fields: list[Any]) -> Synced:
    count = whole(_field(fields, 2), timing.MAX_BUCKETS, 1)
    differing = tuple(whole(one, count - 1) for one in items(_field(fields, 3), count))
    return Synced(_nonce(fields), count, differing, _entries(fields, 4, timing.MAX_BULK_ENTRIES))


_KINDS: Final = (
    *(Ping, Ack, PingRequest, Nack, Gossip, Correct),
    *(Join, Joined, Sync, Synced, Filled, Leave),
)
_PACKERS: Final[tuple[Callable[[Any], list[Any]], ...]] = (
    _pack_ping,
    _pack_ack,
    _pack_request,
    lambda nack: [nack.nonce],
    lambda gossip: [gossip.nonce, _pack_entries(gossip.entries)],
    lambda correct: [_pack_entries(correct.entries)],
    lambda join: [join.nonce, _pack_entry(join.me)],
    lambda joined: [joined.nonce, _pack_entries(joined.entries)],
    _pack_sync,
    _pack_synced,
    lambda filled: [filled.nonce, _pack_entries(filled.entries)],
    lambda leave: list(leave.stamp),
)
_READERS: Final[tuple[Callable[[list[Any]], Message], ...]] = (
    _read_ping,
    _read_ack,
    _read_request,
    lambda fields: Nack(_nonce(fields)),
    lambda fields: Gossip(_nonce(fields), _entries(fields, 2)),
    lambda fields: Correct(_entries(fields, 1)),
    lambda fields: Join(_nonce(fields), _alive(_field(fields, 2))),
    lambda fields: Joined(_nonce(fields), _entries(fields, 2, timing.MAX_BULK_ENTRIES)),
    _read_sync,
    _read_synced,
    lambda fields: Filled(_nonce(fields), _entries(fields, 2, timing.MAX_BULK_ENTRIES)),
    lambda fields: Leave(_stamp(fields, 1)),
)
