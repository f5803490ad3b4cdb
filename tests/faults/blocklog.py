"""A disk that writes down every write and every flush, and crash images made from that: torn, reordered, cut anywhere.

The disk is one file of a FUSE file system, served here without a library, with a loop device on top. A crash image holds
everything up to the last flush before the cut, and any part of what came after it, in any order, sectors torn: what a
device with a volatile cache may leave after a power cut.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_EVENT: Final = struct.Struct("<cQI")
_REQUEST: Final = struct.Struct("<IIQQIIIHH")
_ANSWER: Final = struct.Struct("<IiQ")
_ATTRIBUTES: Final = struct.Struct("<QQQQQQIIIIIIIIII")
_IO: Final = struct.Struct("<QQIIQII")
_MOST_WRITE: Final = 1 << 20
_SECTOR: Final = 512
_BIG_WRITES: Final = 1 << 5 | 1 << 22
_DIRECT_IO: Final = 1
_FOLDER, _DISK = 1, 2
"""Node ids: the mount point and the one file in it."""
_LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE = 1, 2, 3, 4, 14, 15, 16
_STATFS, _RELEASE, _FSYNC, _FLUSH, _INIT, _OPENDIR, _READDIR, _RELEASEDIR = 17, 18, 20, 25, 26, 27, 28, 29
_ACCESS, _INTERRUPT, _DESTROY, _BATCH_FORGET = 34, 36, 38, 42


class LoggedDisk:
    """The server: answers the kernel until the file system is unmounted."""

    def __init__(self, image: str, log: str, point: str) -> None:
        self._image = os.open(image, os.O_RDWR)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self._size = os.fstat(self._image).st_size
        self._fuse = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._fuse},rootmode=40000,user_id=0,group_id=0,allow_other"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"blocklog", point.encode(), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mount fuse")

    def serve(self) -> None:
        """One request after the other."""
        while True:
            try:
                data = os.read(self._fuse, _MOST_WRITE + 8192)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                raise
            _, opcode, unique, node, *_ = _REQUEST.unpack_from(data)
            if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue
            try:
                answer, number = self._answer(opcode, node, memoryview(data)[_REQUEST.size :]), 0
            except OSError as error:
                answer, number = b"", error.errno or errno.EIO
            os.write(self._fuse, _ANSWER.pack(_ANSWER.size + len(answer), -number, unique) + answer)
            if opcode == _DESTROY:
                return

    def _answer(self, opcode: int, node: int, body: memoryview) -> bytes:
        if opcode == _WRITE:
            return self._write(body)
        if opcode == _READ:
            _, offset, size, *_ = _IO.unpack_from(body)
            return os.pread(self._image, size, offset)
        if opcode == _FSYNC:
            os.write(self._log, _EVENT.pack(b"F", 0, 0))
            return b""
        if opcode == _INIT:
            return struct.pack(
                "<IIIIHHIIHHI28x", 7, 31, 0, _BIG_WRITES, 64, 48, _MOST_WRITE, 1, _MOST_WRITE >> 12, 0, 0
            )
        if opcode == _LOOKUP:
            if bytes(body).rstrip(b"\0") != b"disk":
                raise OSError(errno.ENOENT, "")
            return struct.pack("<QQQQII", _DISK, 0, 3600, 3600, 0, 0) + self._attributes(_DISK)
        if opcode in (_GETATTR, _SETATTR):
            return struct.pack("<QII", 3600, 0, 0) + self._attributes(node)
        if opcode in (_OPEN, _OPENDIR):
            return struct.pack("<QII", 1, _DIRECT_IO if opcode == _OPEN else 0, 0)
        if opcode == _STATFS:
            return bytes(80)
        if opcode in (_FLUSH, _RELEASE, _RELEASEDIR, _READDIR, _ACCESS, _DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "")

    def _write(self, body: memoryview) -> bytes:
        _, offset, size, *_ = _IO.unpack_from(body)
        content = body[_IO.size : _IO.size + size]
        os.write(self._log, _EVENT.pack(b"W", offset, size) + content)
        os.pwrite(self._image, content, offset)
        return struct.pack("<II", size, 0)

    def _attributes(self, node: int) -> bytes:
        folder = node == _FOLDER
        mode, size = (0o40755, 0) if folder else (0o100600, self._size)
        return _ATTRIBUTES.pack(node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1 + folder, 0, 0, 0, 4096, 0)


@dataclass(frozen=True)
class Event:
    """A write, or a flush (`data` is None); `position` is where the log stood before it."""

    position: int
    offset: int
    data: bytes | None


class Recorder:
    """An ext4 on a logged disk, mounted at `point`; `position` grows with every write and flush."""

    def __init__(self, directory: Path, size_mib: int = 48) -> None:
        directory.mkdir(parents=True)
        self.start = directory / "start.img"
        self.point = directory / "mounted"
        self._image = directory / "disk.img"
        self._log = directory / "log"
        self._fuse = directory / "fuse"
        self.point.mkdir()
        self._fuse.mkdir()
        with self.start.open("wb") as file:
            file.truncate(size_mib << 20)
        options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
        subprocess.run(["mkfs.ext4", "-q", "-F", "-N", "4096", "-E", options, str(self.start)], check=True)
        shutil.copy(self.start, self._image)
        command = [
            sys.executable,
            "-m",
            "tests.faults.blocklog",
            str(self._image),
            str(self._log),
            str(self._fuse),
        ]
        self._server = subprocess.Popen(command, cwd=ROOT)
        deadline = time.monotonic() + 20
        while not (self._fuse / "disk").exists():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the logged disk does not come up")
            time.sleep(0.01)
        subprocess.run(["mount", "-o", "loop", str(self._fuse / "disk"), str(self.point)], check=True)
        self.mounted = True

    @property
    def position(self) -> int:
        """How long the log is now."""
        return self._log.stat().st_size

    def stop(self) -> None:
        """Unmount everything; the log stays."""
        if self.mounted:
            self.mounted = False
            for point in (self.point, self._fuse):
                if subprocess.run(["umount", str(point)], capture_output=True).returncode:
                    # Somebody who should have ended still uses it; at the end of a test it goes anyway.
                    subprocess.run(["umount", "-l", str(point)], check=True)
            self._server.wait(20)

    def events(self) -> list[Event]:
        """The log."""
        data = self._log.read_bytes()
        events = []
        at = 0
        while at < len(data):
            kind, offset, size = _EVENT.unpack_from(data, at)
            stop = at + _EVENT.size + size
            events.append(Event(at, offset, data[at + _EVENT.size : stop] if kind == b"W" else None))
            at = stop
        return events


def crash_image(start: Path, image: Path, events: list[Event], cut: int, rng: random.Random) -> None:
    """Make the image that a cut after `cut` events may leave."""
    flushed = max((number for number in range(cut) if events[number].data is None), default=0)
    shutil.copy(start, image)
    fd = os.open(image, os.O_RDWR)
    try:
        for event in events[:flushed]:
            if event.data is not None:
                os.pwrite(fd, event.data, event.offset)
        later = [event for event in events[flushed:cut] if event.data is not None]
        rng.shuffle(later)
        for event in later[: rng.randint(0, len(later))]:
            assert event.data is not None
            torn = rng.random() < 0.3
            sectors = rng.randint(0, len(event.data) // _SECTOR) if torn else len(event.data) // _SECTOR
            os.pwrite(fd, event.data[: sectors * _SECTOR], event.offset)
    finally:
        os.close(fd)


if __name__ == "__main__":
    LoggedDisk(*sys.argv[1:4]).serve()
