"""Unfinished objects that nobody works on, and how a folder below `part/` goes away. Runs on the store thread.

All of an unfinished object's length is charged from the beginning, so that a download that started has its room.
"""

from __future__ import annotations

import logging
from typing import Final

from p2pstore.storage import space
from p2pstore.storage.disk import Disk, Idle
from p2pstore.storage.files import Files
from p2pstore.storage.layout import PART, TRASH
from p2pstore.wire.records import LOG_LINE_BYTES

_LOG_HEAD_BYTES: Final = 4096
log = logging.getLogger(__name__)


def data_path(name: str) -> str:
    """The data file of an unfinished object."""
    return f"{PART}/{name}/data"


def log_path(name: str) -> str:
    """The log of its pieces."""
    return f"{PART}/{name}/log"


def charge(disk: Disk, size_bytes: int, piece_bytes: int) -> int:
    """Disk blocks of data, log and folder."""
    lines = -(-size_bytes // piece_bytes) * LOG_LINE_BYTES + _LOG_HEAD_BYTES
    return (
        space.blocks(size_bytes, disk.block_bytes) + space.blocks(lines, disk.block_bytes) + disk.block_bytes
    )


def remove_idle(disk: Disk, name: str) -> int:
    """Remove one that nobody works on; returns the bytes it was charged."""
    idle = disk.idle.pop(name)
    disk.partial_bytes -= idle.charged_bytes
    remove(disk, name)
    return idle.charged_bytes


def remove(disk: Disk, name: str) -> None:
    """Remove the folder: its name at once, its files then."""
    aside = f"{TRASH}/{disk.temporary().rpartition('/')[2]}"
    try:
        disk.files.rename(f"{PART}/{name}", aside)
    except FileNotFoundError:
        return
    try:
        remove_folder(disk.files, aside)
    except OSError as error:
        log.warning("trash is left for later error=%s", error)
        disk.has_trash = True


def empty_trash(disk: Disk) -> None:
    """Remove what could not be removed before."""
    if disk.has_trash:
        empty_folder(disk.files, TRASH)
        disk.has_trash = False


def remove_folder(files: Files, path: str) -> None:
    """Remove a folder of files."""
    for name in files.names(path):
        files.unlink(f"{path}/{name}")
    files.remove_folder(path)


def empty_folder(files: Files, path: str) -> None:
    """Remove everything in a folder: files, and folders of files."""
    for name in files.names(path):
        try:
            files.unlink(f"{path}/{name}")
        except (IsADirectoryError, PermissionError):
            remove_folder(files, f"{path}/{name}")


def find_idle(disk: Disk) -> None:
    """After a start: charge every unfinished object that is there, and remember for how long it has been idle."""
    known = disk.index.idle_times()
    for name in disk.files.names(PART):
        states = [disk.files.stat(path) for path in (data_path(name), log_path(name))]
        taken = [max(one.disk_bytes, space.blocks(one.size_bytes, disk.block_bytes)) for one in states if one]
        disk.idle[name] = Idle(sum(taken) + disk.block_bytes, known.get(name, 0.0))
        disk.partial_bytes += disk.idle[name].charged_bytes


def age(disk: Disk, elapsed_s: float) -> int:
    """Let idle ones grow older by the time that an agent ran, not by a clock that may jump; returns how many went."""
    old = []
    for name, idle in disk.idle.items():
        idle.idle_s += elapsed_s
        if idle.idle_s > disk.config.partial_age_s:
            old.append(name)
    for name in old:
        remove_idle(disk, name)
    with disk.index.change():
        disk.index.set_idle_times({name: idle.idle_s for name, idle in disk.idle.items()})
    return len(old)
