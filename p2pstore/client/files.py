"""Files that are read while they download: ask `ready`, then read from the descriptor; holes are never seen."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from p2pstore.errors import AgentUnreachable, BadRequest, OriginChanged

WINDOW_BYTES: Final = 1 << 20
"""Asked for at once: reading in order asks once for this much; pieces are seldom smaller."""
BUFFER_BYTES: Final = 128 * 1024
"""Buffer of the file object that `open` gives."""
MAX_RANGES: Final = 64
"""Separate ranges remembered as being there; the oldest is forgotten, and asked for again."""
READ_BYTES: Final = 4 * WINDOW_BYTES
"""Most that one raw read brings, so that long reads go on while the rest downloads."""
_REOPENS: Final = 3
"""Times that one read opens the file anew because the agent went away."""


class Growing(NamedTuple):
    """A file of which not all is there yet: its descriptor, and how to ask for more."""

    fd: int
    size: int | None
    ver: str
    ready: Callable[[int, int], dict[str, Any]]
    """(start, stop) -> {size, complete}; returns when those bytes are there."""
    close: Callable[[], None]
    """The descriptor is not closed by it."""


class Ranges:
    """Bytes known to be there: at most MAX_RANGES separate ranges, joined where they touch."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def holds(self, start: int, stop: int) -> bool:
        """Whether all of `start` to `stop` is known to be there."""
        return any(low <= start and stop <= high for low, high in self._ranges)

    def add(self, start: int, stop: int) -> None:
        """`start` to `stop` is there."""
        apart = []
        for low, high in self._ranges:
            if high < start or stop < low:
                apart.append((low, high))
            else:
                start, stop = min(low, start), max(high, stop)
        self._ranges = [*apart[-(MAX_RANGES - 1) :], (start, stop)]


class RangeFile(io.RawIOBase):
    """A seekable, read-only raw file over a growing one; a read waits for its own bytes only.

    Reads from several threads take turns. When the agent was restarted in between, or this process is a fork of the one that
    opened it, the file is opened anew; OriginChanged when it is another version by then.
    """

    def __init__(self, growing: Growing, reopen: Callable[[], Growing], url: str) -> None:
        super().__init__()
        self.name = url
        self._growing = growing
        self._reopen = reopen
        self._size = growing.size
        self._complete = False
        self._position = 0
        self._there = Ranges()
        self._lock = threading.Lock()

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always; seeking from the end waits until the length is known."""
        return True

    def fileno(self) -> int:
        """The descriptor, once all bytes are there; before that it would show holes."""
        if not self._complete:
            raise io.UnsupportedOperation("not all of the file is there yet; read through the file object")
        return self._growing.fd

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position; moves no bytes."""
        self._must_be_open()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        if base is None:
            if whence != os.SEEK_END:
                raise ValueError(f"no whence {whence}")
            base = self.size()
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def size(self) -> int:
        """The length in bytes; waits for the end of the download when the origin does not say it."""
        with self._lock:
            if self._size is None:
                self._wait(1 << 62, (1 << 62) + 1)
            if self._size is None:
                raise BadRequest(f"{self.name}: the agent does not know the length", hint="open it again")
            return self._size

    def readinto(self, buffer: Any) -> int:
        """Read up to the buffer's length at the position, at most READ_BYTES; 0 at the end of the file."""
        self._must_be_open()
        with memoryview(buffer) as view, view.cast("B") as target, self._lock:
            stop = self._position + min(len(target), READ_BYTES)
            if self._size is not None:
                stop = min(stop, self._size)
            if stop <= self._position:
                return 0
            stop = self._until_there(self._position, stop)
            count = 0
            while self._position + count < stop:
                got = os.preadv(
                    self._growing.fd, [target[count : stop - self._position]], self._position + count
                )
                if not got:
                    break
                count += got
            self._position += count
            return count

    def readall(self) -> bytes:
        """Everything from the position on; holds it in memory."""
        parts = []
        while part := self.read(WINDOW_BYTES):
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the descriptor and tell the agent, which stops the download if nobody else wants it."""
        if not self.closed:
            super().close()
            self._release()

    def _release(self) -> None:
        self._growing.close()
        os.close(self._growing.fd)

    def _until_there(self, start: int, stop: int) -> int:
        """Wait for a range; returns where it ends, earlier at the end of the file."""
        if not self._complete and not self._there.holds(start, stop):
            low = start - start % WINDOW_BYTES
            high = stop + -stop % WINDOW_BYTES
            self._wait(low, high if self._size is None else min(high, self._size))
        return stop if self._size is None else min(stop, self._size)

    def _wait(self, start: int, stop: int) -> None:
        for left in reversed(range(_REOPENS)):
            try:
                found = self._growing.ready(start, stop)
                break
            except AgentUnreachable:
                if not left:
                    raise
                self._renew()
        if found["size"] is not None:
            self._size = int(found["size"])
        self._complete = bool(found["complete"])
        self._there.add(start, stop)

    def _renew(self) -> None:
        growing = self._reopen()
        if growing.ver != self._growing.ver:
            growing.close()
            os.close(growing.fd)
            raise OriginChanged(f"{self.name} changed while it was read", hint="open it again")
        self._release()
        self._growing, self._there = growing, Ranges()

    def _must_be_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
