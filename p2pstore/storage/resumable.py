"""What an interrupted load left behind, told before the origin is asked, so that only missing bytes are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from p2pstore.errors import IntegrityError
from p2pstore.storage.disk import Disk
from p2pstore.storage.leftovers import log_path, remove_idle
from p2pstore.storage.unfinished import MAX_LOG_BYTES
from p2pstore.types import Key, Version
from p2pstore.wire.records import decode_log


@dataclass(frozen=True, slots=True)
class PartialInfo:
    """An unfinished object of known length that a strong validator guards; `have` is the bitmap of its logged pieces."""

    key: Key
    ver: Version
    length: int
    piece_bytes: int
    validator: str
    have: int


def find(disk: Disk, key: Key) -> PartialInfo | None:
    """The idle unfinished object of this key that has most pieces. Runs on the store thread."""
    best: PartialInfo | None = None
    for name in _names(disk, key):
        try:
            log = decode_log(disk.files.read(log_path(name), MAX_LOG_BYTES))
        except (FileNotFoundError, IntegrityError):
            continue
        header = log.header
        if header.length is None or not header.validator or header.key != key:
            continue
        have = sum(1 << index for index in log.pieces)
        if best is None or have.bit_count() > best.have.bit_count():
            best = PartialInfo(key, header.ver, header.length, header.piece_bytes, header.validator, have)
    return best


def discard(disk: Disk, key: Key) -> None:
    """Remove all idle unfinished objects of this key: the file behind it is another one now. Runs on the store thread."""
    for name in _names(disk, key):
        remove_idle(disk, name)


def _names(disk: Disk, key: Key) -> list[str]:
    return [name for name in disk.idle if name.startswith(key)]
