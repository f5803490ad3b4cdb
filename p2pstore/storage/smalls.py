"""Small files, published from memory: what arrives while a batch is being written is the next batch.

A batch costs one hop to the store thread, one transaction and one wake-up of the loop, whether it is one file or a hundred.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from p2pstore.errors import InternalError, Overloaded
from p2pstore.storage import objects
from p2pstore.storage.disk import Disk
from p2pstore.storage.files import Data
from p2pstore.storage.publish import Publication, publish
from p2pstore.storage.writer import Writer
from p2pstore.swarm import pieces, tree
from p2pstore.types import Draft, Entry

SMALL_BYTES: Final = 1 << 20
"""Bodies up to this are published from memory."""
BATCH_ENTRIES: Final = 128
"""Small files published in one transaction at most."""
MAX_QUEUED: Final = 8192
"""Small files that wait to be published; more are refused."""


class _Waiting(NamedTuple):
    draft: Draft
    body: Data
    verified: str
    digests: Mapping[str, str]
    future: asyncio.Future[Entry]


class SmallFiles:
    """The queue of small files; `published` is called on the loop with each new entry, whether or not its caller still waits."""

    def __init__(self, disk: Disk, writer: Writer, published: Callable[[Entry], None]) -> None:
        self._disk = disk
        self._writer = writer
        self._published = published
        self._queue: deque[_Waiting] = deque()
        self._busy = False

    async def publish(self, draft: Draft, body: Data, verified: str, digests: Mapping[str, str]) -> Entry:
        """Publish one; raises NoSpace, CacheUnusable, or Overloaded when MAX_QUEUED wait."""
        if len(body) > SMALL_BYTES:
            raise InternalError(f"{len(body)} bytes are not small")
        if len(self._queue) >= MAX_QUEUED:
            raise Overloaded("too many files wait to be stored", hint="ask again later")
        future: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(draft, body, verified, digests, future))
        if not self._busy:
            self._busy = True
            self._writer.run(self._publish_batch, then=self._batch_done)
        return await future

    def _publish_batch(self) -> list[tuple[asyncio.Future[Entry], Publication]]:
        """On the store thread; never raises, so that nobody waits in vain."""
        waiting = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_ENTRIES))]
        batch = [self._publication(one) for one in waiting]
        try:
            self._writer.guarded(lambda: publish(self._disk, batch), "can't store")
        # It is each waiter's error, whatever it is.
        except BaseException as error:
            for one in batch:
                one.error = one.error or error
        return [(one.future, publication) for one, publication in zip(waiting, batch, strict=True)]

    def _publication(self, one: _Waiting) -> Publication:
        size = len(one.body)
        each = pieces.piece_bytes(size)
        nodes = tree.combine(tree.leaves(one.body), each // tree.LEAF_BYTES)
        entry = one.draft.entry(
            objects.root_of_nodes(nodes, size),
            size,
            each,
            stored_at=self._disk.clock(),
            boot_id=self._disk.boot_id,
            verified=one.verified,
            digests=dict(one.digests),
        )
        return Publication(entry, body=one.body, manifest=objects.manifest_of(nodes))

    def _batch_done(self, batch: list[tuple[asyncio.Future[Entry], Publication]]) -> None:
        for future, one in batch:
            if one.error is None:
                self._published(one.entry)
            if future.done():
                continue
            if one.error is None:
                future.set_result(one.entry)
            else:
                future.set_exception(one.error)
        if self._queue:
            self._writer.run(self._publish_batch, then=self._batch_done)
        else:
            self._busy = False
