"""One load per key, however many ask; each waiter comes and goes without touching the others.

A load is a task of the agent. Its end, good or bad, goes into its future and nowhere else; waiters shield that future,
so that the one who cancels takes only itself away. A load that nobody waits for any more is stopped; what it has
brought stays on disk for the next one.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from p2pstore.agent.asks import Request
from p2pstore.agent.progress import Progress
from p2pstore.errors import InternalError, Overloaded, P2PStoreError
from p2pstore.storage.partial import Partial
from p2pstore.swarm.download import Download
from p2pstore.swarm.limits import TokenBucket
from p2pstore.types import ByteRange, Entry, Key

MAX_READS_WAITING: Final = 4096
"""Reads that wait for bytes of one load at once."""
BURST_BYTES: Final = 1 << 20
"""What a rate limit lets through at once."""

logger = logging.getLogger(__name__)

LoadKey = tuple[Key, int | None]
"""A key, and the uid when the load is for that uid alone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load ended in. With `fd` >= 0 the bytes are not in the cache: the load owns that descriptor until it is dropped."""

    entry: Entry
    origin_bytes: int
    fd: int = -1
    only_uid: int | None = None
    """The answer turned out to be for this uid alone."""
    why: str = ""
    file: int = 0
    """Which of the load's growing files it was; 0: none."""


@dataclass(slots=True, eq=False)
class Waiter:
    """One request that waits for a load."""

    request: Request


@dataclass(slots=True, eq=False)
class Load:
    """One key on its way into the cache."""

    key: LoadKey
    request: Request
    """The one that began it: its credential and headers are used."""
    future: asyncio.Future[Outcome]
    bucket: TokenBucket
    fallback: Entry | None = None
    """A copy to fall back on, so that a silent origin is not asked for long."""
    waiters: set[Waiter] = field(default_factory=set)
    progress: Progress = field(default_factory=Progress)
    state: str = "waiting for its turn"
    partial: Partial | None = None
    inode: int = 0
    file: int = 0
    """Counts the growing files that there were: who reads another one than this reads another version."""
    core: Download | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    reads: dict[int, tuple[ByteRange, asyncio.Future[None]]] = field(default_factory=dict)
    next_read: int = 0
    task: asyncio.Task[None] | None = None

    def begin(self, partial: Partial, total: int | None) -> None:
        """The bytes have a place; readers may open it."""
        inode = _inode_of(partial)
        if inode != self.inode:  # else it goes on with the same file after an interruption
            self.inode, self.file = inode, self.file + 1
        self.partial, self.progress.total = partial, total
        partial.on_piece = self._on_piece
        self.begun.set()

    def restart(self) -> None:
        """Another version is loaded from here on: who reads the old one is told so at its next read."""
        self.partial, self.core = None, None
        self.inode, self.file = 0, self.file + 1
        self.begun.clear()
        self.progress.restart()
        self._wake_reads(lambda _: True)

    def drop(self) -> None:
        """Nobody is left: close what was kept open for the waiters."""
        if self.future.done() and not self.future.cancelled() and self.future.exception() is None:
            outcome = self.future.result()
            if outcome.fd >= 0:
                os.close(outcome.fd)

    def has(self, rng: ByteRange) -> bool:
        """Whether these bytes are on disk; bytes past a known end count as there."""
        return self.partial is not None and self.partial.has(rng)

    async def until_there(self, rng: ByteRange) -> None:
        """Wait until these bytes are on disk, or the load ended or began anew; they are fetched first."""
        if self.future.done() or self.has(rng):
            return
        if len(self.reads) >= MAX_READS_WAITING:
            raise Overloaded(
                f"{MAX_READS_WAITING} reads wait for {self.request.url.text}", hint="read less at once"
            )
        # Every read for itself: one reader may have several under way.
        read, self.next_read = self.next_read, self.next_read + 1
        if self.core is not None:
            self.core.wait_for(read, rng)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reads[read] = (rng, woken)
        try:
            await woken
        finally:
            self.reads.pop(read, None)
            if self.core is not None:
                self.core.forget(read)

    def limit_rate(self, now: float) -> None:
        """Run at the rate of the fastest waiter; no limit (0) is the fastest."""
        rates = [waiter.request.limit_rate for waiter in self.waiters]
        self.bucket.set_rate(0 if not rates or 0 in rates else max(rates), now)

    def _on_piece(self, index: int) -> None:
        if self.core is not None:
            self.core.piece_done(index)
        if self.reads:
            self._wake_reads(self.has)

    def _wake_reads(self, ready: Callable[[ByteRange], bool]) -> None:
        for rng, woken in self.reads.values():
            if not woken.done() and ready(rng):
                woken.set_result(None)


