"""Messages survive the way, and whatever else comes is refused with one error."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import RemoteProtocolError
from p2pstore.gossip.row_messages import (
    ACK,
    ANNOUNCE,
    DATAGRAM_BYTES,
    KINDS,
    LOCATE,
    LOCATED,
    MAX_COUNTER,
    MAX_GEN,
    MAX_HOLDERS,
    MAX_KEYS,
    MAX_MESSAGE_BYTES,
    Ack,
    Announce,
    AnnouncedRow,
    Check,
    Locate,
    Located,
    Message,
    Told,
    ToldRow,
    decode,
    encode,
    row_bytes,
    told_bytes,
)
from p2pstore.gossip.rows import RowState

counters = st.integers(0, MAX_COUNTER)
gens = st.integers(0, MAX_GEN)
sizes = st.integers(0, (1 << 63) - 1)
ages = st.integers(0, (1 << 31) - 1)
states = st.sampled_from([RowState.LOADING, RowState.PARTIAL, RowState.COMPLETE])
names = st.binary(min_size=48, max_size=48)
keys = st.binary(min_size=32, max_size=32)
vers = st.binary(min_size=16, max_size=16)
rows = st.builds(AnnouncedRow, names, counters, states, st.one_of(st.just(-1), sizes), sizes, ages)
told_rows = st.builds(ToldRow, keys, gens, vers, counters, states, sizes, sizes, ages, ages)
told = st.builds(Told, keys, st.booleans(), st.lists(told_rows, max_size=MAX_HOLDERS).map(tuple))
messages = st.one_of(
    st.builds(
        Announce,
        gens,
        counters,
        st.lists(rows, max_size=5).map(tuple),
        st.lists(st.tuples(names, counters), max_size=5).map(tuple),
    ),
    st.builds(Check, gens, counters, counters, counters, counters, gens),
    st.builds(Ack, gens, gens, counters, st.integers(0, 255)),
    st.builds(Locate, counters, st.lists(keys, max_size=5).map(tuple)),
    st.builds(Located, counters, st.lists(told, max_size=3).map(tuple)),
)
anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 63), MAX_COUNTER),
        st.binary(max_size=50),
        st.floats(),
        st.text(),
    ),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=20,
)


@given(messages)
def test_there_and_back(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages)
def test_later_fields_are_ignored(message: Message) -> None:
    fields = msgpack.unpackb(encode(message))
    assert decode(msgpack.packb([*fields, 7, [b"more"]])) == message


@given(messages, st.data())
def test_a_damaged_message_is_a_message_or_refused(message: Message, data: st.DataObject) -> None:
    packed = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    read_or_refused(bytes(packed[: data.draw(st.integers(0, len(packed)))]))


@given(st.sampled_from(sorted(KINDS)), st.lists(anything, max_size=8))
def test_hostile_fields(kind: int, fields: list[Any]) -> None:
    read_or_refused(msgpack.packb([kind, *fields]))


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    read_or_refused(data)


def read_or_refused(data: bytes) -> None:
    try:
        message = decode(data)
    except RemoteProtocolError:
        return
    assert message is None or decode(encode(message)) == message


@pytest.mark.parametrize(
    "fields",
    [
        [ANNOUNCE, 1, 1, [], [], {1: 2}],
        [ANNOUNCE, 1, 1, [[48 * b"n", 1, RowState.GONE, 1, 1, 1]], []],
        [ANNOUNCE, 1, 1, [[48 * b"n", 1, 4, 1, 1, 1]], []],
        [ANNOUNCE, True, 1, [], []],
        [ANNOUNCE, MAX_GEN + 1, 1, [], []],
        [ANNOUNCE, 1, 1, 600 * [[48 * b"n", 1, 1, 1, 1, 1]], []],
        [LOCATE, 1, (MAX_KEYS + 1) * [32 * b"k"]],
        [LOCATE, 1, [31 * b"k"]],
        [LOCATE, -1, []],
        [ACK, 1, 1, 1.0, 1],
        [LOCATED, 1, [[32 * b"k", 1, []]]],
        [LOCATED, 1, [[32 * b"k", True, (MAX_HOLDERS + 1) * [[]]]]],
        [ACK],
        [],
        7,
        "text",
    ],
)
def test_refused(fields: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(msgpack.packb(fields))


def test_too_long_or_too_deep_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="limit"):
        decode(bytes(MAX_MESSAGE_BYTES + 1))
    with pytest.raises(RemoteProtocolError):
        decode(b"\x91" * 5000 + b"\x90")
    with pytest.raises(RemoteProtocolError):
        decode(msgpack.packb([ACK, msgpack.ExtType(1, b"x")]))
    with pytest.raises(RemoteProtocolError, match="extension"):
        decode(msgpack.packb([ACK, msgpack.ExtType(1, b"")]))


def test_other_kinds_are_left_to_others() -> None:
    assert decode(msgpack.packb([1, 2, 3])) is None


@given(rows, told)
def test_sizes_are_not_underestimated(row: AnnouncedRow, one: Told) -> None:
    empty = len(encode(Announce(1, 1, (), ())))
    assert len(encode(Announce(1, 1, (row,), ()))) - empty <= row_bytes(row)
    assert len(encode(Located(1, (one,)))) - len(encode(Located(1, ()))) <= told_bytes(one)


def test_a_hot_key_fits_a_datagram() -> None:
    row = ToldRow(
        32 * b"h", MAX_GEN, 16 * b"v", MAX_COUNTER, RowState.COMPLETE, 1 << 62, 1 << 62, 1 << 30, 1 << 30
    )
    assert len(encode(Located(MAX_COUNTER, (Told(32 * b"k", True, MAX_HOLDERS * (row,)),)))) <= DATAGRAM_BYTES
