"""File systems on loop devices: power cuts, full disks, broken disks.

A power cut is the `FS_IOC_SHUTDOWN` ioctl without flushing the log: everything that was not written to the device is
gone, as after pulling the plug. It does not reorder what is on its way inside a device.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path
from typing import Final

_SHUTDOWN: Final = 0x8004587D
_NOLOGFLUSH: Final = 2
_MKFS: Final = {
    "ext4": [
        "mkfs.ext4",
        "-q",
        "-F",
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
        "-N",
        "16384",
    ],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
}
SMALLEST_MIB: Final = {"ext4": 32, "xfs": 320}


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.returncode, f"{' '.join(command)}: {done.stderr.strip()}")


class Image:
    """A file system in a file, mounted at `point`."""

    def __init__(self, directory: Path, fs: str, size_mib: int, inodes: int = 16384) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.fs = fs
        self.path = directory / f"{fs}.img"
        self.point = directory / fs
        self.point.mkdir(exist_ok=True)
        self.size_mib = size_mib
        self._inodes = inodes
        self.mounted = False
        self.cuts = 0
        self.make()

    def make(self) -> None:
        """A new, empty file system; must not be mounted."""
        with self.path.open("wb") as file:
            file.truncate(self.size_mib << 20)
        # xfs makes inodes as it needs them.
        count = ["-N", str(self._inodes)] if self.fs == "ext4" else []
        _run(*_MKFS[self.fs], *count, str(self.path))

    def mount(self) -> None:
        """Mount it."""
        options = "loop,errors=remount-ro" if self.fs == "ext4" else "loop"
        _run("mount", "-o", options, str(self.path), str(self.point))
        self.mounted = True

    def repair(self) -> None:
        """What a machine does at boot when a file system does not mount; must not be mounted."""
        # 1 and 2 say that something was repaired.
        if subprocess.run(["e2fsck", "-fy", str(self.path)], capture_output=True).returncode > 2:
            raise OSError(f"{self.path} can't be repaired")

    def cut(self) -> None:
        """Pull the plug; it stays mounted, and broken, until unmounted."""
        fd = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        finally:
            os.close(fd)
        self.cuts += 1

    def unmount(self) -> None:
        """Unmount it; waits for descriptors and mount namespaces that dying processes still hold.

        Mounting it again before the last of them is gone would bring back the file system that was shut down.
        """
        deadline = time.monotonic() + 10
        while self.mounted or self._is_attached():
            try:
                if self.mounted:
                    _run("umount", str(self.point))
                    self.mounted = False
                else:
                    time.sleep(0.001)
            except OSError:
                time.sleep(0.005)
            if time.monotonic() > deadline:
                raise OSError(f"{self.point} is still in use")

    def _is_attached(self) -> bool:
        """Whether a loop device still has the image; it lets go with the file system."""
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            with contextlib.suppress(OSError):
                if backing.read_text().rstrip("\n") == str(self.path):
                    return True
        return False

    def close(self) -> None:
        """Unmount and remove."""
        with contextlib.suppress(OSError):
            self.unmount()
        if self.mounted:
            _run("umount", "-l", str(self.point))
            self.mounted = False
        self.path.unlink(missing_ok=True)


class Tmpfs:
    """A small file system in memory with a limit of bytes and inodes."""

    def __init__(self, point: Path, size_mib: int, inodes: int = 0) -> None:
        point.mkdir(parents=True, exist_ok=True)
        self.point = point
        options = f"size={size_mib}m" + (f",nr_inodes={inodes}" if inodes else "")
        _run("mount", "-t", "tmpfs", "-o", options, "none", str(point))

    def resize(self, size_mib: int, inodes: int = 0) -> None:
        """Grow or shrink while in use."""
        options = f"remount,size={size_mib}m" + (f",nr_inodes={inodes}" if inodes else "")
        _run("mount", "-o", options, str(self.point))

    def close(self) -> None:
        """Unmount."""
        _run("umount", "-l", str(self.point))


def blocks_bytes(directory: Path) -> int:
    """Disk blocks of all files below, as `du` counts them (each inode once); files may vanish meanwhile."""
    seen: set[int] = set()
    total = 0
    waiting = [str(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        elif status.st_ino not in seen:
                            seen.add(status.st_ino)
                            total += status.st_blocks * 512
        except FileNotFoundError:
            continue
    return total
