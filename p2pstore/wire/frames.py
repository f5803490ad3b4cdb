"""Frames of the job socket: four bytes of length, then one MessagePack array `[id, what, map]`. No IO here.

Both ends use this file. Whatever the other end sends, `Decoder` gives payloads of the right shape or raises RemoteProtocolError, and
its memory is bounded by the frame limit.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import msgpack

from p2pstore.errors import LocalProtocolError, RemoteProtocolError

MAX_FRAME_BYTES: Final = 1 << 20
"""Longest payload that the agent takes."""
MAX_REPLY_BYTES: Final = 16 << 20
"""Longest payload that the agent sends; a list of 10,000 outcomes is longer than the request that asked for it."""
MAX_DEPTH: Final = 16
"""Arrays and maps inside each other, counted from the payload's own array."""
MAX_ITEMS: Final = 1 << 14
"""Items of one array or map; a claim of more is refused before memory is set aside for it."""
MAX_ID: Final = (1 << 32) - 1
"""Largest request id; 0 is the connection itself."""

_LENGTH: Final = struct.Struct(">I")
_HEAD: Final = struct.Struct(">IBBIB")
_HEAD_BYTES: Final = 7
"""Bytes of `_HEAD` that belong to the payload: array mark, 32-bit id with its mark, code."""
_ARRAY_OF_3: Final = 0x93
_UINT32: Final = 0xCE


def encode(payload: list[Any], limit: int = MAX_FRAME_BYTES) -> bytes:
    """One frame; raises LocalProtocolError when it would be longer than `limit` or holds what MessagePack can't say."""
    try:
        body: bytes = msgpack.packb(payload)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LocalProtocolError(f"this can't be sent on the job socket: {error}") from error
    if len(body) > limit:
        raise LocalProtocolError(
            f"a frame of {len(body)} bytes is over the limit of {limit}", hint="ask for less in one request"
        )
    return _LENGTH.pack(len(body)) + body


def encode_answer(request_id: int, code: int, body: bytes) -> bytes:
    """The frame `[request_id, code, body]` for a map that is MessagePack already.

    The id always takes five bytes, which spares the packer on the way of a cache hit.
    """
    return _HEAD.pack(len(body) + _HEAD_BYTES, _ARRAY_OF_3, _UINT32, request_id, code) + body


def decode(packed: bytes | bytearray | memoryview, limit: int = MAX_FRAME_BYTES) -> list[Any]:
    """One payload without its length: `[id, str or int, map]`; raises RemoteProtocolError on anything else."""
    try:
        payload = msgpack.unpackb(
            packed,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_str_len=limit,
            max_bin_len=limit,
            max_ext_len=0,
            ext_hook=_no_extensions,
        )
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise RemoteProtocolError(
            f"a frame of {len(packed)} bytes is not sound MessagePack: {error}"
        ) from error
    if (
        type(payload) is not list
        or len(payload) != 3
        or type(payload[0]) is not int
        or not 0 <= payload[0] <= MAX_ID
        or type(payload[1]) not in _WHAT
        or type(payload[2]) is not dict
    ):
        raise RemoteProtocolError("a frame must hold an array of an id, a verb or code, and a map")
    for value in payload[2].values():
        if type(value) in _NESTED:
            _check_depth(value, MAX_DEPTH - 2)
    return payload


_WHAT: Final = frozenset({str, int})
_NESTED: Final = frozenset({list, dict})


def _no_extensions(code: int, _data: bytes) -> Any:
    raise ValueError(f"extension type {code}")


def _check_depth(value: Any, left: int) -> None:
    if left <= 0:
        raise RemoteProtocolError(f"a frame nests deeper than {MAX_DEPTH}")
    for inner in value.values() if type(value) is dict else value:
        if type(inner) in _NESTED:
            _check_depth(inner, left - 1)


class Decoder:
    """Bytes in any portions in, whole payloads out, in order.

    Keeps only what no payload was made of yet: less than one frame, or up to what one `feed` brought when `most` was reached.
    After an error it is of no further use: the place where the next frame begins is not known.
    """

    __slots__ = ("_limit", "rest", "waiting")

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        self._limit = limit
        self.rest = bytearray()
        """Bytes that no payload was made of yet."""
        self.waiting = False
        """Whether `most` stopped the last `feed`; call it again with `b""`."""

    def feed(self, data: bytes | bytearray | memoryview, most: int = MAX_ITEMS) -> list[list[Any]]:
        """The payloads that are complete now, at most `most`; `data` is not kept. Raises RemoteProtocolError."""
        rest = self.rest
        payloads: list[list[Any]] = []
        if rest:
            rest += data
            with memoryview(rest) as view:
                position = self._decode(view, payloads, most)
            if position:
                del rest[:position]
        else:
            with memoryview(data) as view:
                position = self._decode(view, payloads, most)
                if position < len(view):
                    rest += view[position:]
        return payloads

    def _decode(self, view: memoryview, payloads: list[list[Any]], most: int) -> int:
        """Append what is complete to `payloads`; returns where the rest begins."""
        position, stop = 0, len(view)
        self.waiting = False
        while stop - position >= 4:
            (length,) = _LENGTH.unpack_from(view, position)
            if length > self._limit:
                raise RemoteProtocolError(f"a frame claims {length} bytes; the limit is {self._limit}")
            end = position + 4 + length
            if end > stop:
                break
            if len(payloads) == most:
                self.waiting = True
                break
            payloads.append(decode(view[position + 4 : end], self._limit))
            position = end
        return position
