"""Fields as described, or refused."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import RemoteProtocolError
from p2pstore.gossip.fields import binary, items, unpacked, whole


def read(payload: bytes) -> list[Any]:
    return unpacked(payload, most_items=4, most_chars=3, most_binary=2)


def test_what_is_as_described_passes() -> None:
    assert read(msgpack.packb([1, "abc", b"ab", [1, 2, 3, 4]])) == [1, "abc", b"ab", [1, 2, 3, 4]]
    assert (whole(0, 5), whole(5, 5), whole(-1, 5, -1)) == (0, 5, -1)
    assert binary(b"ab", 2) == b"ab"
    assert items([1], 1) == [1]


@pytest.mark.parametrize(
    "message",
    [
        [],
        7,
        "a",
        {},
        [1, "abcd"],
        [1, b"abc"],
        [1, 2, 3, 4, 5],
        [{1: 1}],
        [[1] * 5],
        [msgpack.ExtType(1, b"")],
    ],
    ids=repr,
)
def test_what_is_longer_or_another_thing_is_refused(message: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        read(msgpack.packb(message))


@pytest.mark.parametrize("value", [True, 1.0, "1", None, 6, 0, 1 << 70])
def test_numbers_in_range(value: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        whole(value, 5, 1)


@pytest.mark.parametrize("value", [b"a", b"abc", "ab", bytearray(b"ab"), None])
def test_bytes_of_one_length(value: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        binary(value, 2)


@pytest.mark.parametrize("value", [[1, 2], (1,), "a", None])
def test_lists_up_to_a_length(value: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        items(value, 1)


@given(st.binary(max_size=60))
def test_random_bytes_are_an_array_or_refused(payload: bytes) -> None:
    try:
        fields = read(payload)
    except RemoteProtocolError:
        return
    assert fields and type(fields) is list and len(fields) <= 4
