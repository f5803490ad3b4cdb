"""The system calls on the cache directory, and nothing else: every file is reached from one descriptor of the directory.

Paths are relative to the cache directory and made by `layout`, never by anybody outside. Tests put a simulated disk, or one
that fails at its Nth call, in place of `Files`. Errors are the plain OSErrors; `faults` translates them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from typing import Final, NamedTuple, TypeAlias

Data: TypeAlias = bytes | bytearray | memoryview

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHANGE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

_FICLONE: Final = 0x40049409
FIRST_READ_BYTES: Final = 8192
"""Of a small file so much is read first, which mostly is all of it."""
COPY_BYTES: Final = 1 << 20
"""Read at once where the system can't copy by itself."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syncfs.argtypes = [ctypes.c_int]
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class FileState(NamedTuple):
    """What the file system says of a file; `disk_bytes` are the blocks it takes."""

    size_bytes: int
    mtime_ns: int
    disk_bytes: int


class Room(NamedTuple):
    """What the file system has left for us (`statvfs`: the parts root keeps for itself are not counted)."""

    free_bytes: int
    total_bytes: int
    free_inodes: int
    total_inodes: int
    block_bytes: int


class Files:
    """System calls below one directory; the descriptor of that directory becomes this object's."""

    def __init__(self, root_fd: int) -> None:
        self.root_fd = root_fd

    def shut(self) -> None:
        """Close the directory."""
        os.close(self.root_fd)

    # descriptors

    def create(self, path: str, mode: int = 0o600) -> int:
        """A new file to be written; fails when there is anything of that name, a link included."""
        return os.open(path, _CREATE, mode, dir_fd=self.root_fd)

    def open_read(self, path: str) -> int:
        """An existing file, to be read."""
        return os.open(path, _READ, dir_fd=self.root_fd)

    def open_change(self, path: str) -> int:
        """An existing file, to be read and written anywhere."""
        return os.open(path, _CHANGE, dir_fd=self.root_fd)

    def open_append(self, path: str) -> int:
        """An existing file, to be written at its end only."""
        return os.open(path, _APPEND, dir_fd=self.root_fd)

    def close(self, fd: int) -> None:
        """Close a descriptor that one of the methods above gave."""
        os.close(fd)

    def size(self, fd: int) -> int:
        """The length of an open file."""
        return os.fstat(fd).st_size

    # contents

    def write_some(self, fd: int, data: Data) -> int:
        """One write: how many bytes the system took."""
        return os.write(fd, data)

    def pwrite_some(self, fd: int, data: Data, offset: int) -> int:
        """One write at a place: how many bytes the system took."""
        return os.pwrite(fd, data, offset)

    def write(self, fd: int, data: Data) -> None:
        """Write all of it, or raise."""
        view = memoryview(data)
        done = self.write_some(fd, view)
        while done < len(view):
            more = self.write_some(fd, view[done:])
            _check_progress(more)
            done += more

    def pwrite(self, fd: int, data: Data, offset: int) -> None:
        """Write all of it at a place, or raise."""
        view = memoryview(data)
        done = self.pwrite_some(fd, view, offset)
        while done < len(view):
            more = self.pwrite_some(fd, view[done:], offset + done)
            _check_progress(more)
            done += more

    def read_into(self, fd: int, buffer: memoryview | bytearray, offset: int) -> int:
        """Fill the buffer from a place on; fewer bytes only at the end of the file."""
        view = memoryview(buffer)
        done = 0
        while done < len(view):
            got = os.preadv(fd, [view[done:]], offset + done)
            if not got:
                break
            done += got
        return done

    def read(self, path: str, limit: int) -> bytes:
        """The contents of a small file; at most `limit` bytes of them."""
        fd = self.open_read(path)
        try:
            # Asking for all of the limit at once would cost a large buffer each time, for a record of some hundred bytes.
            data = os.read(fd, min(limit, FIRST_READ_BYTES))
            while FIRST_READ_BYTES <= len(data) < limit and (more := os.read(fd, limit - len(data))):
                data += more
            return data
        finally:
            self.close(fd)

    def copy_from(self, source_fd: int, fd: int, offset: int, size_bytes: int) -> int:
        """Copy from any file of the machine to the same place of ours without passing the bytes through us where possible.

        How many bytes were copied; 0 at the end of the source.
        """
        try:
            return os.copy_file_range(source_fd, fd, size_bytes, offset, offset)
        except OSError as error:
            if error.errno not in _UNSUPPORTED | {errno.EXDEV, errno.EBADF, errno.EPERM}:
                raise
        data = os.pread(source_fd, min(size_bytes, COPY_BYTES), offset)
        self.pwrite(fd, data, offset)
        return len(data)

    def clone_from(self, source_fd: int, fd: int) -> bool:
        """Share all blocks of another file (reflink), where the file system can."""
        try:
            fcntl.ioctl(fd, _FICLONE, source_fd)
        except OSError:
            return False
        return True

    def allocate(self, fd: int, size_bytes: int) -> None:
        """Give the file its length and its blocks now; without support for it, only its length."""
        if not size_bytes:
            return
        if _libc.fallocate(fd, 0, 0, size_bytes) == 0:
            return
        code = ctypes.get_errno()
        if code not in _UNSUPPORTED:
            raise OSError(code, os.strerror(code))
        os.ftruncate(fd, size_bytes)

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cut or lengthen a file."""
        os.ftruncate(fd, size_bytes)

    def chmod(self, fd: int, mode: int) -> None:
        """Set a file's mode."""
        os.fchmod(fd, mode)

    # durability

    def fsync(self, fd: int) -> None:
        """A file's contents are on the disk afterwards. After an error the descriptor tells lies: don't ask again."""
        os.fsync(fd)

    def sync_folder(self, path: str) -> None:
        """The names in a folder are on the disk afterwards."""
        fd = os.open(path, _FOLDER, dir_fd=self.root_fd)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def sync_all(self) -> None:
        """Everything written before on this file system is on the disk afterwards (syncfs)."""
        # The descriptor is as old as the store: the kernel tells each one of the write errors since it was opened, once.
        if _libc.syncfs(self.root_fd):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    # names

    def stat(self, path: str) -> FileState | None:
        """What the file system says of a file; None when there is none."""
        try:
            found = os.stat(path, dir_fd=self.root_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return FileState(found.st_size, found.st_mtime_ns, found.st_blocks * 512)

    def fstat(self, fd: int) -> FileState:
        """What the file system says of an open file."""
        found = os.fstat(fd)
        return FileState(found.st_size, found.st_mtime_ns, found.st_blocks * 512)

    def rename(self, source: str, target: str) -> None:
        """Move a name, over another one if it exists."""
        os.rename(source, target, src_dir_fd=self.root_fd, dst_dir_fd=self.root_fd)

    def link(self, source: str, target: str) -> None:
        """Give a file a second name; fails when the name is taken."""
        os.link(source, target, src_dir_fd=self.root_fd, dst_dir_fd=self.root_fd, follow_symlinks=False)

    def unlink(self, path: str) -> bool:
        """Remove a name; False when there was none."""
        try:
            os.unlink(path, dir_fd=self.root_fd)
        except FileNotFoundError:
            return False
        return True

    def make_folder(self, path: str) -> None:
        """A new folder that only its owner may enter."""
        os.mkdir(path, 0o700, dir_fd=self.root_fd)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        os.rmdir(path, dir_fd=self.root_fd)

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; none when there is no such folder."""
        try:
            fd = os.open(path, _FOLDER, dir_fd=self.root_fd)
        except FileNotFoundError:
            return []
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def room(self) -> Room:
        """What the file system has left."""
        found = os.statvfs(self.root_fd)
        block = found.f_frsize or found.f_bsize
        return Room(
            found.f_bavail * block, found.f_blocks * block, found.f_favail, found.f_files, max(block, 512)
        )


def _check_progress(done: int) -> None:
    if done <= 0:
        raise OSError(errno.ENOSPC, "the system took no byte")
