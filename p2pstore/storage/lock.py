"""One process owns a cache directory: a lock that the kernel drops with the process, and who held it last."""

from __future__ import annotations

import fcntl
import os
import uuid
from typing import Final, Self

from p2pstore.errors import CacheLocked
from p2pstore.storage.layout import LOCK

_LINE_BYTES: Final = 128


class Lock:
    """The lock file, held until `release` or the end of the process.

    Its content names the session that owns the cache: an index that last saw another session is not this cache's newest.
    """

    def __init__(self, fd: int, previous: str, used_bytes: int) -> None:
        self._fd = fd
        self.previous = previous
        """The session before this one; empty when there was none or its line is damaged."""
        self.used_bytes = used_bytes
        """Bytes that the cache held when the previous session last noted it."""
        self.session = uuid.uuid4().hex

    @classmethod
    def take(cls, root_fd: int) -> Self:
        """Lock the directory; raises CacheLocked with the owner's process number when somebody else has it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(LOCK, flags, 0o600, dir_fd=root_fd)
        try:
            line = os.pread(fd, _LINE_BYTES, 0).decode("ascii", "replace").split()
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = f" (process {line[0]})" if line else ""
                raise CacheLocked(
                    f"another agent{owner} uses this cache directory",
                    hint="talk to it with --socket, stop it, or choose another --cache-dir",
                ) from None
            known = len(line) == 3 and line[2].isdecimal()
            return cls(fd, line[1] if known else "", int(line[2]) if known else 0)
        except BaseException:
            os.close(fd)
            raise

    def note(self, used_bytes: int) -> None:
        """Write down who owns the cache and how much is in it; lost by a power cut without harm."""
        line = f"{os.getpid():<10d} {self.session} {used_bytes:>20d}\n"
        os.pwrite(self._fd, line.encode(), 0)

    def release(self) -> None:
        """Give the directory up."""
        os.close(self._fd)
