"""The store thread: every change of names and rows runs here, in order. Errors leave it as ours.

A damaged index is put aside and made anew on the spot, and the call is tried again: the index is never a reason to fail.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from p2pstore.errors import CacheUnusable
from p2pstore.storage import evict, faults, opening
from p2pstore.storage.disk import Disk
from p2pstore.storage.faults import BadRow
from p2pstore.storage.threads import Lane

_FAILURES: Final = (OSError, sqlite3.Error, BadRow)
T = TypeVar("T")
log = logging.getLogger(__name__)


class Writer:
    """Runs calls on the store thread; `renewed` is called on the loop after the index was made anew."""

    def __init__(
        self, disk: Disk, cache: opening.Cache, loop: asyncio.AbstractEventLoop, renewed: Callable[[], None]
    ) -> None:
        self._disk = disk
        self._cache = cache
        self._loop = loop
        self._renewed = renewed
        self._lane = Lane("p2pstore-store", loop)

    def run(
        self,
        call: Callable[[], T],
        doing: str = "can't use the cache",
        then: Callable[[T], None] | None = None,
    ) -> asyncio.Future[T]:
        """Queue a call; on the loop, `then` gets its result even if nobody waits any more. `doing` begins an error's message."""
        return self._lane.run(partial(self.guarded, call, doing), then)

    def guarded(self, call: Callable[[], T], doing: str) -> T:
        """The result of a call, on the store thread: tried again after making room, or with a new index."""
        try:
            try:
                return call()
            except _FAILURES as error:
                if faults.is_damaged(error):
                    self.renew(error)
                elif faults.is_full(error):
                    evict.evict_to_low(self._disk)
                else:
                    raise
            return call()
        except (OSError, sqlite3.Error) as error:
            known = faults.translated(error, doing)
            if isinstance(known, CacheUnusable):
                self._disk.note_broken(known.message)
            raise known from error

    def renew(self, why: BaseException | str) -> None:
        """Put the index aside and begin a new one; what it knew is found by path until it is whole again."""
        log.error("index is damaged and will be made anew why=%s", why)
        opening.renew_index(self._disk, self._cache)
        self._loop.call_soon_threadsafe(self._renewed)

    async def close(self) -> None:
        """End the thread after what is queued."""
        await self._lane.close()
