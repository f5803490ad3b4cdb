"""Planted bugs: bytes or names are acknowledged before they are safe."""

from __future__ import annotations

import os
import stat


def no_fsync() -> None:
    """Nothing is synced."""
    os.fsync = os.fdatasync = lambda fd: None


def no_file_fsync() -> None:
    """Directories are synced, files are not."""
    real = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            real(fd)

    os.fsync = os.fdatasync = fsync  # type: ignore[assignment]


def no_directory_fsync() -> None:
    """Files are synced, the directories that name them are not."""
    real = os.fsync

    def fsync(fd: int) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            real(fd)

    os.fsync = fsync  # type: ignore[assignment]
