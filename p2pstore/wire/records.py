"""Bytes at rest: the record of an entry and the log of an unfinished object's pieces. Pure; nothing here trusts what it reads.

Every piece of a file carries a CRC, because a power cut may leave any part of a file that was not flushed zero, old or cut.
A reader either gets what was written or IntegrityError; a log ends at its first damaged line.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from zlib import crc32

import msgpack

from p2pstore.errors import IntegrityError
from p2pstore.types import Entry, Key, Root, Version

MAX_RECORD_BYTES: Final = 256 << 10
"""A longer record or log header is damaged; response heads are limited to a quarter of it."""
LOG_LINE_BYTES: Final = 40
"""A line of a piece log: number, digest, CRC."""

_RECORD_MAGIC: Final = b"p2pR"
_LOG_MAGIC: Final = b"p2pL"
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sBxxxII")
_LINE: Final = struct.Struct("<I32sI")
_LENGTH_LINE: Final = 0xFFFFFFFF
_FIELDS: Final = 17

T = TypeVar("T")


def encode_record(entry: Entry) -> bytes:
    """The record file of an entry; also the index's copy of it."""
    return _sealed(
        _RECORD_MAGIC,
        [
            bytes.fromhex(entry.key),
            entry.url,
            entry.scope,
            bytes.fromhex(entry.ver),
            bytes.fromhex(entry.root),
            entry.size_bytes,
            entry.piece_bytes,
            [text for pair in entry.headers for text in pair],
            [text for pair in entry.vary for text in pair],
            float(entry.request_at),
            float(entry.response_at),
            float(entry.stored_at),
            entry.digests,
            entry.verified,
            entry.boot_id,
            entry.durable,
            entry.owner_uid,
        ],
    )


def decode_record(data: bytes) -> Entry:
    """The entry of a record file; raises IntegrityError when it is torn, damaged or of a newer version."""
    fields = _opened(_RECORD_MAGIC, data, "record", exact=True)[0]
    if len(fields) < _FIELDS:
        raise IntegrityError("a record has too few fields")
    try:
        return _entry(fields)
    except (TypeError, ValueError) as error:
        raise IntegrityError(f"a record holds a wrong value: {error}") from error


