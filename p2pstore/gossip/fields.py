"""Fields of messages from others, each exactly as described or refused: what the readers of all messages share. Pure.

Everything here raises RemoteProtocolError and nothing else.
"""

from __future__ import annotations

from typing import Any

import msgpack

from p2pstore.errors import RemoteProtocolError


def unpacked(payload: bytes, *, most_items: int, most_chars: int, most_binary: int) -> list[Any]:
    """The array in a message; its own and inner lengths are bounded. It is not empty."""
    try:
        fields = msgpack.unpackb(
            payload,
            max_array_len=most_items,
            max_map_len=0,
            max_str_len=most_chars,
            max_bin_len=most_binary,
            max_ext_len=0,
            ext_hook=_no_extensions,
        )
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise RemoteProtocolError(f"a message is not sound MessagePack: {error}") from error
    if type(fields) is not list or not fields:
        raise RemoteProtocolError("a message must be an array that begins with its kind")
    return fields


def whole(value: Any, most: int, least: int = 0) -> int:
    """A whole number from `least` to `most`; true and false are none."""
    if type(value) is not int or not least <= value <= most:
        raise RemoteProtocolError(f"a message holds {value!r:.40} for a number from {least} to {most}")
    return value


def binary(value: Any, length: int) -> bytes:
    """Exactly so many bytes."""
    if type(value) is not bytes or len(value) != length:
        raise RemoteProtocolError(f"a message holds {value!r:.40} for {length} bytes")
    return value


def items(value: Any, most: int) -> list[Any]:
    """A list of at most so many."""
    if type(value) is not list or len(value) > most:
        raise RemoteProtocolError(f"a message holds {value!r:.40} for a list of at most {most}")
    return value


def _no_extensions(code: int, _data: bytes) -> Any:
    raise ValueError(f"extension type {code}")
