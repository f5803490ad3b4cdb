"""What holders, homes and those who ask say to each other about rows: MessagePack arrays of bounded size. Pure.

Each message is `[kind, ...]`. Ages travel instead of moments, so clocks need not agree. Fields behind the known ones are ignored,
which lets a later version say more; everything else that is not exactly as described raises RemoteProtocolError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from p2pstore.errors import RemoteProtocolError
from p2pstore.gossip.fields import binary, items, unpacked, whole
from p2pstore.gossip.rows import KEY_BYTES, MAX_SIZE_BYTES, NAME_BYTES, RowState
from p2pstore.types import NodeId

MAX_MESSAGE_BYTES: Final = 64 << 10
"""A longer message is refused unread."""
DATAGRAM_BYTES: Final = 1_100
"""A message up to this length fits one datagram with its envelope; longer ones go by a stream."""
MAX_ROWS: Final = 512
"""Rows, and as many removals, in one announcement."""
MAX_KEYS: Final = 1_024
"""Keys in one question or answer."""
MAX_HOLDERS: Final = 10
"""Holders told for one key, so that its answer fits a datagram; of more, a random sample."""
MAX_COUNTER: Final = (1 << 64) - 1
MAX_GEN: Final = (1 << 32) - 1
MAX_AGE_S: Final = (1 << 31) - 1

LOCATE: Final = 20
"""Lower kinds are those of membership."""
LOCATED: Final = 21
ANNOUNCE: Final = 22
ACK: Final = 23
CHECK: Final = 24
KINDS: Final = frozenset({LOCATE, LOCATED, ANNOUNCE, ACK, CHECK})
"""First items of the messages of this module."""

OK: Final = 0
"""The batch is in the table, or the check agreed."""
RESYNC: Final = 1
"""The check disagreed: the home forgot the holder's rows and wants all of them."""
ASK: Final = 2
"""No answer to a batch: the home has not heard from the holder and wants a check."""


@dataclass(frozen=True, slots=True)
class AnnouncedRow:
    """A row of the sender; `size_bytes` is -1 while unknown."""

    name: bytes
    rver: int
    state: RowState
    size_bytes: int
    have_bytes: int
    age_s: int
    """Since the origin vouched for the version."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Rows of the sender as they are now, and names of those that it holds no more with the number of the removal."""

    gen: int
    batch: int
    rows: tuple[AnnouncedRow, ...]
    gone: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class Check:
    """All that the sender announced to this home, as one number; `rver` is the highest that it has given out.

    `copies` is the number of homes that the sender announces each key to, 0 for all members.
    """

    gen: int
    batch: int
    rver: int
    count: int
    fingerprint: int
    copies: int


@dataclass(frozen=True, slots=True)
class Ack:
    """A home's answer to a batch of generation `holder_gen`; `gen` is the home's own."""

    gen: int
    holder_gen: int
    batch: int
    result: int


@dataclass(frozen=True, slots=True)
class Locate:
    """Who holds these keys (32 bytes each)?"""

    number: int
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ToldRow:
    """A row of a third party, as a home tells it."""

    holder: bytes
    gen: int
    ver: bytes
    rver: int
    state: RowState
    size_bytes: int
    have_bytes: int
    age_s: int
    heard_s: int
    """Since the home last heard of the holder."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a home knows of one key; without rows, `sure` says that nobody holds it as far as the home would know."""

    key: bytes
    sure: bool
    rows: tuple[ToldRow, ...]


@dataclass(frozen=True, slots=True)
class Located:
    """An answer, or a part of it: each key stands for itself."""

    number: int
    told: tuple[Told, ...]


Message = Announce | Check | Ack | Locate | Located


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to a member: in a datagram when it is at most DATAGRAM_BYTES long, else by a stream. Loss is allowed."""

    to: NodeId
    data: bytes


def encode(message: Message) -> bytes:
    """The bytes of a message; the sender keeps them under MAX_MESSAGE_BYTES."""
    packed: bytes = msgpack.packb(_fields(message))
    return packed


def decode(data: bytes) -> Message | None:
    """Read a message; None for a kind that is not of this module. Raises RemoteProtocolError and nothing else."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise RemoteProtocolError(
            f"a message about rows of {len(data)} bytes; the limit is {MAX_MESSAGE_BYTES}"
        )
    fields = unpacked(data, most_items=MAX_KEYS, most_chars=0, most_binary=64)
    reader = _READERS.get(whole(fields[0], 255))
    try:
        return reader(fields) if reader is not None else None
    except (ValueError, TypeError, IndexError) as error:
        raise RemoteProtocolError(f"a message about rows can't be read: {error}") from error


def row_bytes(row: AnnouncedRow) -> int:
    """At most how many bytes a row adds to an announcement, within a few."""
    return (
        NAME_BYTES + 8 + sum(_integer_bytes(n) for n in (row.rver, row.size_bytes, row.have_bytes, row.age_s))
    )


