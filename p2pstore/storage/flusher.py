"""The background of a store: flushing what was published, ageing what is unfinished, finishing what a kill cut off.

A cached copy is not flushed when it is published; it is marked durable after everything written before has reached the disk.
If a flush fails, what waited for it is dropped: its pages may be gone already, and what the disk holds instead is unknown.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import Final

from p2pstore.errors import P2PStoreError
from p2pstore.storage import evict, leftovers
from p2pstore.storage.disk import Disk
from p2pstore.storage.lock import Lock
from p2pstore.storage.threads import Pool
from p2pstore.storage.writer import Writer

AGE_STEP_S: Final = 300.0
"""How often unfinished objects grow older."""
DROPPED_AT_ONCE: Final = 256

log = logging.getLogger(__name__)


class Flusher:
    """Owns the rhythm; the work is done on the store's threads."""

    def __init__(self, disk: Disk, lock: Lock, writer: Writer, pool: Pool) -> None:
        self._disk = disk
        self._lock = lock
        self._writer = writer
        self._pool = pool
        self._wake = asyncio.Event()
        self._aged_at = disk.monotonic()

    def nudge(self) -> None:
        """Flush soon: many bytes or accesses wait."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._disk.config.flush_interval_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.flush()
            except (OSError, sqlite3.Error, P2PStoreError) as error:
                log.warning("flush put off error=%s", error)

    async def flush(self) -> bool:
        """Make everything published so far durable; False when the disk failed and what waited was dropped."""
        disk = self._disk
        upto, waiting = await self._writer.run(self._begin)
        if not waiting:
            return True
        try:
            await self._pool.run(disk.files.sync_all)
        except OSError as error:
            why = str(error)
            while await self._writer.run(lambda: _drop_unflushed(disk, upto, why)):
                pass
            return False
        await self._writer.run(lambda: self._end(upto))
        return True

    def _begin(self) -> tuple[int, int]:
        disk = self._disk
        disk.flush_touched()
        leftovers.empty_trash(disk)
        now = disk.monotonic()
        if now - self._aged_at >= min(AGE_STEP_S, disk.config.partial_age_s):
            leftovers.age(disk, now - self._aged_at)
            self._aged_at = now
        self._lock.note(disk.kept_bytes)
        waiting, disk.unflushed_bytes = disk.unflushed_bytes, 0
        return disk.last_seq, waiting

    def _end(self, upto: int) -> None:
        with self._disk.index.change():
            self._disk.index.set_durable(upto)
        self._disk.index.checkpoint()


def _drop_unflushed(disk: Disk, upto: int, why: str) -> bool:
    """Drop some of the entries that may not be on the disk as they are in memory; False when all are gone."""
    rows = disk.index.select("seq > 0 AND seq <= ?", (upto,), limit=DROPPED_AT_ONCE)
    if not rows:
        disk.note_sync_failure(why)
        return False
    evict.remove_rows(disk, rows)
    disk.notify("evicted", [row.entry for row in rows])
    return True
