"""Reads the piece logs of unfinished downloads as the page on the disk layout describes them, with code of its own."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final
from zlib import crc32

import msgpack

_HEAD: Final = struct.Struct("<4sBxxxII")
_LINE: Final = struct.Struct("<I32sI")
_LENGTH_LINE: Final = 0xFFFFFFFF


def logged_ranges(cache: Path) -> list[tuple[int, int]]:
    """Byte ranges whose pieces are in the log of the one download that is under way, in order."""
    logs = list(cache.glob("part/*/log"))
    if not logs:
        return []
    if len(logs) > 1:
        raise AssertionError(f"more than one unfinished download: {logs}")
    return ranges_of(logs[0].read_bytes())


def ranges_of(data: bytes) -> list[tuple[int, int]]:
    """The byte ranges that a log vouches for."""
    magic, version, size, check = _HEAD.unpack_from(data)
    payload = data[_HEAD.size : _HEAD.size + size]
    if (magic, version, crc32(payload)) != (b"p2pL", 1, check):
        raise AssertionError("this is no piece log")
    _, _, length, piece_bytes, _, _ = msgpack.unpackb(payload)
    at = _HEAD.size + size
    salt = crc32(data[:at])
    ranges = []
    while at + _LINE.size <= len(data):
        index, digest, line_check = _LINE.unpack_from(data, at)
        if crc32(data[at : at + 36], salt) != line_check:
            break
        if index == _LENGTH_LINE:
            length = int.from_bytes(digest, "little")
        else:
            ranges.append((index * piece_bytes, (index + 1) * piece_bytes))
        at += _LINE.size
    return sorted((start, stop if length is None else min(stop, length)) for start, stop in set(ranges))