def told_bytes(told: Told) -> int:
    """At most how many bytes a key's answer adds to a message."""
    return KEY_BYTES + 8 + 104 * len(told.rows)


def _integer_bytes(value: int) -> int:
    return 1 if value < 128 else 3 if value < 1 << 16 else 5 if value < 1 << 32 else 9


def _fields(message: Message) -> list[Any]:
    match message:
        case Announce(gen, batch, rows, gone):
            listed = [[r.name, r.rver, r.state, r.size_bytes, r.have_bytes, r.age_s] for r in rows]
            return [ANNOUNCE, gen, batch, listed, [list(one) for one in gone]]
        case Check(gen, batch, rver, count, print_, copies):
            return [CHECK, gen, batch, rver, count, print_, copies]
        case Ack(gen, holder_gen, batch, result):
            return [ACK, gen, holder_gen, batch, result]
        case Locate(number, keys):
            return [LOCATE, number, list(keys)]
        case Located(number, told):
            return [LOCATED, number, [[t.key, t.sure, [_told_fields(r) for r in t.rows]] for t in told]]


def _told_fields(row: ToldRow) -> list[Any]:
    return [
        row.holder,
        row.gen,
        row.ver,
        row.rver,
        row.state,
        row.size_bytes,
        row.have_bytes,
        row.age_s,
        row.heard_s,
    ]


def _announce(fields: list[Any]) -> Announce:
    _, gen, batch, rows, gone = fields[:5]
    return Announce(
        whole(gen, MAX_GEN),
        whole(batch, MAX_COUNTER),
        tuple(_announced(items(row, MAX_ROWS)) for row in items(rows, MAX_ROWS)),
        tuple(_gone(items(one, MAX_ROWS)) for one in items(gone, MAX_ROWS)),
    )


def _announced(fields: list[Any]) -> AnnouncedRow:
    name, rver, state, size_bytes, have_bytes, age_s = fields[:6]
    return AnnouncedRow(
        binary(name, NAME_BYTES),
        whole(rver, MAX_COUNTER),
        _state(state),
        whole(size_bytes, MAX_SIZE_BYTES, -1),
        whole(have_bytes, MAX_SIZE_BYTES),
        whole(age_s, MAX_AGE_S),
    )


def _gone(fields: list[Any]) -> tuple[bytes, int]:
    return binary(fields[0], NAME_BYTES), whole(fields[1], MAX_COUNTER)


def _check(fields: list[Any]) -> Check:
    _, gen, batch, rver, count, print_, copies = fields[:7]
    return Check(
        whole(gen, MAX_GEN),
        whole(batch, MAX_COUNTER),
        whole(rver, MAX_COUNTER),
        whole(count, MAX_COUNTER),
        whole(print_, MAX_COUNTER),
        whole(copies, MAX_GEN),
    )


def _ack(fields: list[Any]) -> Ack:
    _, gen, holder_gen, batch, result = fields[:5]
    return Ack(
        whole(gen, MAX_GEN),
        whole(holder_gen, MAX_GEN),
        whole(batch, MAX_COUNTER),
        whole(result, 255),
    )


def _locate(fields: list[Any]) -> Locate:
    _, number, keys = fields[:3]
    return Locate(whole(number, MAX_COUNTER), tuple(binary(key, KEY_BYTES) for key in items(keys, MAX_KEYS)))


def _located(fields: list[Any]) -> Located:
    _, number, told = fields[:3]
    return Located(
        whole(number, MAX_COUNTER), tuple(_told(items(t, MAX_KEYS)) for t in items(told, MAX_KEYS))
    )


def _told(fields: list[Any]) -> Told:
    key, sure, rows = fields[:3]
    if type(sure) is not bool:
        raise TypeError("true or false expected")
    listed = items(rows, MAX_HOLDERS)
    return Told(binary(key, KEY_BYTES), sure, tuple(_told_row(items(row, MAX_KEYS)) for row in listed))


def _told_row(fields: Sequence[Any]) -> ToldRow:
    holder, gen, ver, rver, state, size_bytes, have_bytes, age_s, heard_s = fields[:9]
    return ToldRow(
        binary(holder, 32),
        whole(gen, MAX_GEN),
        binary(ver, NAME_BYTES - KEY_BYTES),
        whole(rver, MAX_COUNTER),
        _state(state),
        whole(size_bytes, MAX_SIZE_BYTES, -1),
        whole(have_bytes, MAX_SIZE_BYTES),
        whole(age_s, MAX_AGE_S),
        whole(heard_s, MAX_AGE_S),
    )


def _state(value: Any) -> RowState:
    return RowState(whole(value, RowState.COMPLETE, RowState.LOADING))


_READERS: Final[dict[int, Callable[[list[Any]], Message]]] = {
    LOCATE: _locate,
    LOCATED: _located,
    ANNOUNCE: _announce,
    ACK: _ack,
    CHECK: _check,
}