def _entry(fields: Sequence[Any]) -> Entry:
    digests = _a(dict, fields[12])
    return Entry(
        key=Key(_hex(fields[0], 32)),
        url=_a(str, fields[1]),
        scope=_a(str, fields[2]),
        ver=Version(_hex(fields[3], 16)),
        root=Root(_hex(fields[4], 32)),
        size_bytes=_count(fields[5]),
        piece_bytes=_count(fields[6]),
        headers=_pairs(fields[7]),
        vary=_pairs(fields[8]),
        request_at=_a(float, fields[9]),
        response_at=_a(float, fields[10]),
        stored_at=_a(float, fields[11]),
        digests={_a(str, name): _a(str, value) for name, value in digests.items()},
        verified=_a(str, fields[13]),
        boot_id=_a(str, fields[14]),
        durable=_a(bool, fields[15]),
        owner_uid=_a(int, fields[16]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHeader:
    """What the pieces of a log belong to; another version, size or validator is another log."""

    key: Key
    ver: Version
    length: int | None
    """Length of the object in bytes; None while the origin has not said."""
    piece_bytes: int
    validator: str
    """Strong validator for If-Range; without one nothing is resumed."""
    boot_id: str
    """The boot during which the pieces were written or checked again."""


@dataclass(frozen=True, slots=True)
class PieceLog:
    """A log as far as it can be believed."""

    header: LogHeader
    salt: int
    """Bound into every line's CRC, so that a line of another log is no line of this one."""
    pieces: dict[int, bytes] = field(default_factory=dict)
    length: int | None = None
    good_bytes: int = 0
    """Where the believable part ends; what follows is to be cut off before anything is appended."""


def encode_log_header(header: LogHeader) -> tuple[bytes, int]:
    """The beginning of a log, and the salt for its lines."""
    fields = [header.key, header.ver, header.length, header.piece_bytes, header.validator, header.boot_id]
    data = _sealed(_LOG_MAGIC, fields)
    return data, _salt(data)


def encode_piece(index: int, digest: bytes, salt: int) -> bytes:
    """The line that says that a piece is on disk, with its digest of 32 bytes."""
    return _line(index, digest, salt)


def encode_length(length: int, salt: int) -> bytes:
    """The line that says how long an object is whose length was not known at first."""
    return _line(_LENGTH_LINE, length.to_bytes(32, "little"), salt)


def decode_log(data: bytes) -> PieceLog:
    """Read a log up to its first damaged line; raises IntegrityError when the header itself is damaged."""
    fields, at = _opened(_LOG_MAGIC, data, "piece log", exact=False)
    try:
        header = _log_header(fields)
    except (TypeError, ValueError) as error:
        raise IntegrityError(f"a piece log's header holds a wrong value: {error}") from error
    salt = _salt(data[:at])
    pieces: dict[int, bytes] = {}
    length = header.length
    while at + LOG_LINE_BYTES <= len(data):
        index, digest, check = _LINE.unpack_from(data, at)
        if check != crc32(data[at : at + 36], salt):
            break
        if index == _LENGTH_LINE:
            length = int.from_bytes(digest, "little")
        else:
            pieces[index] = digest
        at += LOG_LINE_BYTES
    if length is not None:
        count = -(-length // header.piece_bytes)
        pieces = {index: digest for index, digest in pieces.items() if index < count}
    return PieceLog(header, salt, pieces, length, at)


def _log_header(fields: Sequence[Any]) -> LogHeader:
    key, ver, length, piece_bytes, validator, boot_id = fields[:6]
    if not _count(piece_bytes):
        raise ValueError("piece size 0")
    return LogHeader(
        key=Key(_a(str, key)),
        ver=Version(_a(str, ver)),
        length=None if length is None else _count(length),
        piece_bytes=piece_bytes,
        validator=_a(str, validator),
        boot_id=_a(str, boot_id),
    )


def _line(index: int, content: bytes, salt: int) -> bytes:
    check = crc32(_LINE.pack(index, content, 0)[:36], salt)
    return _LINE.pack(index, content, check)


def _salt(head: bytes) -> int:
    return crc32(head)


def _sealed(magic: bytes, fields: list[Any]) -> bytes:
    # Field values come from the network and need not be text: what aiohttp could not decode travels as surrogates.
    payload: bytes = msgpack.packb(fields, unicode_errors="surrogateescape")
    return _HEAD.pack(magic, _VERSION, len(payload), crc32(payload)) + payload


def _opened(magic: bytes, data: bytes, what: str, *, exact: bool) -> tuple[Sequence[Any], int]:
    if len(data) < _HEAD.size:
        raise IntegrityError(f"a {what} of {len(data)} bytes is cut")
    found, version, size, check = _HEAD.unpack_from(data)
    stop = _HEAD.size + size
    if found != magic or size > MAX_RECORD_BYTES:
        raise IntegrityError(f"this is no {what}")
    if version != _VERSION:
        raise IntegrityError(f"a {what} of version {version}; this program reads version {_VERSION}")
    payload = data[_HEAD.size : stop]
    if len(payload) != size or (exact and len(data) != stop) or crc32(payload) != check:
        raise IntegrityError(f"a {what} is torn or damaged")
    try:
        fields = msgpack.unpackb(payload, unicode_errors="surrogateescape", strict_map_key=False)
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise IntegrityError(f"a {what} can't be read: {error}") from error
    if not isinstance(fields, list):
        raise IntegrityError(f"a {what} is no list")
    return fields, stop


def _a(kind: type[T], value: Any) -> T:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} expected, not {type(value).__name__}")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("a count expected")
    return value


def _hex(value: Any, size: int) -> str:
    if type(value) is not bytes or len(value) != size:
        raise TypeError(f"{size} bytes expected")
    return value.hex()


def _pairs(flat: Any) -> tuple[tuple[str, str], ...]:
    texts = [_a(str, text) for text in _a(list, flat)]
    return tuple(zip(texts[0::2], texts[1::2], strict=True))
