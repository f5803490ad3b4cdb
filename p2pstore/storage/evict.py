"""Removing entries and making room; runs on the store thread, in slices, so that publishing gets its turn in between.

A victim's row is first marked as doomed, then its files go, then the row: after a kill in between the next start finishes it.
Readers with a descriptor are not disturbed; the blocks are free when the last of them closes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from p2pstore.cache import eviction
from p2pstore.cache.eviction import Candidate, Goal, Marks
from p2pstore.errors import NoSpace
from p2pstore.storage import leftovers, quarantine, reconcile
from p2pstore.storage.disk import Disk
from p2pstore.storage.index import DOOMED, Row
from p2pstore.storage.layout import Area, record_path
from p2pstore.types import Entry, Key, Version

SLICE: Final = 64
"""Entries removed in one transaction; about 5 ms."""
ROUNDS: Final = 3
"""Some file systems give blocks back late; how often it is looked whether what went was enough."""


def make_room(disk: Disk, needed_bytes: int, needed_inodes: int) -> None:
    """Evict until so much more fits into quota and file system; raises NoSpace when it never will."""
    if needed_bytes > disk.quota_bytes:
        raise NoSpace(
            f"{needed_bytes} bytes don't fit into a cache of {disk.quota_bytes}", hint="raise cache.size"
        )
    tight = Marks(1.0, 1.0, disk.marks.free_bytes, disk.marks.free_inodes_ratio)
    for _ in range(ROUNDS):
        goal = eviction.goal(disk.usage(), tight, needed_bytes, needed_inodes)
        if goal is None:
            return
        if not _gone(disk, goal) and not _drop_others(disk, goal) and not _gone(disk, goal, leased=True):
            break
    if eviction.goal(disk.usage(), tight, needed_bytes, needed_inodes) is not None:
        raise NoSpace(
            f"no room for {needed_bytes} bytes: quota {disk.quota_bytes}, used {disk.used_bytes}",
            hint="raise cache.size, free disk space or remove stored results",
        )


def evict_slice(disk: Disk, needed_bytes: int = 0) -> tuple[int, bool]:
    """Remove one slice towards the low mark: how many entries went, and whether more have to."""
    disk.flush_touched()
    goal = eviction.goal(disk.usage(), _down_to_low(disk, needed_bytes), needed_bytes)
    if goal is None:
        return 0, False
    gone = len(next(_victims(disk, goal), ()))
    if not gone:
        _drop_others(disk, goal)
    return gone, gone > 0


def evict_to_low(disk: Disk) -> None:
    """Go down to the low mark at once: the disk said that it is full, whatever our sums are."""
    disk.flush_touched()
    keep = int(min(disk.used_bytes, disk.quota_bytes) * disk.marks.low_ratio)
    goal = Goal(max(disk.used_bytes - keep, 1), eviction.INODES_PER_ENTRY)
    for _ in _victims(disk, goal):
        pass


def _down_to_low(disk: Disk, needed_bytes: int) -> Marks:
    # Once begun, eviction goes on below the high mark: each slice is asked for anew.
    begun = disk.used_bytes + needed_bytes > disk.quota_bytes * disk.marks.high_ratio
    if begun:
        disk.evicting = True
    if not disk.evicting:
        return disk.marks
    low = Marks(
        disk.marks.low_ratio, disk.marks.low_ratio, disk.marks.free_bytes, disk.marks.free_inodes_ratio
    )
    if disk.used_bytes + needed_bytes <= disk.quota_bytes * disk.marks.low_ratio:
        disk.evicting = False
    return low


def _gone(disk: Disk, goal: Goal, *, leased: bool = False) -> int:
    """Remove what the plan names; returns how many entries went."""
    return sum(len(slice_) for slice_ in _victims(disk, goal, leased=leased))


def _victims(disk: Disk, goal: Goal, *, leased: bool = False) -> Iterator[list[Row]]:
    """Remove what the plan names, slice by slice.

    `leased` ones go only when a load has no room otherwise: whoever has the path asks again, whoever gets nothing can't go on.
    """
    rows: dict[tuple[Key, Version], Row] = {}
    planned = eviction.plan(_candidates(disk, rows, leased=leased), goal)
    while chosen := list(islice(planned, SLICE)):
        victims = [rows.pop((one.key, one.ver)) for one in chosen]
        remove_rows(disk, victims)
        disk.notify("evicted", [row.entry for row in victims])
        yield victims


def _candidates(disk: Disk, rows: dict[tuple[Key, Version], Row], *, leased: bool) -> Iterator[Candidate]:
    """Entries, the one used longest ago first; `rows` gets the row of each that may be chosen."""
    after = (-1, 0)
    where = f"seq != {DOOMED} AND (access, id) > (?, ?) AND NOT (area = {int(Area.PUT)} AND current = 1)"
    while page := disk.index.select(where, after, order="access, id", limit=SLICE):
        for row in page:
            if not leased and disk.is_leased(row):
                continue
            entry = row.entry
            rows[entry.key, entry.ver] = row
            yield Candidate(
                entry.key, entry.ver, row.object_bytes + row.extra_bytes, row.access, protected=False
            )
        after = (page[-1].access, page[-1].id)


def _drop_others(disk: Disk, goal: Goal) -> bool:
    """Without entries left to evict, damaged objects and the longest idle unfinished ones go."""
    freed = disk.quarantine_bytes
    if freed:
        quarantine.trim(disk, 0)
    for name in sorted(disk.idle, key=lambda name: disk.idle[name].idle_s, reverse=True):
        if freed > goal.free_bytes:
            break
        freed += leftovers.remove_idle(disk, name)
    return freed > 0


def remove_rows(disk: Disk, rows: list[Row]) -> None:
    """Remove entries and the objects that no other entry names; stored results are gone for good when it returns."""
    if not rows:
        return
    with disk.index.change():
        disk.index.set_seq(rows, DOOMED)
    finish_doomed(disk, rows)


def finish_doomed(disk: Disk, rows: list[Row]) -> None:
    """Remove the files of doomed rows, then the rows."""
    before = disk.index.entry_bytes
    folders = set()
    with disk.index.change():
        for row in rows:
            key, area = row.entry.key, row.area
            path = record_path(area, key, None if row.current else row.entry.ver)
            disk.files.unlink(path)
            if area is Area.PUT:
                folders.add(path.rpartition("/")[0])
            if disk.index.delete(row) and disk.is_free(area, row.entry.root):
                disk.unlink_object(area, row.entry.root)
    disk.floor_bytes -= before - disk.index.entry_bytes
    for folder in folders:
        disk.files.sync_folder(folder)


def remove_key(disk: Disk, key: Key, ver: Version | None) -> list[Entry]:
    """Remove one version of a key or all of them, with what is unfinished; returns the entries that went."""
    if disk.rebuilding:
        with disk.index.change():
            reconcile.adopt_all(disk, key)
    rows = [row for row in disk.index.versions(key) if ver is None or row.entry.ver == ver]
    remove_rows(disk, rows)
    for name in [name for name in disk.idle if name.startswith(key)]:
        if ver is None or name.endswith(ver):
            leftovers.remove_idle(disk, name)
    gone = [row.entry for row in rows if row.seq != DOOMED]
    disk.notify("removed", gone)
    return gone


def put_aside(disk: Disk, area: Area, entry: Entry) -> list[Entry]:
    """Move a damaged object aside and drop every entry that names it; returns those."""
    rows = disk.index.holders(area, entry.root)
    quarantine.move(disk, area, entry.root)
    for row in rows:
        if area is Area.PUT and row.current and row.seq != DOOMED:
            quarantine.note(disk, entry.root, row.entry.key)
    remove_rows(disk, rows)
    quarantine.trim(disk)
    gone = [row.entry for row in rows if row.seq != DOOMED]
    disk.notify("quarantined", gone)
    return gone
