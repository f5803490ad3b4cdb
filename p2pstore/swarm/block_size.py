"""How many bytes are received, hashed and written in one go: small while they come slowly, large while they come fast. Pure.

Each block costs a hand-over to another thread and back, which at a gigabyte a second is more than the work on its bytes; but
nobody sees a byte of a block, and a kill loses them all, until it is full.
"""

from __future__ import annotations

from typing import Final

WINDOW_S: Final = 0.01
"""A block holds about what all streams of an object together bring in this time; so long the rate is measured, too."""


class BlockSize:
    """The size of the next block: `unit_bytes` at first, and doubled up to `max_bytes` at most (a power of two of units)."""

    def __init__(self, unit_bytes: int, max_bytes: int) -> None:
        self.next_bytes = unit_bytes
        """Bytes of the next block."""
        self._unit_bytes = unit_bytes
        self._max_bytes = max_bytes
        self._since: float | None = None
        self._bytes = 0

    def filled(self, size_bytes: int, now: float) -> None:
        """A block became full at `now` (seconds on any clock that only goes forward)."""
        if self._since is None:
            self._since = now
            return
        self._bytes += size_bytes
        took_s = now - self._since
        if took_s < WINDOW_S:
            return
        wanted = self._bytes * WINDOW_S / took_s
        self._since, self._bytes = now, 0
        size = self._unit_bytes
        while size < self._max_bytes and size < wanted:
            size <<= 1
        self.next_bytes = size
