"""A disk whose Nth call fails, or at whose Nth call the process is killed."""

from __future__ import annotations

import os
from typing import Any, Final

from p2pstore.storage.files import Data, Files

CALLS: Final = (
    "create",
    "open_read",
    "open_change",
    "open_append",
    "read",
    "read_into",
    "copy_from",
    "allocate",
    "truncate",
    "chmod",
    "fsync",
    "sync_folder",
    "sync_all",
    "stat",
    "fstat",
    "rename",
    "link",
    "unlink",
    "make_folder",
    "remove_folder",
    "names",
    "room",
)
SHORT: Final = -1
"""In place of an error number: the next write takes one byte only."""


class Killed(BaseException):
    """The process is gone: nothing runs any more, not even what cleans up."""


class FailingFiles(Files):
    """`Files` that fail at the Nth call after `arm`; after a kill every call raises."""

    def __init__(self, files: Files) -> None:
        super().__init__(files.root_fd)
        self._left: int | None = None
        self._code = 0
        self._dead = False
        self.failed = ""
        """The call that failed."""
        for name in CALLS:
            setattr(self, name, self._watched(name))

    def arm(self, number: int, code: int) -> None:
        """Fail at this call from now on, counted from 0; code 0 kills the process there."""
        self._left, self._code, self.failed = number, code, ""

    def disarm(self) -> None:
        """Work again, dead or not."""
        self._left, self._dead = None, False

    def _watched(self, name: str) -> Any:
        call = getattr(super(), name)

        def watched(*args: Any, **more: Any) -> Any:
            self._count(name)
            return call(*args, **more)

        return watched

    def _count(self, name: str) -> bool:
        """Whether a write is to be cut short."""
        if self._dead:
            raise Killed(name)
        if self._left is None:
            return False
        self._left -= 1
        if self._left >= 0:
            return False
        self._left, self.failed = None, name
        if self._code == SHORT:
            return True
        if self._code == 0:
            self._dead = True
            raise Killed(name)
        raise OSError(self._code, os.strerror(self._code))

    def close(self, fd: int) -> None:
        """Never fails, so that a dead process leaks nothing into the test's."""
        super().close(fd)

    def write_some(self, fd: int, data: Data) -> int:
        cut = self._count("write_some")
        return super().write_some(fd, data[:1] if cut else data)

    def pwrite_some(self, fd: int, data: Data, offset: int) -> int:
        cut = self._count("pwrite_some")
        return super().pwrite_some(fd, data[:1] if cut else data, offset)
