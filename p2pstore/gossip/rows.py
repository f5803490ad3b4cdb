"""Rows: who holds how much of which version of a key, and a table that packs millions of them. Pure.

A row has a single writer, its holder, who numbers what it writes; the larger number wins, so order, loss and repetition of messages
do not matter. `name` is the key's 32 bytes and the version's 16; with the writer's number it is a row's identity.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple

from p2pstore.gossip.homes import SLOTS
from p2pstore.types import Key, NodeId, Version

KEY_BYTES: Final = 32
NAME_BYTES: Final = 48
MAX_SIZE_BYTES: Final = (1 << 63) - 1
"""Largest size that a row can say."""
ROW_BYTES: Final = 79
"""What one row takes in a table."""

_VALUE: Final = Struct(">QBqQi")
_IDENTITY_BYTES: Final = NAME_BYTES + 2
_TIME_LIMIT_S: Final = (1 << 31) - 1


class RowState(IntEnum):
    """How a holder stands to a version."""

    GONE = 0
    """It holds nothing any more; kept for a while so that late news of the row changes nothing."""
    LOADING = 1
    """Pieces are coming in; `have_bytes` of them are verified."""
    PARTIAL = 2
    """Some pieces are there and no more are coming in."""
    COMPLETE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a holder says of one version of a key; it answers for no other version."""

    holder: NodeId
    gen: int
    """The holder's generation; `rver` counts within it."""
    key: Key
    ver: Version
    rver: int
    state: RowState
    size_bytes: int | None
    """Length of the object; None while the origin has not said."""
    have_bytes: int
    """Bytes verified at the holder."""
    validated_at: float
    """When the origin last vouched for this version, in the reader's monotonic seconds; whole seconds are kept."""
    heard_at: float = 0.0
    """When the reader, or the home it asked, last heard of the holder."""


class Value(NamedTuple):
    """The part of a row that changes. For a row that is gone `at` is when that was learnt, else when it was validated."""

    rver: int
    state: int
    size_bytes: int
    """-1: not known."""
    have_bytes: int
    at: int


def name_of(key: Key, ver: Version) -> bytes:
    """The name of a row; raises ValueError unless they are hexadecimal of the right length."""
    name = bytes.fromhex(key + ver)
    if len(name) != NAME_BYTES or len(key) != 2 * KEY_BYTES:
        raise ValueError(f"no name of a row: {key[:80]!r}, {ver[:80]!r}")
    return name


def key_of(name: bytes) -> Key:
    """The key in a row's name."""
    return Key(name[:KEY_BYTES].hex())


def ver_of(name: bytes) -> Version:
    """The version in a row's name."""
    return Version(name[KEY_BYTES:].hex())


def row_of(name: bytes, value: Value, holder: NodeId, gen: int, heard_at: float) -> Row:
    """The row of a name and what a table keeps of it; it must not be gone."""
    return Row(
        holder=holder,
        gen=gen,
        key=key_of(name),
        ver=ver_of(name),
        rver=value.rver,
        state=RowState(value.state),
        size_bytes=None if value.size_bytes < 0 else value.size_bytes,
        have_bytes=value.have_bytes,
        validated_at=value.at,
        heard_at=heard_at,
    )


def slot_of_name(name: bytes) -> int:
    """The slot of a row, as `homes.slot_of` says of its key."""
    return name[0] << 8 | name[1]


def whole_seconds(at: float) -> int:
    """A moment as a table keeps it."""
    return int(min(max(at, -_TIME_LIMIT_S), _TIME_LIMIT_S))


def fingerprint(name: bytes, rver: int) -> int:
    """64 bits that stand for one row of one writer; the XOR over rows stands for a set of them."""
    return int.from_bytes(blake2b(name + rver.to_bytes(8, "big"), digest_size=8).digest())


