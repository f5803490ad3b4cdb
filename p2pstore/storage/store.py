"""The cache of one node as the agent sees it: find, publish, keep within limits. Everything async is for the loop thread.

One thread changes names and rows (`writer`), one looks rows up, one lists, and a few move bytes. Whatever happens to the
process or the power, what is found is right: see docs/reference/disk-layout.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, Self, TypeVar

from p2pstore.config import CacheConfig
from p2pstore.errors import NoSpace, NotCached, P2PStoreError
from p2pstore.storage import (
    evict,
    faults,
    finding,
    listing,
    objects,
    opening,
    put,
    quarantine,
    resumable,
    usage,
)
from p2pstore.storage import publish as publishing
from p2pstore.storage.disk import Disk
from p2pstore.storage.flusher import Flusher
from p2pstore.storage.index import DOOMED
from p2pstore.storage.layout import area_of, object_path
from p2pstore.storage.listing import Listed, Query
from p2pstore.storage.loads import Loads
from p2pstore.storage.partial import Partial
from p2pstore.storage.reads import Reads
from p2pstore.storage.recovery import Recovery
from p2pstore.storage.resumable import PartialInfo
from p2pstore.storage.smalls import SmallFiles
from p2pstore.storage.threads import Pool
from p2pstore.storage.usage import StoreUsage
from p2pstore.storage.writer import Writer
from p2pstore.types import Draft, Entry, Key, Version

POOL_THREADS: Final = 3
"""Threads that hash and write: two keep two cores busy, the third works while another waits for the disk."""
REBUILD_WAIT_S: Final = 10.0
"""How long a large file waits for room while the index is made anew: what could be evicted is not known yet."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class Store:
    """One cache directory, owned by this process from `open` to `aclose` or its death."""

    def __init__(self, cache: opening.Cache, disk: Disk) -> None:
        self._cache = cache
        self._disk = disk
        self._started = False
        self.on_event: Callable[[str, Entry], None] | None = None
        """Told on the loop of each entry `evicted`, `quarantined` or `removed`."""

    @classmethod
    def open(
        cls, config: CacheConfig, directory: str, *, boot_id: str, clock: Callable[[], float] = time.time
    ) -> Self:
        """Open a cache directory, or make one; takes well below a second. Raises CacheUnusable or CacheLocked."""
        return cls(*opening.open_cache(config, directory, boot_id=boot_id, clock=clock))

    @property
    def directory(self) -> str:
        """Absolute path of the cache directory."""
        return self._cache.directory

    async def start(self) -> None:
        """Start the threads and the background work; entries are found from now on."""
        loop = asyncio.get_running_loop()
        disk = self._disk
        self._pool = Pool("p2pstore-bulk", POOL_THREADS)
        self._writer = Writer(disk, self._cache, loop, self._index_renewed)
        self._reads = Reads(disk, self._cache, self._writer, self._pool)
        self._smalls = SmallFiles(disk, self._writer, self._published)
        self._loads = Loads(disk, self._writer, self._pool)
        self._flusher = Flusher(disk, self._cache.lock, self._writer, self._pool)
        disk.notify = lambda kind, entries: _post(loop, self._gone, kind, entries)
        self._started = True
        self._recovery = Recovery(disk, self._cache, self._writer, self._pool)
        self._flushing = asyncio.create_task(self._flusher.run())
        self._recovery.start()

    async def aclose(self) -> None:
        """Stop. Saves a little work for the next start; nothing depends on it."""
        if self._started:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
            await self._recovery.close()
            await self._loads.close()
            await self._reads.close()
            await self._pool.close()
            try:
                await self._writer.run(lambda: opening.say_goodbye(self._disk, self._cache))
            except P2PStoreError as error:
                log.warning("last notes not written error=%s", error)
            await self._writer.close()
        opening.shut(self._cache, self._disk)

    # finding

    def hot(self, key: Key) -> Entry | None:
        """An entry that is in memory; O(1)."""
        return self._reads.hot(key)

    async def lookup(self, key: Key) -> Entry | None:
        """The current version of a key, or None; one whose bytes are in doubt after a power cut is read whole first."""
        return self._reads.hot(key) or await self._reads.lookup(key)

    async def lookup_version(self, key: Key, ver: Version) -> Entry | None:
        """A named version of a key, also a superseded one."""
        return await self._reads.lookup(key, ver)

    def open_object(self, entry: Entry) -> int:
        """A read-only descriptor, the caller's: valid for ever, evicted or not.

        Raises NotCached when the file is gone, IntegrityError when its length is wrong (it is put aside).
        """
        return self._reads.open_object(entry)

    def path_of(self, entry: Entry) -> str:
        """Absolute path of the object's file; it stays while the entry is leased."""
        return f"{self._cache.directory}/{object_path(area_of(entry), entry.root)}"

    def touch(self, entry: Entry) -> None:
        """Note that the entry was used now."""
        if not self._reads.touch(entry):
            self._flusher.nudge()

    def lease(self, entry: Entry, until: float) -> None:
        """Keep eviction away from an entry until that time on the monotonic clock."""
        self._reads.lease(entry, until)

    # publishing

    async def publish_small(
        self,
        draft: Draft,
        body: bytes | bytearray,
        *,
        verified: str = "transfer",
        digests: Mapping[str, str] | None = None,
    ) -> Entry:
        """Publish a whole body of at most SMALL_BYTES; those that come together share a transaction.

        Raises NoSpace, CacheUnusable or Overloaded. `body` must not change before it returns.
        """
        return await self._smalls.publish(draft, body, verified, digests or {})

    async def begin(self, draft: Draft, length: int | None, piece_bytes: int, *, streams: int = 4) -> Partial:
        """Start an object, or go on with one of the same version, length and strong validator.

        Its whole length is charged and allocated before this returns, or NoSpace is raised. Without a length, pieces are the
        smallest there are and room is reserved as it is needed.
        """
        return await self._with_room(lambda: self._loads.begin(draft, length, piece_bytes, streams))

    async def find_partial(self, key: Key) -> PartialInfo | None:
        """What an interrupted load of this key left, if it can be resumed."""
        # Most often nothing is left of anything: no need to ask the store thread.
        if not self._disk.idle:
            return None
        return await self._writer.run(
            lambda: resumable.find(self._disk, key), "can't read an unfinished file"
        )

    async def discard_partial(self, key: Key) -> None:
        """Remove what interrupted loads of this key left: it is of a version that is no more."""
        await self._writer.run(lambda: resumable.discard(self._disk, key), "can't remove an unfinished file")

    async def commit(
        self, partial: Partial, draft: Draft, *, verified: str, digests: Mapping[str, str]
    ) -> Entry:
        """Publish a complete object and close the partial. On error it stays the caller's, to be discarded or closed."""
        return await self._loads.commit(
            partial, draft, verified=verified, digests=digests, then=self._published
        )

    async def refresh(self, entry: Entry) -> Entry:
        """Replace the record of a stored version: new headers, times, digests. Raises NotCached."""
        return await self._writer.run(
            lambda: publishing.refresh(self._disk, entry),
            f"can't store {entry.url}",
            then=self._reads.replace,
        )

    async def import_file(self, draft: Draft, source_fd: int) -> Entry:
        """Keep a copy of a caller's local file as an ordinary entry; otherwise as `import_put`."""
        return await self.import_put(draft, source_fd, replace=True)

    async def import_put(self, name_draft: Draft, source_fd: int, *, replace: bool) -> Entry:
        """Store a caller's file under a name; on the disk, names and all, when this returns.

        The descriptor stays the caller's. Raises NameTaken, NoSpace, BadRequest or CacheUnusable; then nothing was stored.
        """
        disk, doing = self._disk, f"can't store {name_draft.url}"
        size = put.check_source(source_fd)
        job = await self._with_room(
            lambda: _awaited(
                self._writer.run(lambda: put.reserve(disk, name_draft, size, replace=replace), doing)
            )
        )
        try:
            # A descriptor of our own: the caller may close his when he gives up, and the number be another file's then.
            own_fd = os.dup(source_fd)
            await self._pool.run(lambda: put.copy(disk.files, own_fd, job))
        except BaseException as error:
            # The copy may still be running; its file goes with the next start if it can't go now.
            released = self._writer.run(lambda: put.release(disk, job))
            if not isinstance(error, asyncio.CancelledError):
                await asyncio.wait([released])
            if isinstance(error, OSError):
                raise faults.translated(error, doing) from error
            raise
        one = await self._writer.run(lambda: put.finish(disk, job, replace=replace), doing)
        if one.error is not None:
            raise one.error
        self._published(one.entry)
        return one.entry

    async def _with_room(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await call()
        except NoSpace:
            if not self._disk.rebuilding:
                raise
        await self._recovery.wait(REBUILD_WAIT_S)
        return await call()

    # removing

    async def remove(self, key: Key, ver: Version | None = None) -> int:
        """Remove one version of a key, or all of them; returns how many went. A stored result is gone for good."""
        gone = await self._writer.run(lambda: evict.remove_key(self._disk, key, ver), "can't remove")
        return len(gone)

    async def quarantine(self, entry: Entry, why: str) -> None:
        """Put a damaged object aside and drop every entry that names it."""
        self._reads.forget(entry)
        await self._writer.run(lambda: finding.put_aside(self._disk, entry, why), "can't put it aside")

    async def damaged(self, key: Key) -> str | None:
        """Where a stored result lies that was put aside, empty when it is gone by now; None: none was, of this key."""
        found = await self._writer.run(
            lambda: quarantine.damaged(self._disk, key), "can't look in quarantine"
        )
        return os.path.join(self._cache.directory, found) if found else found

    async def evict(self, needed_bytes: int = 0) -> int:
        """Evict from the high mark down to the low one, in slices, if the high one is passed; returns how many entries went."""
        total, more = 0, True
        while more:
            gone, more = await self._writer.run(
                lambda: evict.evict_slice(self._disk, needed_bytes), "can't evict"
            )
            total += gone
        return total

    # bytes

    async def was_touched(self, entry: Entry) -> bool:
        """Whether the object's file was changed since it was stored, as far as its time tells."""

        def look() -> bool:
            row = self._disk.index.version(entry.key, entry.ver)
            found = self._disk.files.stat(object_path(area_of(entry), entry.root))
            return row is not None and found is not None and row.mtime_ns != found.mtime_ns

        return await self._writer.run(look, "can't read the index")

    async def verify(self, entry: Entry) -> bool:
        """Read the object and say whether it is the one its name says; raises NotCached when it is gone."""
        files, path = self._disk.files, object_path(area_of(entry), entry.root)

        def check() -> bool | None:
            right = objects.is_right(files, path, entry.root, entry.size_bytes)
            return None if not right and files.stat(path) is None else right

        right = await self._pool.run(check)
        if right is None:
            raise NotCached(f"{entry.url} is not in the cache any more", hint="get it again")
        return right

    async def digest(self, entry_or_partial: Entry | Partial, algorithms: Iterable[str]) -> dict[str, str]:
        """Named digests of an object, complete or all of whose pieces are there, in one pass."""
        files, names = self._disk.files, list(algorithms)
        if isinstance(entry_or_partial, Partial):
            fd, length = entry_or_partial.fd(), entry_or_partial.length or 0
        else:
            fd, length = self.open_object(entry_or_partial), entry_or_partial.size_bytes

        def read() -> dict[str, str]:
            try:
                return objects.digests_of(files, fd, length, names)
            except OSError as error:
                raise faults.translated(error, "can't read the object") from error
            finally:
                files.close(fd)

        return await self._pool.run(read)

    async def digest_of(self, fd: int, algorithms: Iterable[str]) -> dict[str, str]:
        """Named digests of all that is behind a descriptor, which stays the caller's."""
        files, names, own_fd = self._disk.files, list(algorithms), os.dup(fd)

        def read() -> dict[str, str]:
            try:
                return objects.digests_of(files, own_fd, files.fstat(own_fd).size_bytes, names)
            finally:
                files.close(own_fd)

        return await self._pool.run(read)

    # listing

    async def versions(self, key: Key) -> list[Version]:
        """All versions of a key that are there."""
        return await self._reads.run_listing(
            lambda index: [row.entry.ver for row in index.versions(key) if row.seq != DOOMED]
        )

    async def entries(
        self,
        *,
        prefix: str = "",
        sort: str = "url",
        descending: bool = False,
        limit: int = listing.MAX_PAGE,
        after: str | None = None,
        versions: bool = False,
        owner: int | None = None,
    ) -> tuple[list[Listed], str | None]:
        """A page of entries and the cursor of the next one; `owner` limits it to public ones and those of a uid."""
        query = Query(
            prefix=prefix,
            sort=sort,
            descending=descending,
            limit=limit,
            after=after,
            versions=versions,
            owner=owner,
        )
        if sort == "access":
            await self._writer.run(self._disk.flush_touched)
        return await self._reads.run_listing(lambda index: listing.page(index, query))

    async def usage(self) -> StoreUsage:
        """What is used and what is left; while the disk does not say, `degraded` tells so and what is left is 0."""
        return await usage.look(self._disk, self._pool)

    # told by the threads

    def _index_renewed(self) -> None:
        self._reads.reopen()
        self._recovery.start()

    def _published(self, entry: Entry) -> None:
        self._reads.remember(entry)
        if self._disk.unflushed_bytes >= self._disk.config.flush_bytes:
            self._flusher.nudge()

    def _gone(self, kind: str, entries: list[Entry]) -> None:
        for entry in entries:
            self._reads.forget(entry)
            if self.on_event is not None:
                self.on_event(kind, entry)


def _post(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> None:
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        # The loop has ended: nobody is left to be told.
        return


async def _awaited(future: asyncio.Future[T]) -> T:
    return await future
