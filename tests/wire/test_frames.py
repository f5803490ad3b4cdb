from __future__ import annotations

import itertools
import struct
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pstore.errors import LocalProtocolError, RemoteProtocolError
from p2pstore.wire import frames
from p2pstore.wire.frames import MAX_FRAME_BYTES, MAX_ITEMS, Decoder, decode, encode, encode_answer

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PAYLOADS = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["get", "stat"]) | st.integers(0, 3),
    st.dictionaries(st.text(), VALUES),
).map(list)


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@given(st.lists(PAYLOADS, max_size=5), st.lists(st.integers(0, 200), max_size=10), st.integers(1, 3))
def test_any_cut_gives_the_same_payloads(payloads: list[list[Any]], cuts: list[int], most: int) -> None:
    stream = b"".join(encode(payload) for payload in payloads)
    decoder = Decoder()
    got: list[list[Any]] = []
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    for start, stop in itertools.pairwise(edges):
        got += decoder.feed(memoryview(stream)[start:stop], most)
        while decoder.waiting:
            more = decoder.feed(b"", most)
            assert 0 < len(more) <= most
            got += more
    assert got == payloads
    assert not decoder.rest


@settings(max_examples=400)
@given(st.binary(max_size=400))
def test_hostile_bytes_give_only_the_declared_error(noise: bytes) -> None:
    for stream in (noise, framed(noise), framed(b"\x93\x01\xa3get" + noise)):
        decoder = Decoder()
        try:
            payloads = decoder.feed(stream)
        except RemoteProtocolError:
            continue
        for request_id, what, body in payloads:
            assert type(request_id) is int and type(what) in {str, int} and type(body) is dict


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgpack.packb(1),
        msgpack.packb([1, "get"]),
        msgpack.packb([1, "get", {}, 0]),
        msgpack.packb([1, "get", []]),
        msgpack.packb([True, "get", {}]),
        msgpack.packb([-1, "get", {}]),
        msgpack.packb([2**32, "get", {}]),
        msgpack.packb([1, None, {}]),
        msgpack.packb([1, "get", {}]) + b"\x00",
        msgpack.packb([1, "get", {1: 2}]),
        msgpack.packb([1, "get", {"a": msgpack.ExtType(5, b"x")}]),
        msgpack.packb([1, "get", {"a": msgpack.ExtType(5, b"")}]),
        msgpack.packb([1, "get", {"a": msgpack.Timestamp(1)}]),
        b"\x93\x01\xa3get\x81\xa1a\xa2\xff\xff",
        b"\x93\x01\xa3get\x81\xa1a\xdd\xff\xff\xff\xff",
        b"\x93\x01\xa3get\x81\xa1a\xdf\xff\xff\xff\xff",
        b"\x93\x01\xa3get\x81\xa1a\xc6\xff\xff\xff\xff",
        b"\x91" * 100_000,
    ],
)
def test_what_is_not_a_message_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Decoder().feed(framed(body))


def test_depth_is_bounded() -> None:
    assert decode(encode([1, "get", {"a": nested(13)}])[4:])[2] == {"a": nested(13)}
    with pytest.raises(RemoteProtocolError, match="deeper"):
        decode(encode([1, "get", {"a": nested(15)}])[4:])
    with pytest.raises(RemoteProtocolError, match="deeper"):
        decode(encode([1, "get", {"a": {"b": nested(14)}}])[4:])


def test_a_length_above_the_limit_is_refused_before_its_bytes_come() -> None:
    with pytest.raises(RemoteProtocolError, match="limit"):
        Decoder().feed(struct.pack(">I", MAX_FRAME_BYTES + 1))
    assert Decoder().feed(struct.pack(">I", MAX_FRAME_BYTES)) == []


@pytest.mark.parametrize("planted", [False, True])
def test_claims_of_many_items_set_no_memory_aside(planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each header claims a million items and holds the next one: eight megabytes for five bytes, were claims believed.
    if planted:
        monkeypatch.setattr(frames, "MAX_ITEMS", 1 << 20)
    bomb = framed(b"\x93\x01\xa3get\x81\xa1a" + b"\xdd\x00\x0f\x00\x00" * 200_000)
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            Decoder().feed(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (peak > 4 << 20) is planted


def test_the_rest_is_bounded_by_one_frame() -> None:
    decoder = Decoder()
    frame = encode([1, "get", {"a": "x" * (MAX_FRAME_BYTES - 100)}])
    for start in range(0, len(frame) - 1, 65536):
        assert decoder.feed(frame[start : min(start + 65536, len(frame) - 1)]) == []
    assert decoder.rest
    assert len(decoder.feed(frame[-1:])) == 1
    assert not decoder.rest


def test_encode_refuses_what_cannot_be_sent() -> None:
    with pytest.raises(LocalProtocolError, match="limit"):
        encode([1, "get", {"a": "x" * MAX_FRAME_BYTES}])
    for value in (object(), 1 << 70, nested(2000)):
        with pytest.raises(LocalProtocolError):
            encode([1, "get", {"a": value}])


@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.dictionaries(st.text(), SCALARS, max_size=3))
def test_an_answer_with_a_packed_body_reads_like_any_other(
    request_id: int, code: int, body: dict[str, Any]
) -> None:
    assert Decoder().feed(encode_answer(request_id, code, msgpack.packb(body))) == [[request_id, code, body]]


def test_many_items_in_one_list_still_pass() -> None:
    urls = ["u"] * 10_000
    assert len(urls) < MAX_ITEMS
    assert decode(encode([1, "wait", {"urls": urls}])[4:])[2]["urls"] == urls