class RowTable:
    """Rows packed by slot and in the order of their names, so that a page of rows is a slice and a key's rows lie together.

    `writer` is a small number that the owner of the table gives to a holder. The number of rows is the owner's to bound.
    """

    def __init__(self) -> None:
        self._slots: dict[int, bytes] = {}
        self.count = 0
        """All rows, those that are gone included."""

    def get(self, name: bytes, writer: int) -> Value | None:
        """One row."""
        data = self._slots.get(slot_of_name(name), b"")
        identity = name + writer.to_bytes(2, "big")
        at = _find(data, identity) * ROW_BYTES
        if data[at : at + _IDENTITY_BYTES] != identity:
            return None
        return Value._make(_VALUE.unpack_from(data, at + _IDENTITY_BYTES))

    def put(self, name: bytes, writer: int, value: Value) -> None:
        """Insert or replace one row."""
        slot = slot_of_name(name)
        data = self._slots.get(slot, b"")
        identity = name + writer.to_bytes(2, "big")
        at = _find(data, identity) * ROW_BYTES
        old = ROW_BYTES if data[at : at + _IDENTITY_BYTES] == identity else 0
        self._slots[slot] = b"".join((data[:at], identity, _VALUE.pack(*value), data[at + old :]))
        self.count += 0 if old else 1

    def remove(self, name: bytes, writer: int) -> None:
        """Take one row out; nothing happens when it is not there."""
        slot = slot_of_name(name)
        data = self._slots.get(slot, b"")
        identity = name + writer.to_bytes(2, "big")
        at = _find(data, identity) * ROW_BYTES
        if data[at : at + _IDENTITY_BYTES] == identity:
            self._store(slot, data[:at] + data[at + ROW_BYTES :])

    def of_key(self, key: bytes) -> Iterator[tuple[bytes, int, Value]]:
        """The rows of a key as (name, writer, value), in order of version and writer."""
        data = self._slots.get(slot_of_name(key), b"")
        for index in range(_find(data, key), len(data) // ROW_BYTES):
            if not data.startswith(key, index * ROW_BYTES):
                return
            yield _row(data, index)

    def of_slot(self, slot: int, after: bytes = b"") -> Iterator[tuple[bytes, int, Value]]:
        """The rows of a slot in order, from behind the row with identity `after` (name, then the writer's two bytes)."""
        data = self._slots.get(slot, b"")
        first = _find(data, after + b"\0") if after else 0
        for index in range(first, len(data) // ROW_BYTES):
            yield _row(data, index)

    def slots(self, first: int = 0) -> Iterator[int]:
        """The slots from `first` on that hold rows, ascending; the table may change meanwhile."""
        sparse = len(self._slots) < SLOTS // 8
        ahead: Iterable[int] = (
            sorted(slot for slot in self._slots if slot >= first) if sparse else range(first, SLOTS)
        )
        return (slot for slot in ahead if slot in self._slots)

    def sweep(self, slot: int, keep: Callable[[bytes, int, Value], bool]) -> int:
        """Take the rows of a slot out that `keep` does not want; returns how many were looked at."""
        data = self._slots.get(slot, b"")
        kept = [
            data[index * ROW_BYTES : (index + 1) * ROW_BYTES]
            for index in range(len(data) // ROW_BYTES)
            if keep(*_row(data, index))
        ]
        if len(kept) * ROW_BYTES < len(data):
            self._store(slot, b"".join(kept))
        return len(data) // ROW_BYTES

    def _store(self, slot: int, data: bytes) -> None:
        self.count -= (len(self._slots[slot]) - len(data)) // ROW_BYTES
        if data:
            self._slots[slot] = data
        else:
            del self._slots[slot]

    def check(self) -> None:
        """Assert that rows are in order, in their slots and counted."""
        for slot, data in self._slots.items():
            names = [data[at : at + _IDENTITY_BYTES] for at in range(0, len(data), ROW_BYTES)]
            assert names and names == sorted(set(names)), "rows out of order or twice"
            assert all(slot_of_name(name) == slot for name in names), "a row in another slot"
        assert self.count == sum(len(data) for data in self._slots.values()) // ROW_BYTES


def identity_of(name: bytes, writer: int) -> bytes:
    """What orders rows in a table: the name, then the writer's number in two bytes."""
    return name + writer.to_bytes(2, "big")


def _row(data: bytes, index: int) -> tuple[bytes, int, Value]:
    at = index * ROW_BYTES
    name = data[at : at + NAME_BYTES]
    writer = data[at + NAME_BYTES] << 8 | data[at + NAME_BYTES + 1]
    return name, writer, Value._make(_VALUE.unpack_from(data, at + _IDENTITY_BYTES))


def _find(data: bytes, identity: bytes) -> int:
    """The first row that is not before `identity`."""
    return bisect_left(
        range(len(data) // ROW_BYTES),
        identity,
        key=lambda index: data[index * ROW_BYTES : index * ROW_BYTES + _IDENTITY_BYTES],
    )
