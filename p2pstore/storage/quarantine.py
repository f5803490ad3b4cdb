"""Where damaged objects are kept for the operator, and which stored results were among them.

A cached file is fetched again, but a result has nowhere to come from: a note in the name of an empty file, `ROOT.KEY`, keeps
"it was damaged" apart from "it was never stored", until something is stored under the name again.
"""

from __future__ import annotations

from typing import Final

from p2pstore.storage.disk import Disk
from p2pstore.storage.layout import QUARANTINE, Area, object_path
from p2pstore.types import Key, Root

MAX_OBJECTS: Final = 8
"""Damaged objects kept; others go."""
MAX_NOTES: Final = 1000
"""Results whose damage is remembered."""


def move(disk: Disk, area: Area, root: Root) -> None:
    """Move a damaged object aside; it must not be gone yet for anybody to find it there."""
    path = object_path(area, root)
    found = disk.files.stat(path)
    if found is not None:
        disk.files.rename(path, f"{QUARANTINE}/{root}")
        disk.quarantine_bytes += found.disk_bytes


def note(disk: Disk, root: Root, key: Key) -> None:
    """Remember that this result was damaged."""
    if len(_notes(disk)) < MAX_NOTES:
        forget(disk, key)
        disk.files.close(disk.files.create(f"{QUARANTINE}/{root}.{key}"))
        disk.files.sync_folder(QUARANTINE)


def damaged(disk: Disk, key: Key) -> str | None:
    """Where a result that was damaged lies below the cache directory, empty when only the note is left; None: it was not."""
    for name in _notes(disk):
        root, _, of = name.partition(".")
        if of == key:
            path = f"{QUARANTINE}/{root}"
            return "" if disk.files.stat(path) is None else path
    return None


def forget(disk: Disk, key: Key) -> None:
    """The result was stored again."""
    for name in _notes(disk):
        if name.endswith(f".{key}"):
            disk.files.unlink(f"{QUARANTINE}/{name}")


def trim(disk: Disk, keep: int = MAX_OBJECTS) -> None:
    """Keep so many of the damaged objects."""
    names = _objects(disk)
    for name in names[: max(len(names) - keep, 0)]:
        disk.files.unlink(f"{QUARANTINE}/{name}")
    disk.quarantine_bytes = measure(disk)


def measure(disk: Disk) -> int:
    """Disk blocks of the damaged objects."""
    states = (disk.files.stat(f"{QUARANTINE}/{name}") for name in _objects(disk))
    return sum(state.disk_bytes for state in states if state is not None)


def _objects(disk: Disk) -> list[str]:
    return [name for name in disk.files.names(QUARANTINE) if "." not in name]


def _notes(disk: Disk) -> list[str]:
    return [name for name in disk.files.names(QUARANTINE) if "." in name]
