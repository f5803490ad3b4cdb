"""Planted bugs: nothing is compared with its digest or checksum."""

from __future__ import annotations

from typing import Any


class _Whatever(int):
    """A checksum that agrees with every other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


def every_digest_agrees() -> None:
    """Reading an object again always finds it right."""
    from p2pstore.storage import objects

    objects.is_right = lambda *args, **more: True


def no_record_checksum() -> None:
    """Any bytes that can be unpacked are a record."""
    from p2pstore.wire import records

    real = records.crc32

    def crc32(*args: Any) -> int:
        return _Whatever(real(*args))

    records.crc32 = crc32
