"""Messages: what goes out comes in, and nothing else does."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import RemoteProtocolError
from p2pstore.gossip import timing
from p2pstore.gossip.members import MAX_NUMBER, Accusation, Address, Alive, Contact, Entry, Stamp, State
from p2pstore.gossip.messages import (
    HEAD_BYTES,
    MAX_HOST_CHARS,
    MAX_LAG_MS,
    MAX_ZONE_CHARS,
    Ack,
    Correct,
    Filled,
    Gossip,
    Join,
    Joined,
    Leave,
    Message,
    Nack,
    Ping,
    PingRequest,
    Sync,
    Synced,
    decode,
    encode,
    entry_bytes,
)
from tests.gossip.samples import accusation, address, alive, ident

NONCE = b"12345678"
TOLD: tuple[Entry, ...] = (
    alive(1, 2, 3),
    accusation(2, State.DEAD),
    accusation(3, State.SUSPECT, 4, 5, [1, 2]),
)
FULL = (1 << 64) - 1
MESSAGES: list[Message] = [
    Ping(NONCE, ident(1), (Stamp(2, 3), State.SUSPECT), FULL, TOLD),
    Ping(NONCE, ident(1), (Stamp(0, 0), State.ALIVE), 0),
    Ack(NONCE, Stamp(1, 0), 12, FULL, TOLD),
    PingRequest(NONCE, ident(4), address(4)),
    Nack(NONCE),
    Gossip(NONCE, TOLD),
    Correct(TOLD),
    Join(NONCE, alive(5)),
    Joined(NONCE, TOLD),
    Sync(NONCE, alive(5), (0, 1, FULL)),
    Synced(NONCE, 16, (0, 15), TOLD),
    Filled(NONCE, TOLD),
    Leave(Stamp(1, 2)),
]
LIMIT = timing.MAX_STREAM_BYTES


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_there_and_back(message: Message) -> None:
    assert decode(encode(message), LIMIT) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_fields_of_later_versions_are_ignored(message: Message) -> None:
    fields = msgpack.unpackb(encode(message))
    assert decode(msgpack.packb([*fields, "later", 1]), LIMIT) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_missing_field_is_refused(message: Message) -> None:
    fields = msgpack.unpackb(encode(message))
    for count in range(len(fields)):
        with pytest.raises(RemoteProtocolError):
            decode(msgpack.packb(fields[:count]), LIMIT)


@pytest.mark.parametrize("kind", [0, 13, 255])
def test_unknown_kinds_are_nothing(kind: int) -> None:
    assert decode(msgpack.packb([kind, 1, 2]), LIMIT) is None


def _alive(**changes: object) -> list[object]:
    fields: dict[str, object] = {
        "node": bytes(32),
        "state": 0,
        "gen": 1,
        "inc": 0,
        "host": "h",
        "port": 1,
        "http": 1,
        "zone": "",
        "capabilities": 0,
        "boot": 0,
    }
    return list({**fields, **changes}.values())


@pytest.mark.parametrize(
    "entry",
    [
        _alive(node=bytes(31)),
        _alive(node="a" * 32),
        _alive(state=4),
        _alive(state=True),
        _alive(state=-1),
        _alive(gen=0),
        _alive(gen=MAX_NUMBER + 1),
        _alive(inc=-1),
        _alive(inc=1.0),
        _alive(host=""),
        _alive(host="x" * (MAX_HOST_CHARS + 1)),
        _alive(host="a\nb"),
        _alive(host=b"10.0.0.1"),
        _alive(port=0),
        _alive(port=65536),
        _alive(http=-1),
        _alive(zone="z" * (MAX_ZONE_CHARS + 1)),
        _alive(capabilities=None),
        _alive(boot=1 << 32),
        _alive()[:9],
        [bytes(32), 1, 1, 0],
        [bytes(32), 1, 1, 0, [bytes(8)] * 4],
        [bytes(32), 1, 1, 0, [bytes(9)]],
        [bytes(32), 1, 1, 0, None],
        "entry",
        None,
        [],
    ],
    ids=repr,
)
def test_entries_out_of_range_are_refused(entry: object) -> None:
    assert decode(msgpack.packb([6, [_alive()]]), LIMIT) is not None
    with pytest.raises(RemoteProtocolError):
        decode(msgpack.packb([6, [_alive(), entry]]), LIMIT)


@pytest.mark.parametrize(
    "fields",
    [
        [2, NONCE, 1, 0, MAX_LAG_MS + 1, 0, []],
        [2, NONCE, 1, 0, 0, -1, []],
        [2, NONCE + b"9", 1, 0, 0, 0, []],
        [5, NONCE, [_alive()] * (timing.MAX_ENTRIES + 1)],
        [7, NONCE, [bytes(32), 2, 1, 0, []]],
        [9, NONCE, _alive(), b""],
        [9, NONCE, _alive(), bytes(9)],
        [9, NONCE, _alive(), bytes(8 * timing.MAX_BUCKETS + 8)],
        [10, NONCE, 0, [], []],
        [10, NONCE, 4, [4], []],
        [10, NONCE, 2, [0, 1, 1], []],
        [10, NONCE, timing.MAX_BUCKETS + 1, [], []],
        {"kind": 1},
        "kind",
        [],
        [None],
        [msgpack.ExtType(1, b"x")],
        [3, NONCE, {}, {}],
    ],
    ids=lambda fields: repr(fields)[:60],
)
def test_messages_out_of_range_are_refused(fields: object) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(msgpack.packb(fields), LIMIT)


def test_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(RemoteProtocolError, match="over the limit"):
        decode(encode(Nack(NONCE)), 5)


def test_claims_of_endless_arrays_are_refused() -> None:
    for hostile in (
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 2000,
        b"\xdf\x00\x01\x00\x00",
        b"",
    ):
        with pytest.raises(RemoteProtocolError):
            decode(hostile, LIMIT)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, FULL)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


def swallows(payload: bytes) -> bool:
    try:
        decode(payload, LIMIT)
    except RemoteProtocolError:
        pass
    return True


@given(st.integers(0, 14), st.lists(values, max_size=8))
def test_sound_msgpack_of_any_kind_is_read_or_refused(kind: int, fields: list[object]) -> None:
    assert swallows(msgpack.packb([kind, *fields]))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    assert swallows(payload)


@given(st.sampled_from(MESSAGES), st.data())
def test_broken_messages_are_read_or_refused(message: Message, data: st.DataObject) -> None:
    payload = bytearray(encode(message))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] = data.draw(st.integers(0, 255))
    assert swallows(bytes(payload[: data.draw(st.integers(0, len(payload)))]))
    assert swallows(bytes(payload))


def test_heads_are_within_what_is_set_aside_for_them() -> None:
    longest = Stamp(MAX_NUMBER, MAX_NUMBER)
    heads: list[Message] = [
        Ping(NONCE, ident(1), (longest, State.LEFT), FULL),
        Ack(NONCE, longest, MAX_LAG_MS, FULL),
        Gossip(NONCE, ()),
        Correct(()),
    ]
    # Three bytes more for the length of a long list.
    assert max(len(encode(head)) for head in heads) + 3 <= HEAD_BYTES


def test_the_longest_entries_fit_into_a_datagram() -> None:
    contact = Contact(
        Address("x" * MAX_HOST_CHARS, 65535), 65535, "z" * MAX_ZONE_CHARS, MAX_NUMBER, MAX_NUMBER
    )
    longest = Stamp(MAX_NUMBER, MAX_NUMBER)
    most = (
        entry_bytes(Alive(ident(1), longest, contact)),
        entry_bytes(Accusation(ident(1), longest, State.SUSPECT, (NONCE,) * timing.MAX_ACCUSERS)),
    )
    assert HEAD_BYTES + sum(most) <= timing.MAX_PAYLOAD_BYTES


def test_sizes_of_entries_are_true() -> None:
    empty = len(encode(Correct(())))
    assert len(encode(Correct(TOLD))) == empty + sum(entry_bytes(entry) for entry in TOLD)
