"""Is it there, and can its bytes be trusted? The questions behind a lookup, without threads or loop.

An entry is trusted when its bytes were written in this boot (the kernel still has them as written) or are known to have
reached the disk. Everything else is a suspect: it is read whole before anybody gets it.
"""

from __future__ import annotations

import logging

from p2pstore.storage import evict, objects, reconcile
from p2pstore.storage.disk import Disk
from p2pstore.storage.index import SUSPECT, Index, Row
from p2pstore.storage.layout import Area, area_of, object_path
from p2pstore.types import Entry, Key, Version

log = logging.getLogger(__name__)


def in_index(disk: Disk, index: Index, key: Key, ver: Version | None) -> tuple[Row | None, bool]:
    """The row of a key's current version or a named one, and whether it is a suspect; on any connection's own thread."""
    row = index.current(key) if ver is None else index.version(key, ver)
    if row is None or (disk.rebuilding and row.area is Area.PUT and not _is_on_disk(disk, row)):
        return None, False
    return row, is_suspect(disk, row)


def _is_on_disk(disk: Disk, row: Row) -> bool:
    ver = None if row.current else row.entry.ver
    found = disk.read_record(Area.PUT, row.entry.key, ver)
    return found is not None and found.ver == row.entry.ver and found.root == row.entry.root


def is_suspect(disk: Disk, row: Row) -> bool:
    """Whether the bytes must be read before they are believed."""
    if row.seq == SUSPECT:
        return True
    if row.entry.boot_id == disk.boot_id:
        return False
    # Durable, but the same object may have been removed and stored again in the last moments of that boot, and the
    # index have lost both: then the file is another one, and was not flushed.
    found = disk.files.stat(object_path(row.area, row.entry.root))
    return found is not None and found.mtime_ns != row.mtime_ns


def by_path(disk: Disk, key: Key, ver: Version | None) -> Row | None:
    """While the index is being made anew: the entry by the path of its record, which gets its row now."""
    with disk.index.change():
        reconcile.freshen(disk, key, ver)
        return disk.index.current(key) if ver is None else disk.index.version(key, ver)


def is_right(disk: Disk, entry: Entry) -> bool:
    """Read an object and compare it with its name; takes long, in a worker thread."""
    return objects.is_right(disk.files, object_path(area_of(entry), entry.root), entry.root, entry.size_bytes)


def note_proof(disk: Disk, entry: Entry, *, is_right: bool) -> Entry | None:
    """A suspect was read: it is trusted from now on, or it goes; None then."""
    row = disk.index.version(entry.key, entry.ver)
    if row is None or row.entry.root != entry.root:
        return None
    found = disk.files.stat(object_path(row.area, entry.root))
    if is_right and found is not None:
        proven = row.entry.with_changes(boot_id=disk.boot_id, durable=row.area is Area.PUT)
        with disk.index.change():
            disk.index.set_proven(row, proven, disk.next_seq(), found.mtime_ns)
        disk.unflushed_bytes += 1
        return proven
    if row.area is Area.PUT:
        put_aside(disk, row.entry, "a stored result is not what it was")
        return None
    log.warning("not flushed before the last boot and not whole: dropped url=%s", entry.url)
    evict.remove_rows(disk, [row])
    disk.notify("evicted", [row.entry])
    return None


def settle(disk: Disk, entry: Entry) -> None:
    """An entry's file is gone: bring its rows and files together."""
    with disk.index.change():
        reconcile.settle(disk, area_of(entry), entry.key)


def put_aside(disk: Disk, entry: Entry, why: str) -> None:
    """A damaged object goes into quarantine, with every entry that names it."""
    log.error("object put aside root=%s url=%s why=%s", entry.root, entry.url, why)
    evict.put_aside(disk, area_of(entry), entry)
