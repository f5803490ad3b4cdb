"""Giving complete objects their names, many in one transaction. Runs on the store thread.

In order: everything is written to `tmp/`; the rows are committed; the files get their names, the object's before the record's;
for stored results each folder is flushed in turn, and only then anybody is told. A failure leaves the entries that were there before.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass, field
from typing import Final

from p2pstore.errors import CacheUnusable, NameTaken, NoSpace, NotCached, P2PStoreError
from p2pstore.storage import evict, faults, reconcile
from p2pstore.storage.disk import Disk
from p2pstore.storage.files import Data
from p2pstore.storage.index import Row
from p2pstore.storage.layout import Area, area_of, manifest_path, object_mode, object_path, record_path
from p2pstore.types import Entry
from p2pstore.wire.records import encode_record

INODES: Final = 3
"""An object, its manifest, its record."""
log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Publication:
    """An entry to be published: its bytes are in memory (`body`) or in a file of ours (`source`), complete and checked."""

    entry: Entry
    body: Data | None = None
    source: str = ""
    manifest: bytes = b""
    reserved_bytes: int = 0
    """What was charged before for `source`; its owner gives that back afterwards."""
    create_only: bool = False
    error: BaseException | None = None
    """Why it was not published."""

    row: Row | None = None
    replaced: Row | None = None
    superseded: Row | None = None
    record: bytes = b""
    data_path: str = ""
    mtime_ns: int = 0
    temporary: list[str] = field(default_factory=list)

    @property
    def is_durable(self) -> bool:
        """Whether it must be on the disk before anybody is told."""
        return self.entry.is_put


def publish(disk: Disk, batch: list[Publication]) -> None:
    """Publish what can be; each of the others gets its `error`. A damaged index is raised, with nothing changed."""
    for one in batch:
        one.error = None
    again = _attempt(disk, batch)
    if again:
        if any(one.error is not None and faults.is_full(one.error) for one in again):
            _evict_to_low(disk)
        for one in again:
            one.error = None
            _attempt(disk, [one])
    broken = ""
    for one in batch:
        if isinstance(one.error, OSError | sqlite3.Error):
            one.error = faults.translated(one.error, f"can't store {one.entry.url}")
            if isinstance(one.error, CacheUnusable):
                broken = one.error.message
    if broken:
        disk.note_broken(broken)
    elif any(one.error is None for one in batch):
        disk.note_usable()


def _evict_to_low(disk: Disk) -> None:
    try:
        evict.evict_to_low(disk)
    except (OSError, sqlite3.Error) as error:
        if faults.is_damaged(error):
            raise
        log.warning("eviction failed on a full disk error=%s", error)


def _attempt(disk: Disk, batch: list[Publication]) -> list[Publication]:
    """Try once; returns those for which a second try makes sense."""
    try:
        disk.check_usable()
        _reserve(disk, batch)
        _enter_all(disk, batch)
    except (OSError, sqlite3.Error, P2PStoreError) as error:
        for one in batch:
            _unstage(disk, one)
            one.error = error
        if faults.is_damaged(error):
            raise
        alone = len(batch) == 1
        return batch if faults.is_full(error) or (isinstance(error, NoSpace) and not alone) else []
    for one in batch:
        if one.error is None:
            _name(disk, one)
        else:
            _unstage(disk, one)
    _make_durable(disk, [one for one in batch if one.is_durable and one.error is None])
    return [one for one in batch if one.error is not None and faults.is_full(one.error)]


def _reserve(disk: Disk, batch: list[Publication]) -> None:
    needed = 0
    for one in batch:
        one.record = encode_record(one.entry)
        entry = one.entry
        needed += disk.object_charge(entry.size_bytes, entry.piece_bytes) + disk.extra_charge(one.record)
        needed -= one.reserved_bytes
    evict.make_room(disk, max(needed, 0), INODES * len(batch))


def _enter_all(disk: Disk, batch: list[Publication]) -> None:
    for one in batch:
        _stage(disk, one)
    grown = 0
    with disk.index.change():
        for one in batch:
            grown += _enter(disk, one)
    disk.floor_bytes += grown
    disk.unflushed_bytes += sum(one.entry.size_bytes + disk.block_bytes for one in batch)


def _stage(disk: Disk, one: Publication) -> None:
    """Write what is still in memory to `tmp/`."""
    mode = object_mode(area_of(one.entry))
    if one.body is not None:
        one.data_path = _write(disk, one, one.body, mode)
    else:
        found = disk.files.stat(one.source)
        if found is None:
            raise CacheUnusable(f"the data of {one.entry.url} is gone", hint="ask again")
        one.data_path, one.mtime_ns = one.source, found.mtime_ns
    if one.manifest:
        _write(disk, one, one.manifest, mode)
    _write(disk, one, one.record, 0o600)


def _write(disk: Disk, one: Publication, data: Data, mode: int) -> str:
    path = disk.temporary()
    mtime_ns = disk.write_file(path, data, mode, sync=one.is_durable)
    # The data's time of writing, which is the first file's, tells later whether it is still the same file.
    one.mtime_ns = one.mtime_ns or mtime_ns
    one.temporary.append(path)
    return path


def _unstage(disk: Disk, one: Publication) -> None:
    for path in one.temporary:
        disk.discard(path)
    one.temporary = []
    one.mtime_ns = 0
    one.row = one.replaced = one.superseded = None


def _enter(disk: Disk, one: Publication) -> int:
    """Add the row, in a transaction; returns by how much the sum of all entries grew."""
    entry, index = one.entry, disk.index
    if disk.rebuilding:
        reconcile.freshen(disk, entry.key, entry.ver)
    before = index.entry_bytes
    now = index.current(entry.key)
    if one.create_only and now is not None:
        one.error = NameTaken(f"{entry.url} exists", hint="choose another name, or replace it (--replace)")
        return 0
    one.replaced = index.version(entry.key, entry.ver)
    if one.replaced is not None:
        index.delete(one.replaced)
    if now is not None and now.entry.ver != entry.ver:
        index.set_current(now, False)
        one.superseded = now
    one.row = index.insert(
        entry,
        current=True,
        seq=disk.next_seq(),
        access=disk.tick(),
        object_bytes=disk.object_charge(entry.size_bytes, entry.piece_bytes),
        extra_bytes=disk.extra_charge(one.record),
        mtime_ns=one.mtime_ns,
        record=one.record,
    )
    return index.entry_bytes - before


def _name(disk: Disk, one: Publication) -> None:
    """Give the files their names; on failure everything is as before."""
    try:
        _place(disk, one)
    except OSError as error:
        one.error = error
        _undo(disk, one)
    else:
        one.temporary = []


def _place(disk: Disk, one: Publication) -> None:
    entry, files = one.entry, disk.files
    area = area_of(entry)
    *manifest, record = [path for path in one.temporary if path != one.data_path]
    files.rename(one.data_path, object_path(area, entry.root))
    if manifest:
        files.rename(manifest[0], manifest_path(area, entry.root))
    if one.is_durable:
        # Before the record gets its name: after a power cut that name must not lead to nothing, in place of an older result.
        files.sync_folder(_folder(object_path(area, entry.root)))
    current = record_path(area, entry.key)
    if one.superseded is not None:
        _keep_superseded(disk, current, record_path(area, entry.key, one.superseded.entry.ver))
    files.rename(record, current)
    replaced = one.replaced
    if replaced is not None:
        if not replaced.current:
            files.unlink(record_path(area, entry.key, entry.ver))
        if replaced.entry.root != entry.root and not disk.index.is_held(area, replaced.entry.root):
            disk.unlink_object(area, replaced.entry.root)


def _keep_superseded(disk: Disk, current: str, path: str) -> None:
    try:
        disk.files.link(current, path)
    except FileExistsError:
        # Left by a publication that was cut off: it may be of an older answer of that version.
        disk.files.unlink(path)
        disk.files.link(current, path)
    except FileNotFoundError:
        # The record was lost; the index still knows the entry.
        return


def _undo(disk: Disk, one: Publication) -> None:
    area = area_of(one.entry)
    try:
        with disk.index.change():
            if one.row is not None:
                disk.index.delete(one.row)
            if one.superseded is not None:
                disk.index.set_current(one.superseded, True)
            reconcile.settle(disk, area, one.entry.key)
        if disk.is_free(area, one.entry.root):
            if one.source and disk.files.stat(one.source) is None:
                # It goes back to whoever brought it, for another try.
                disk.files.rename(object_path(area, one.entry.root), one.source)
            disk.unlink_object(area, one.entry.root)
    except (OSError, sqlite3.Error) as error:
        # The next start brings rows and files together again.
        log.error("half a publication stays url=%s error=%s", one.entry.url, error)
    _unstage(disk, one)


def _make_durable(disk: Disk, batch: list[Publication]) -> None:
    """Flush the names of stored results; one whose names may be lost was not published."""
    for one in batch:
        entry = one.entry
        try:
            disk.files.sync_folder(_folder(record_path(Area.PUT, entry.key)))
        except OSError as error:
            disk.note_sync_failure(f"{entry.url}: {error}")
            one.error = error
            _undo_put(disk, one)
            continue
        try:
            with disk.index.change():
                disk.index.set_seq([one.row] if one.row else [], 0)
        except sqlite3.Error as error:
            # It is on the disk, and the next flush says so too.
            log.warning("index can't be written error=%s", error)


def _undo_put(disk: Disk, one: Publication) -> None:
    """Take a result back that may be lost; the one before it keeps its name."""
    entry = one.entry
    path = record_path(Area.PUT, entry.key)
    if one.superseded is None and one.replaced is not None:
        # The same bytes were there under this name already: nothing to take back.
        return
    try:
        if one.superseded is not None:
            disk.files.rename(record_path(Area.PUT, entry.key, one.superseded.entry.ver), path)
        else:
            disk.files.unlink(path)
        _undo(disk, one)
    except OSError as error:
        log.error("a result that was not acknowledged stays url=%s error=%s", entry.url, error)


def refresh(disk: Disk, entry: Entry) -> Entry:
    """Replace the record of a stored version; object, boot and time of storing stay. Raises NotCached."""
    if disk.rebuilding:
        with disk.index.change():
            reconcile.freshen(disk, entry.key, entry.ver)
    row = disk.index.version(entry.key, entry.ver)
    if row is None:
        raise NotCached(f"{entry.url} is not stored in this version", hint="get it first")
    old = row.entry
    area = row.area
    new = entry.with_changes(
        root=old.root,
        size_bytes=old.size_bytes,
        piece_bytes=old.piece_bytes,
        boot_id=old.boot_id,
        stored_at=old.stored_at,
        durable=area is Area.PUT,
    )
    record = encode_record(new)
    path = record_path(area, new.key, None if row.current else new.ver)
    temporary = disk.temporary()
    disk.write_file(temporary, record, 0o600, sync=area is Area.PUT)
    before = disk.index.entry_bytes
    try:
        with disk.index.change():
            disk.index.replace_record(row, record, disk.extra_charge(record))
        disk.files.rename(temporary, path)
    except BaseException:
        disk.discard(temporary)
        raise
    disk.floor_bytes += disk.index.entry_bytes - before
    if area is Area.PUT:
        disk.files.sync_folder(_folder(path))
    return new.with_changes(durable=old.durable)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
