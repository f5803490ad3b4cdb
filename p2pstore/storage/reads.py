"""Finding entries and opening objects: from memory, else from the index on a thread of its own, else by the record's path.

Reads never wait for eviction, publishing or a flush. An entry of another boot that was not flushed is read whole first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from p2pstore.errors import CacheUnusable, IntegrityError, NotCached
from p2pstore.storage import faults, finding, objects, opening
from p2pstore.storage.disk import MAX_LEASES, MAX_TOUCHED, Disk
from p2pstore.storage.faults import BadRow
from p2pstore.storage.index import SUSPECT, Index, Row
from p2pstore.storage.layout import Area, area_of, object_path
from p2pstore.storage.threads import Lane, Pool
from p2pstore.storage.writer import Writer
from p2pstore.types import Entry, Key, Root, Version

HOT_ENTRIES: Final = 8192
"""Entries kept in memory, the last used; about 2 KB each."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class Reads:
    """Everything that only looks; belongs to the loop thread."""

    def __init__(self, disk: Disk, cache: opening.Cache, writer: Writer, pool: Pool) -> None:
        self._disk = disk
        self._cache = cache
        self._writer = writer
        self._pool = pool
        self._hot: OrderedDict[Key, Entry] = OrderedDict()
        self._changes = 0
        self._proofs: dict[tuple[Area, Root], asyncio.Task[bool]] = {}
        self._errands: set[asyncio.Future[None]] = set()
        loop = asyncio.get_running_loop()
        self._lanes = {name: Lane(f"p2pstore-{name}", loop) for name in ("lookup", "list")}
        self._indexes = {name: Index.open_for_reading(cache.index_path) for name in self._lanes}

    async def close(self) -> None:
        """End the threads and what runs in the background."""
        for task in list(self._proofs.values()):
            task.cancel()
        await asyncio.gather(*self._proofs.values(), *self._errands, return_exceptions=True)
        for name, lane in self._lanes.items():
            await lane.close()
            self._indexes[name].close()

    # memory

    def hot(self, key: Key) -> Entry | None:
        """An entry that was used lately."""
        entry = self._hot.get(key)
        if entry is not None:
            self._hot.move_to_end(key)
        return entry

    def remember(self, entry: Entry) -> None:
        """This is a key's current version from now on."""
        self._changes += 1
        self._keep(entry)

    def forget(self, entry: Entry) -> None:
        """This version is not to be found any more."""
        self._changes += 1
        kept = self._hot.get(entry.key)
        if kept is not None and kept.ver == entry.ver:
            del self._hot[entry.key]

    def replace(self, entry: Entry) -> None:
        """A version's record changed."""
        kept = self._hot.get(entry.key)
        if kept is not None and kept.ver == entry.ver:
            self.remember(entry)
        else:
            self._changes += 1

    def _keep(self, entry: Entry) -> None:
        self._hot[entry.key] = entry
        self._hot.move_to_end(entry.key)
        if len(self._hot) > HOT_ENTRIES:
            self._hot.popitem(last=False)

    # index

    async def lookup(self, key: Key, ver: Version | None = None) -> Entry | None:
        """The current version of a key, or a named one; None when there is none that can be trusted."""
        changes = self._changes
        row, is_suspect = await self._query(key, ver)
        if ver is None and (newer := self._hot.get(key)) is not None:
            # It came while the index was asked: whoever was told "not there" would fetch it once more.
            return newer
        if row is None and self._disk.rebuilding:
            row = await self._writer.run(
                lambda: finding.by_path(self._disk, key, ver), "can't read the cache"
            )
            is_suspect = row is not None and row.seq == SUSPECT
        if row is None:
            return None
        entry = await self._prove(row) if is_suspect else row.entry
        # Something that changed meanwhile may be newer than what was read.
        if entry is not None and ver is None and changes == self._changes:
            self._keep(entry)
        return entry

    async def _query(self, key: Key, ver: Version | None) -> tuple[Row | None, bool]:
        try:
            index = self._indexes
            return await self._lanes["lookup"].run(
                lambda: finding.in_index(self._disk, index["lookup"], key, ver)
            )
        except (sqlite3.Error, BadRow, OSError) as error:
            if not faults.is_damaged(error):
                log.warning("index can't be read error=%s", error)
        # The store thread has the same trouble, and makes a new index.
        return await self._writer.run(
            lambda: finding.in_index(self._disk, self._disk.index, key, ver), "can't read the index"
        )

    async def run_listing(self, call: Callable[[Index], T]) -> T:
        """Run a question on a thread and connection of its own: a long listing holds up no lookup."""
        try:
            return await self._lanes["list"].run(lambda: call(self._indexes["list"]))
        except (sqlite3.Error, BadRow) as error:
            if self._is_index_gone():
                await self._writer.run(lambda: self._writer.renew("its file is gone"))
            elif not faults.is_damaged(error):
                raise CacheUnusable(f"can't read the index: {error}", hint="try again") from error
        return await self._writer.run(lambda: call(self._disk.index), "can't read the index")

    def _is_index_gone(self) -> bool:
        return not os.path.exists(self._cache.index_path)

    def reopen(self) -> None:
        """The index was made anew: what is known in memory stays true, the connections don't."""
        for name, lane in self._lanes.items():
            self._keep_errand(lane.run(lambda name=name: self._reconnect(name)))  # type: ignore[misc]

    def _reconnect(self, name: str) -> None:
        self._indexes[name].close()
        self._indexes[name] = Index.open_for_reading(self._cache.index_path)

    # suspects

    async def _prove(self, row: Row) -> Entry | None:
        """Read a suspect's object; its entry if the bytes are right, else it is dropped."""
        entry, name = row.entry, (row.area, row.entry.root)
        task = self._proofs.get(name)
        if task is None:
            task = asyncio.create_task(self._read_again(row))
            self._proofs[name] = task
            task.add_done_callback(lambda _: self._proofs.pop(name, None))
        is_right = await asyncio.shield(task)
        return await self._writer.run(lambda: finding.note_proof(self._disk, entry, is_right=is_right))

    async def _read_again(self, row: Row) -> bool:
        path, entry = object_path(row.area, row.entry.root), row.entry
        return await self._pool.run(
            lambda: objects.is_right(self._disk.files, path, entry.root, entry.size_bytes)
        )

    # objects

    def open_object(self, entry: Entry) -> int:
        """A read-only descriptor of the object, the caller's; raises NotCached or IntegrityError."""
        files = self._disk.files
        try:
            fd = files.open_read(object_path(area_of(entry), entry.root))
        except FileNotFoundError:
            self._settle_later(entry)
            raise NotCached(f"{entry.url} is not in the cache any more", hint="get it again") from None
        except OSError as error:
            raise faults.translated(error, f"can't open {entry.url}") from error
        if files.size(fd) == entry.size_bytes:
            return fd
        files.close(fd)
        self._quarantine_later(entry)
        raise IntegrityError(
            f"{entry.url} is damaged in the cache: wrong length", hint="it was put aside; get it again"
        )

    def touch(self, entry: Entry) -> bool:
        """Note that the entry was used; False when it is time to write the notes down."""
        touched = self._disk.touched
        if len(touched) < MAX_TOUCHED:
            touched[entry.key, entry.ver] = self._disk.tick()
            return True
        return False

    def lease(self, entry: Entry, until: float) -> None:
        """Keep eviction away from an entry until that time on the monotonic clock."""
        leases = self._disk.leases
        name = entry.key, entry.ver
        # The newest stands last; when there are too many the oldest gives way, which has the least left.
        until = max(until, leases.pop(name, until))
        if len(leases) >= MAX_LEASES:
            del leases[next(iter(leases))]
        leases[name] = until

    def _settle_later(self, entry: Entry) -> None:
        self.forget(entry)
        self._keep_errand(self._writer.run(lambda: finding.settle(self._disk, entry)))

    def _quarantine_later(self, entry: Entry) -> None:
        self.forget(entry)
        self._keep_errand(self._writer.run(lambda: finding.put_aside(self._disk, entry, "wrong length")))

    def _keep_errand(self, errand: asyncio.Future[None]) -> None:
        self._errands.add(errand)
        errand.add_done_callback(self._errand_done)

    def _errand_done(self, errand: asyncio.Future[None]) -> None:
        self._errands.discard(errand)
        if not errand.cancelled() and (error := errand.exception()) is not None:
            log.warning("index can't be brought up to date error=%s", error)
