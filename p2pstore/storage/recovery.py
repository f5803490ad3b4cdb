"""After a start, and whenever the index was made anew: bring rows and files together, a slice at a time, while serving."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Final

from p2pstore.errors import P2PStoreError
from p2pstore.storage import opening, reconcile
from p2pstore.storage.disk import Disk
from p2pstore.storage.index import Index
from p2pstore.storage.threads import Pool
from p2pstore.storage.writer import Writer

RETRY_S: Final = 60.0
"""When it failed, it is tried again after this long."""
SOUND_CHECK_BYTES: Final = 256 << 20
"""An index up to this size is read whole after each start."""

log = logging.getLogger(__name__)


class Recovery:
    """The one task that does it; belongs to the loop thread."""

    def __init__(self, disk: Disk, cache: opening.Cache, writer: Writer, pool: Pool) -> None:
        self._disk = disk
        self._cache = cache
        self._writer = writer
        self._pool = pool
        self._done = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, unless it is running: then it notices by itself that the index is another one."""
        self._done.clear()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def wait(self, seconds: float) -> None:
        """Wait until the index is whole, or for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._done.wait()
        except TimeoutError:
            log.info("the index is still being made anew")

    async def close(self) -> None:
        """Give up; the next start goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            index = self._disk.index
            try:
                await self._once(index)
            # A renewal in the middle ends a generator in whatever way; the loop begins anew with the new index.
            except (P2PStoreError, RuntimeError) as error:
                log.warning("recovery put off error=%s", error)
                if index is self._disk.index:
                    await asyncio.sleep(RETRY_S)
                continue
            if index is self._disk.index:
                return

    async def _once(self, index: Index) -> None:
        disk = self._disk
        began = disk.monotonic()
        await self._all(reconcile.unsettled(disk))
        if disk.rebuilding:
            await self._all(reconcile.scan(disk))
            seconds = disk.monotonic() - began
            log.info("index agrees with the files entries=%d seconds=%.1f", disk.index.entries, seconds)
        if index is disk.index and not disk.rebuilding:
            await self._writer.run(lambda: opening.mark_complete(disk, self._cache))
            self._done.set()
        if not await self._pool.run(lambda: opening.is_sound(self._cache, SOUND_CHECK_BYTES)):
            await self._writer.run(lambda: self._renew(index))

    async def _all(self, steps: Iterator[int]) -> None:
        while await self._writer.run(lambda: next(steps, None)) is not None:
            pass

    def _renew(self, index: Index) -> None:
        if index is self._disk.index:
            self._writer.renew("a check of the whole index failed")
