"""Where the readers of one version are: what they wait for comes first, what follows comes next. Pure.

A reader that is blocked makes the first missing piece of its range urgent, and readers take turns; the lowest position
is where everybody else's pieces are taken from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pstore.swarm.pieces import bits, has_all, lowest, pieces_of
from p2pstore.types import ByteRange

MAX_READERS: Final = 1024
"""Readers whose position counts at one time; one more is served too, but in file order."""
MAX_URGENT: Final = 8
"""Urgent pieces looked at for one request; the readers after these have their turn later."""


@dataclass(slots=True)
class _Reader:
    first: int
    count: int
    blocked: bool


class Cursors:
    """The readers' positions: at most MAX_READERS."""

    def __init__(self, length: int, piece_bytes: int) -> None:
        self._length = length
        self._piece_bytes = piece_bytes
        self._readers: dict[int, _Reader] = {}

    def wait_for(self, reader: int, rng: ByteRange, have: int) -> bool:
        """Whether all of the range is in `have`; either way it is the reader's position until `forget`."""
        first, count = pieces_of(rng, self._length, self._piece_bytes)
        there = has_all(have, first, count)
        if reader in self._readers or len(self._readers) < MAX_READERS:
            self._readers[reader] = _Reader(first, count, not there)
        return there

    def forget(self, reader: int) -> None:
        """The reader is gone: its position and its urgency count no more."""
        self._readers.pop(reader, None)

    def urgent(self, free: int) -> list[int]:
        """Free pieces that blocked readers wait for, the first of each, in the order of their turns; at most MAX_URGENT."""
        found: list[int] = []
        for reader in self._readers.values():
            if reader.blocked and len(found) < MAX_URGENT:
                index = lowest(free & bits(reader.first, reader.count))
                if index is not None and index not in found:
                    found.append(index)
        return found

    def took(self, index: int) -> None:
        """An urgent piece was asked for: those who wait for it go to the end of the queue."""
        waiting = [
            name
            for name, reader in self._readers.items()
            if reader.blocked and reader.first <= index < reader.first + reader.count
        ]
        for name in waiting:
            self._readers[name] = self._readers.pop(name)

    def stored(self, have: int) -> None:
        """Pieces came in: readers whose range is there are not blocked any more."""
        for reader in self._readers.values():
            if reader.blocked and has_all(have, reader.first, reader.count):
                reader.blocked = False

    def lowest(self, missing: int) -> int:
        """Where the window of next pieces begins: the first missing piece after the lowest reader, else of all."""
        start = min((reader.first for reader in self._readers.values()), default=0)
        index = lowest(missing, start)
        return index if index is not None else lowest(missing) or 0
