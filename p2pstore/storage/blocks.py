"""Memory for bytes on their way from a socket to the disk: blocks that are used again and again, within one bound for all.

The first touch of a page costs more than everything that is done with its bytes later, so blocks are kept between loads.
Belongs to the loop thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

MAX_BYTES: Final = 32 << 20
"""All blocks together; beyond it every unfinished object still gets one, so that none waits for another for ever."""
KEPT_BYTES: Final = 8 << 20
"""What stays for the next load when nothing is loading."""


class Blocks:
    """The blocks of all unfinished objects."""

    def __init__(self, max_bytes: int = MAX_BYTES, kept_bytes: int = KEPT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept_bytes = kept_bytes
        self._free: dict[int, list[memoryview]] = {}
        self._free_bytes = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self.lent_bytes = 0
        """Bytes of the blocks that somebody has."""

    def take(self, size_bytes: int, *, must: bool) -> memoryview | None:
        """A block; None when the bound is reached, unless the caller `must` have one to go on at all."""
        kept = self._free.get(size_bytes)
        if kept:
            self._free_bytes -= size_bytes
            self.lent_bytes += size_bytes
            return kept.pop()
        while self._free_bytes and self.lent_bytes + self._free_bytes + size_bytes > self._max_bytes:
            self._drop_one()
        if self.lent_bytes + size_bytes > self._max_bytes and not must:
            return None
        self.lent_bytes += size_bytes
        return memoryview(bytearray(size_bytes))

    def give_back(self, block: memoryview) -> None:
        """A block that is not needed now; whoever waited longest for room is told."""
        size = len(block)
        self.lent_bytes -= size
        self._free.setdefault(size, []).append(block)
        self._free_bytes += size
        # Between loads only a little stays, while they run as much as they have used.
        limit = self._max_bytes if self.lent_bytes else self._kept_bytes
        while self._free_bytes and self._free_bytes + self.lent_bytes > limit:
            self._drop_one()
        if self._waiting:
            self._waiting.popleft()()

    def wait(self, callback: Callable[[], None]) -> None:
        """Call back once when a block came back; each unfinished object waits with one callback at most."""
        self._waiting.append(callback)

    def _drop_one(self) -> None:
        size = max(size for size, kept in self._free.items() if kept)
        self._free[size].pop()
        self._free_bytes -= size