class Loads:
    """The loads that run now."""

    def __init__(
        self,
        run: Callable[[Load], Awaitable[Outcome]],
        clock: Callable[[], float],
        max_loads: int,
        max_waiting: int,
    ) -> None:
        self._run = run
        self._clock = clock
        self._turns = asyncio.Semaphore(max_loads)
        self._max_waiting = max_waiting
        self._waiting = 0
        self._running: dict[LoadKey, Load] = {}
        self._stopping: dict[Key, set[asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Load]:
        return iter(list(self._running.values()))

    def find(self, key: LoadKey) -> Load | None:
        """The load of this key that runs now."""
        return self._running.get(key)

    def key_for(self, request: Request, *, alone: bool = False) -> LoadKey:
        """Which load to join: one of this uid's own if there is any, else the one for all, or with `alone` a new one of its own.

        A uid has one load of a key at a time: two would work on the same unfinished file.
        """
        own, shared = (request.key, request.caller.uid), (request.key, None)
        if own in self._running:
            return own
        load = self._running.get(shared)
        begun_by_own = load is not None and load.request.caller.uid == request.caller.uid
        return shared if not alone or begun_by_own else own

    def join(self, key: LoadKey, request: Request, fallback: Entry | None) -> tuple[Load, Waiter, bool]:
        """Wait for the load of this key; begin it when there is none (then the last value is True).

        Every join ends in one `leave`. Raises Overloaded when too many wait.
        """
        if self._waiting >= self._max_waiting:
            raise Overloaded(
                f"{self._waiting} requests wait already", hint="come back later; see [jobs] max_waiting"
            )
        load = self._running.get(key)
        new = load is None
        if load is None:
            now = self._clock()
            future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_seen)
            load = Load(key, request, future, TokenBucket(0, BURST_BYTES, now), fallback)
            self._running[key] = load
            before = tuple(self._stopping.get(key[0], ()))
            load.task = asyncio.create_task(self._drive(load, before), name=f"load {request.url.text}")
        waiter = Waiter(request)
        load.waiters.add(waiter)
        self._waiting += 1
        load.limit_rate(self._clock())
        return load, waiter, new

    def leave(self, load: Load, waiter: Waiter) -> None:
        """Stop waiting; the last one to leave stops the load."""
        if waiter not in load.waiters:
            return
        load.waiters.discard(waiter)
        self._waiting -= 1
        load.limit_rate(self._clock())
        if load.waiters:
            return
        if load.future.done():
            load.drop()
        elif load.task is not None:
            self._forget(load)
            self._stop(load.key[0], load.task)

    async def aclose(self) -> None:
        """Stop all loads; what they have brought stays on disk."""
        tasks = [load.task for load in self._running.values() if load.task is not None]
        for task in tasks:
            task.cancel()
        stopping = [task for tasks in self._stopping.values() for task in tasks]
        await asyncio.gather(*tasks, *stopping, return_exceptions=True)

    def _stop(self, key: Key, task: asyncio.Task[None]) -> None:
        task.cancel()
        tasks = self._stopping.setdefault(key, set())
        tasks.add(task)

        def ended(_: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not tasks and self._stopping.get(key) is tasks:
                del self._stopping[key]

        task.add_done_callback(ended)

    async def _drive(self, load: Load, before: Collection[asyncio.Task[None]]) -> None:
        outcome: Outcome | None = None
        error: P2PStoreError | None = None
        try:
            if before:
                # The unfinished file is still in the hands of a load of this key that was stopped.
                await asyncio.wait(before)
            async with self._turns:
                outcome = await self._run(load)
        except P2PStoreError as failure:
            error = failure
        except asyncio.CancelledError:
            error = Overloaded(f"the agent stopped loading {load.request.url.text}", hint="ask again")
            raise
        except Exception as failure:
            logger.exception("load failed by a defect url=%s", load.request.url.text)
            error = InternalError(f"loading {load.request.url.text}: {failure!r}", hint="see the agent's log")
        finally:
            self._forget(load)
            if not load.future.done():
                if outcome is not None:
                    load.future.set_result(outcome)
                else:
                    load.future.set_exception(
                        error or InternalError(f"no outcome for {load.request.url.text}")
                    )
            load._wake_reads(lambda _: True)

    def _forget(self, load: Load) -> None:
        if self._running.get(load.key) is load:
            del self._running[load.key]


def _inode_of(partial: Partial) -> int:
    fd = partial.fd()
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def _seen(future: asyncio.Future[Outcome]) -> None:
    # A load that ends after its last waiter left has nobody to hear of its error.
    if not future.cancelled():
        future.exception()
