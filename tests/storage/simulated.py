"""A disk in memory that loses power: what was not flushed is there, half there, zero or gone, in any combination.

Bytes are on the disk after `fsync` or `sync_all`; names after `sync_folder` of their folder or `sync_all`. What was not is
decided at the cut: of the other changes of names, the journal has any number from the oldest on; of a file's bytes the disk
has all, none, a part, or zeros in their place, with the new time of change.
"""

from __future__ import annotations

import errno
import itertools
import random
from dataclasses import dataclass, field

from p2pstore.storage.files import Data, Files, FileState, Room


@dataclass(eq=False)
class Inode:
    """A file without a name: what a process sees and what the disk has."""

    seen: bytearray = field(default_factory=bytearray)
    disk: bytes = b""
    mtime_ns: int = 0


Change = tuple[str, str, Inode | None]
"""A name, the folder whose flush makes it last, and what it names from then on."""


class SimulatedFiles(Files):
    """`Files` on a simulated disk; `cut` ends the power."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.seen: dict[str, Inode] = {}
        self.disk: dict[str, Inode] = {}
        self.folders: set[str] = set()
        self.pending: list[list[Change]] = []
        self._open: dict[int, Inode] = {}
        self._fds = itertools.count(100)
        self._ticks = itertools.count(1)

    def cut(self) -> None:
        """The power goes and comes back."""
        kept = self.rng.randint(0, len(self.pending))
        for changes in self.pending[:kept]:
            self._apply(changes)
        self.pending = []
        self.seen = dict(self.disk)
        self._open = {}
        for inode in set(self.seen.values()):
            if inode.seen != inode.disk:
                inode.disk = self._torn(bytes(inode.seen), inode.disk)
            inode.seen = bytearray(inode.disk)

    def _torn(self, new: bytes, old: bytes) -> bytes:
        at = self.rng.randint(0, len(new))
        choices = (new, old, b"", new[:at], new[:at] + bytes(len(new) - at), bytes(len(new)))
        return self.rng.choice(choices)

    def _apply(self, changes: list[Change]) -> None:
        for name, _, inode in changes:
            if inode is None:
                self.disk.pop(name, None)
            else:
                self.disk[name] = inode

    def _change(self, *changes: Change) -> None:
        for name, _, inode in changes:
            if inode is None:
                del self.seen[name]
            else:
                self.seen[name] = inode
        self.pending.append(list(changes))

    def _at(self, path: str) -> Inode:
        inode = self.seen.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return inode

    def _opened(self, inode: Inode) -> int:
        fd = next(self._fds)
        self._open[fd] = inode
        return fd

    def shut(self) -> None:
        self._open = {}

    def create(self, path: str, mode: int = 0o600) -> int:
        if path in self.seen:
            raise FileExistsError(errno.EEXIST, "exists", path)
        inode = Inode(mtime_ns=next(self._ticks))
        self._change((path, _folder(path), inode))
        return self._opened(inode)

    def open_read(self, path: str) -> int:
        return self._opened(self._at(path))

    open_change = open_append = open_read

    def close(self, fd: int) -> None:
        del self._open[fd]

    def size(self, fd: int) -> int:
        return len(self._open[fd].seen)

    def write_some(self, fd: int, data: Data) -> int:
        inode = self._open[fd]
        inode.seen += data
        inode.mtime_ns = next(self._ticks)
        return len(data)

    def pwrite_some(self, fd: int, data: Data, offset: int) -> int:
        inode = self._open[fd]
        inode.seen += bytes(max(offset + len(data) - len(inode.seen), 0))
        inode.seen[offset : offset + len(data)] = data
        inode.mtime_ns = next(self._ticks)
        return len(data)

    def read_into(self, fd: int, buffer: memoryview | bytearray, offset: int) -> int:
        found = self._open[fd].seen[offset : offset + len(buffer)]
        memoryview(buffer)[: len(found)] = found
        return len(found)

    def read(self, path: str, limit: int) -> bytes:
        return bytes(self._at(path).seen[:limit])

    def allocate(self, fd: int, size_bytes: int) -> None:
        inode = self._open[fd]
        inode.seen += bytes(max(size_bytes - len(inode.seen), 0))

    def truncate(self, fd: int, size_bytes: int) -> None:
        inode = self._open[fd]
        inode.seen = inode.seen[:size_bytes].ljust(size_bytes, b"\0")

    def chmod(self, fd: int, mode: int) -> None:
        pass

    def fsync(self, fd: int) -> None:
        self._open[fd].disk = bytes(self._open[fd].seen)

    def sync_folder(self, path: str) -> None:
        later = []
        for changes in self.pending:
            if any(folder == path for _, folder, _ in changes):
                self._apply(changes)
            else:
                later.append(changes)
        self.pending = later

    def sync_all(self) -> None:
        for inode in self.seen.values():
            inode.disk = bytes(inode.seen)
        for changes in self.pending:
            self._apply(changes)
        self.pending = []

    def stat(self, path: str) -> FileState | None:
        inode = self.seen.get(path)
        return None if inode is None else _state(inode)

    def fstat(self, fd: int) -> FileState:
        return _state(self._open[fd])

    def rename(self, source: str, target: str) -> None:
        if source in self.folders:
            self._rename_folder(source, target)
            return
        inode = self._at(source)
        self._change((source, _folder(target), None), (target, _folder(target), inode))

    def _rename_folder(self, source: str, target: str) -> None:
        self.folders.remove(source)
        self.folders.add(target)
        for name in [name for name in self.seen if name.startswith(f"{source}/")]:
            self.rename(name, target + name.removeprefix(source))

    def link(self, source: str, target: str) -> None:
        if target in self.seen:
            raise FileExistsError(errno.EEXIST, "exists", target)
        self._change((target, _folder(target), self._at(source)))

    def unlink(self, path: str) -> bool:
        if path in self.folders:
            raise IsADirectoryError(errno.EISDIR, "a folder", path)
        if path not in self.seen:
            return False
        self._change((path, _folder(path), None))
        return True

    def make_folder(self, path: str) -> None:
        if path in self.folders:
            raise FileExistsError(errno.EEXIST, "exists", path)
        self.folders.add(path)

    def remove_folder(self, path: str) -> None:
        self.folders.remove(path)

    def names(self, path: str) -> list[str]:
        below = f"{path}/"
        return sorted(
            {name.removeprefix(below).split("/")[0] for name in self.seen if name.startswith(below)}
        )

    def room(self) -> Room:
        return Room(1 << 40, 1 << 40, 1 << 30, 1 << 30, 4096)


def _folder(path: str) -> str:
    return path.rpartition("/")[0] or "."


def _state(inode: Inode) -> FileState:
    return FileState(len(inode.seen), inode.mtime_ns, -(-len(inode.seen) // 4096) * 4096)
