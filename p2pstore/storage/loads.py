"""Large files on their way: beginning or resuming an unfinished object, committing it, or leaving it for another try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from p2pstore.errors import CacheUnusable, P2PStoreError
from p2pstore.storage import objects, unfinished
from p2pstore.storage.blocks import Blocks
from p2pstore.storage.disk import Disk
from p2pstore.storage.layout import area_of, object_mode, object_path
from p2pstore.storage.partial import Partial
from p2pstore.storage.publish import Publication, publish
from p2pstore.storage.threads import Pool
from p2pstore.storage.unfinished import Work
from p2pstore.storage.writer import Writer
from p2pstore.swarm import pieces
from p2pstore.types import Draft, Entry


class Loads:
    """All unfinished objects that are being worked on."""

    def __init__(self, disk: Disk, writer: Writer, pool: Pool) -> None:
        self._disk = disk
        self._writer = writer
        self._pool = pool
        self._blocks = Blocks()
        self._open: set[Partial] = set()

    async def begin(self, draft: Draft, length: int | None, piece_bytes: int, streams: int) -> Partial:
        """Start an object or go on with it; raises NoSpace."""
        # What has no length yet is logged in the smallest pieces: any later piece size is made of those.
        each = piece_bytes if length is not None else pieces.MIN_PIECE_BYTES
        future = self._writer.run(lambda: self._prepare(draft, length, each), f"can't store {draft.url}")
        try:
            work = await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(self._park_unwanted)
            raise
        try:
            if work.must_recheck:
                good = await self._pool.run(lambda: unfinished.recheck(self._disk.files, work))
                await self._writer.run(lambda: unfinished.rewrite_log(self._disk, work, good))
        except BaseException:
            self._park_later(work)
            raise
        partial = Partial(work, self._disk.files, self._pool, self._blocks, streams=streams)
        partial.on_error = self._note_error
        partial.on_end = self._end
        partial.grow = lambda done: self._grow(partial, done)
        self._open.add(partial)
        return partial

    async def commit(
        self,
        partial: Partial,
        draft: Draft,
        *,
        verified: str,
        digests: Mapping[str, str],
        then: Callable[[Entry], None],
    ) -> Entry:
        """Publish a complete object; `then` is called on the loop even if the caller is gone by then."""
        await partial.drain()
        nodes, size = partial.nodes(), partial.length or 0
        entry = draft.entry(
            objects.root_of_nodes(nodes, size),
            size,
            pieces.piece_bytes(size),
            stored_at=self._disk.clock(),
            boot_id=self._disk.boot_id,
            verified=verified,
            digests=dict(digests),
        )

        def done(_: None) -> None:
            self._open.discard(partial)
            then(entry)

        await self._writer.run(
            lambda: self._commit(partial, entry, nodes), f"can't store {draft.url}", then=done
        )
        return entry

    async def close(self) -> None:
        """Leave everything for another try."""
        for partial in list(self._open):
            await partial.close()

    def _prepare(self, draft: Draft, length: int | None, piece_bytes: int) -> Work:
        self._disk.check_usable()
        return unfinished.prepare(self._disk, draft, length, piece_bytes)

    def _commit(self, partial: Partial, entry: Entry, nodes: list[bytes]) -> None:
        disk, work, area = self._disk, partial.work, area_of(entry)
        if work.log.header.length is None:
            disk.files.truncate(work.data_fd, entry.size_bytes)
        disk.files.chmod(work.data_fd, object_mode(area))
        one = Publication(
            entry,
            source=partial.path,
            manifest=objects.manifest_of(nodes),
            reserved_bytes=work.charged_bytes,
        )
        publish(disk, [one])
        if one.error is not None:
            raise one.error
        partial.path = object_path(area, entry.root)
        unfinished.shut(disk, work)
        unfinished.release(disk, work)

    async def _end(self, partial: Partial, *, keep: bool) -> None:
        work = partial.work
        if partial not in self._open:
            return
        self._open.discard(partial)
        end = unfinished.park if keep else unfinished.release

        def job() -> None:
            unfinished.shut(self._disk, work)
            end(self._disk, work)

        await self._writer.run(job, f"can't put {partial.draft.url} away")

    def _park_unwanted(self, future: asyncio.Future[Work]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._park_later(future.result())

    def _park_later(self, work: Work) -> None:
        def job() -> None:
            unfinished.shut(self._disk, work)
            unfinished.park(self._disk, work)

        # Nobody waits: at worst the folder is found again at the next start.
        self._writer.run(job).add_done_callback(lambda future: future.cancelled() or future.exception())

    def _note_error(self, error: P2PStoreError) -> None:
        if isinstance(error, CacheUnusable):
            self._disk.note_broken(error.message)

    def _grow(self, partial: Partial, done: Callable[[], None]) -> None:
        def step() -> P2PStoreError | None:
            doing = f"can't store {partial.draft.url}"
            try:
                self._writer.guarded(lambda: unfinished.grow(self._disk, partial.work), doing)
            except P2PStoreError as error:
                return error
            return None

        def told(error: P2PStoreError | None) -> None:
            partial.error = partial.error or error
            done()

        self._writer.run(step, then=told)
