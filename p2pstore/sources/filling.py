"""Blocks of a sink filled in order with the bytes of one body; where each block goes and when to stop. No IO."""

from __future__ import annotations

from collections.abc import Callable

from p2pstore.errors import P2PStoreError
from p2pstore.sources.base import Limit, Sink


class Filling:
    """One body on its way into a sink: holds at most one block, and gives it when full, at the end, or back.

    `left` is what the body still brings, None when its length is unknown; before each block `limit` is asked how much of it is
    wanted.
    """

    __slots__ = ("_block", "_limit", "_size", "left", "offset", "sink", "start")

    def __init__(self, sink: Sink, start: int, left: int | None, limit: Limit | None = None) -> None:
        self.sink = sink
        self.start = start
        self.offset = start
        """Where the block in hand begins in the object."""
        self.left = left
        self._limit = limit
        self._block: memoryview | None = None
        self._size = 0

    @property
    def poured(self) -> int:
        """Bytes given so far."""
        return self.offset - self.start

    @property
    def done(self) -> bool:
        """Nothing more comes, or nothing more is wanted; true only between two blocks."""
        return self.left == 0 or (self._limit is not None and self.offset >= self._limit(self.offset))

    def room(self) -> memoryview | None:
        """A new block's room, cut to what still comes and is wanted; None while the sink has no block. Raises the sink's error."""
        block = self.sink.take()
        if block is None:
            return None
        self._block = block
        size = len(block) if self.left is None else min(len(block), self.left)
        if self._limit is not None:
            size = min(size, self._limit(self.offset + size) - self.offset)
        self._size = size
        return block[:size]

    def give(self, size: int | None = None) -> None:
        """Hand over the block in hand, filled with `size` bytes; None: all of its room."""
        block, self._block = self._block, None
        if block is None:
            raise AssertionError("no block in hand")
        if size is None:
            size = self._size
        if self.left is not None:
            self.left -= size
        offset = self.offset
        self.offset = offset + size
        self.sink.give(offset, block, size)

    def drop(self) -> None:
        """Return the block in hand, if there is one; may be called any time."""
        block, self._block = self._block, None
        if block is not None:
            self.sink.give_back(block)


class Memory:
    """A sink that is one buffer of known size, for bodies that are read whole."""

    def __init__(self, size: int) -> None:
        self.block_bytes = max(1, size)
        self.error: P2PStoreError | None = None
        self.data = bytearray(size)

    def take(self) -> memoryview | None:
        """The buffer."""
        return memoryview(self.data)

    def on_room(self, callback: Callable[[], None]) -> None:
        """There is always room."""
        callback()

    def give(self, offset: int, block: memoryview, size: int) -> None:
        """The bytes are where they belong."""
        block.release()

    def give_back(self, block: memoryview) -> None:
        """Nothing to return."""
        block.release()
