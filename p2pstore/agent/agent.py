"""The story: a job asks for a URL and gets the file.

    get  ─ hit, fresh ──────────────────────────────────────────────► descriptor
         ─ miss, or no longer fresh ─► join or begin the one load ──► descriptor
                                        └ origin silent ─► the stale copy, and said so

A load asks the origin, brings the bytes, checks them and publishes them (`loader.py`); it belongs to the agent, never
to one of those who wait for it (`loads.py`). The other verbs stand in files of their own: `readers.py` (read while
it downloads), `staging.py` (prefetch, wait), `inventory.py` (stat, ls, rm, check), `results.py` (put).
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from p2pstore.agent import verify
from p2pstore.agent.asks import Asks, Request, is_variant
from p2pstore.agent.downloader import Downloader
from p2pstore.agent.events import Bus
from p2pstore.agent.handout import Way, result
from p2pstore.agent.hits import Hits
from p2pstore.agent.inventory import Inventory
from p2pstore.agent.janitor import Janitor
from p2pstore.agent.loader import Loader, stored_of
from p2pstore.agent.loads import BURST_BYTES, Load, Loads, Outcome
from p2pstore.agent.passing import Passing
from p2pstore.agent.readers import Readers
from p2pstore.agent.results import Results
from p2pstore.agent.session import PATH_LEASE_S, Push, Reply, Session
from p2pstore.agent.staging import Staging
from p2pstore.agent.stats import Stats
from p2pstore.cache import freshness
from p2pstore.cache.freshness import Answer, Judgement
from p2pstore.config import Config
from p2pstore.errors import (
    CacheUnusable,
    DeadlineExceeded,
    IntegrityError,
    NoSpace,
    NotCached,
    OriginError,
    OriginRefused,
)
from p2pstore.sources.origin import OriginClient
from p2pstore.storage.store import Store
from p2pstore.swarm.limits import TokenBucket
from p2pstore.types import PUBLIC, Digest, Entry, Key

STORED = Judgement(Answer.FRESH, 0.0, math.inf, False, 0.0, "a stored result stays as it is")
"""Results have no origin to ask."""
NO_WISH = freshness.Wish()
"""A caller who takes what the rules of freshness allow."""


class Agent:
    """One node's agent: everything that the doors may ask for."""

    def __init__(
        self,
        config: Config,
        store: Store,
        origin: OriginClient,
        *,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.config, self.store, self.clock, self.wall = config, store, clock, wall
        self.uid = os.geteuid()
        self.stats = Stats()
        self.bus = Bus(wall, self.uid)
        self.asks = Asks(config, self.uid)
        self.policy = freshness.Policy(
            heuristic_ratio=config.freshness.heuristic_ratio,
            heuristic_max_s=config.freshness.heuristic_max_s,
            stale_if_error_s=config.freshness.stale_if_error_s,
        )
        bucket = TokenBucket(config.origin.limit_rate_bytes_per_s, BURST_BYTES, clock())
        downloader = Downloader(config.origin, bucket, clock, rng)
        loader = Loader(config, store, origin, self.asks, downloader, self.bus, self.stats, rng, wall)
        self.loads = Loads(loader.run, clock, config.jobs.max_loads, config.jobs.max_waiting)
        self.hits = Hits(self)
        self.passing = Passing(self, origin, bucket)
        self.readers = Readers(self)
        self.staging = Staging(self)
        self.inventory = Inventory(self)
        self.results = Results(self)
        self.janitor = Janitor(self)
        self.try_get, self.try_stat = self.hits.try_get, self.hits.try_stat
        self.open, self.ready, self.close = self.readers.open, self.readers.ready, self.readers.close
        self.prefetch, self.wait = self.staging.prefetch, self.staging.wait
        self.cancel_url = self.staging.cancel_url
        self.stat, self.ls, self.rm = self.inventory.stat, self.inventory.ls, self.inventory.rm
        self.check, self.status = self.inventory.check, self.inventory.status
        self.show_config = self.inventory.show_config
        self.put = self.results.put
        self.subscribe = self.bus.subscribe

    async def start(self) -> None:
        """Begin the work in the background."""
        await self.janitor.start()

    async def aclose(self) -> None:
        """Stop; unfinished downloads stay on disk for the next start."""
        await self.staging.aclose()
        await self.loads.aclose()
        await self.janitor.aclose()

    async def get(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """The file of a URL, by descriptor: from the cache when fresh, else loaded, verified and kept."""
        started = self.clock()
        request = self.asks.read_with(args, session.caller, fd)
        if request.url.scheme == "file":
            return await self.results.file(request, fd, started)
        trail: list[Load] = []
        try:
            async with asyncio.timeout(request.deadline_s):
                try:
                    return await self._hand_out(request, started, push, trail)
                except (NoSpace, CacheUnusable) as error:
                    if not args.get("stream"):
                        raise
                    return await self.passing.through(request, error, push, started)
        except TimeoutError:
            state = trail[-1].state if trail else "not begun"
            raise DeadlineExceeded(
                f"{request.url.text}: not there after {request.deadline_s:g} s ({state})",
                hint="give it more time; what has come stays and is not asked for again",
                url=request.url.text,
            ) from None

    async def _hand_out(self, request: Request, started: float, push: Push, trail: list[Load]) -> Reply:
        entry, judgement = await self.find(request)
        if entry is not None and judgement is not None and judgement.answer is not Answer.REVALIDATE:
            try:
                compared, wrong = await self.compare(request, entry)
                if wrong is None:
                    way = Way(judgement.stale, warnings=request.warnings)
                    reply = self.hand(request, compared, way, judgement, started)
                    self.stats.hits += 1
                    return reply
            except (NotCached, IntegrityError):
                if entry.is_put:
                    raise  # there is no origin to get it from again
                entry = None  # it went, or turned out to be damaged, between the look and the opening
        if entry is not None and (request.wish.offline or entry.is_put):
            await self.must_agree(request, entry)
        if request.url.scheme == "put":
            raise await self.results.missing(request)
        if request.wish.offline:
            raise NotCached(f"{request.url.text} is not in the cache", hint="get it without --offline")
        self.stats.misses += 1
        self.bus.emit("queued", url=request.url.text, key=request.key, scope=request.scope)
        try:
            return await self._loaded(request, entry, started, push, trail)
        except OriginError as error:
            if isinstance(error, OriginRefused):
                raise  # it was reached, and said no
            if entry is None or judgement is None or judgement.stale_on_error_s <= 0:
                raise
            entry, wrong = await self.compare(request, entry)
            if wrong is not None:
                raise
            self.stats.stale_served += 1
            way = Way(True, f"the origin can't be reached: {error.message}", warnings=request.warnings)
            return self.hand(request, entry, way, judgement, started)

    async def _loaded(
        self, request: Request, entry: Entry | None, started: float, push: Push, trail: list[Load]
    ) -> Reply:
        """Wait for the load of this key; when its answer is for another uid alone, load for this one alone."""
        alone = False
        while True:
            load, waiter, new = self.loads.join(self.loads.key_for(request, alone=alone), request, entry)
            trail.append(load)
            self.stats.joined += not new
            try:
                outcome = await self.follow(load, request, push)
                if outcome.only_uid not in (None, request.caller.uid) and not alone:
                    alone = True
                    continue
                if not new and not is_variant(outcome.entry, request):
                    continue  # chosen by the fields of the one who began it
                entry = await self.must_agree(request, outcome.entry, outcome.fd)
                return self.hand_outcome(request, replace(outcome, entry=entry), started)
            finally:
                self.loads.leave(load, waiter)

    async def follow(self, load: Load, request: Request, push: Push) -> Outcome:
        """Wait for a load's end, telling its progress when asked to; the load goes on when this wait is cancelled."""
        if not request.progress:
            return await asyncio.shield(load.future)
        while not load.future.done():
            await asyncio.wait([load.future], timeout=self.config.jobs.progress_interval_s)
            push(load.progress.event("origin", self.clock()) | {"state": load.state}, -1)
        return load.future.result()

    async def find(self, request: Request) -> tuple[Entry | None, Judgement | None]:
        """The copy that this caller may have, and whether it may be used as it is."""
        looked: dict[Key, Entry | None] = {}
        for key in request.keys:
            entry = looked[key] = self.store.hot(key) or await self.store.lookup(key)
            found = self._best(request, [entry])
            if found[1] is not None and found[1].answer is Answer.FRESH:
                return found
        # A load may have ended while a later key was looked up: who overlooks it fetches the file once more.
        return self._best(request, [self.store.hot(key) or entry for key, entry in looked.items()])

    def _best(
        self, request: Request, entries: Iterable[Entry | None]
    ) -> tuple[Entry | None, Judgement | None]:
        """The first that is fresh, else the one that was received last, with its judgement."""
        best: tuple[Entry | None, Judgement | None] = None, None
        for entry in entries:
            if entry is None or not is_variant(entry, request):
                continue
            judgement = self.judge(entry, request.wish)
            if judgement.answer is Answer.FRESH:
                return entry, judgement
            if best[0] is None or entry.response_at > best[0].response_at:
                best = entry, judgement
        return best

    async def compare(self, request: Request, entry: Entry) -> tuple[Entry, Digest | None]:
        """The entry with the digests that the caller's are compared with, and the first of the caller's that differs.

        Digests once computed are kept in the record, and that one of a caller's agreed.
        """
        if not request.digests:
            return entry, None
        if await self.store.was_touched(entry):
            await self._must_be_whole(entry)
        missing = {digest.algorithm for digest in request.digests} - entry.digests.keys()
        found = entry.digests | (await self.store.digest(entry, missing) if missing else {})
        wrong = verify.disagreeing(request.digests, found)
        if wrong is not None:
            await self._must_be_whole(entry)
        verified = "digest" if wrong is None else entry.verified
        if missing or verified != entry.verified:
            entry = await self.store.refresh(entry.with_changes(digests=found, verified=verified))
        return entry, wrong

    async def _must_be_whole(self, entry: Entry) -> None:
        """Read the object again; a damaged one is put aside and IntegrityError raised."""
        if not await self.store.verify(entry):
            await self.store.quarantine(entry, "its bytes are not those of its name")
            raise IntegrityError(
                f"{entry.url} is damaged in the cache and was put aside", hint="get it again"
            )

    async def must_agree(self, request: Request, entry: Entry, fd: int = -1) -> Entry:
        """The entry compared; DigestMismatch if it is not what the caller's digests name. `fd` holds its bytes if not kept."""
        if fd < 0:
            entry, wrong = await self.compare(request, entry)
        else:
            wanted = {digest.algorithm for digest in request.digests}
            found = await self.store.digest_of(fd, wanted) if wanted else {}
            entry, wrong = entry.with_changes(digests=found), verify.disagreeing(request.digests, found)
        if wrong is not None:
            self.stats.digest_failures += 1
            raise verify.mismatch(request.url.text, wrong, entry.digests, "the caller's digest")
        return entry

    def hand_outcome(self, request: Request, outcome: Outcome, started: float) -> Reply:
        """The reply that hands out what a load brought, kept or not."""
        entry = outcome.entry
        judgement = self.judge(entry)
        way = Way(False, outcome.why, outcome.origin_bytes, warnings=request.warnings)
        if outcome.fd < 0:
            return self.hand(request, entry, way, judgement, started)
        self.stats.origin_bytes += outcome.origin_bytes
        way = Way(False, outcome.why, outcome.origin_bytes, self.clock() - started, request.warnings)
        fd = os.open(f"/proc/self/fd/{outcome.fd}", os.O_RDONLY | os.O_CLOEXEC)
        return Reply(result(entry, way, judgement, "", fd=True), fd)

    def hand(self, request: Request, entry: Entry, way: Way, judgement: Judgement, started: float) -> Reply:
        """The reply that hands an entry out; counts, and keeps it from being evicted under a path."""
        self.store.touch(entry)
        self.stats.cache_bytes += entry.size_bytes - way.origin_bytes
        self.stats.origin_bytes += way.origin_bytes
        path = self.path_for(entry, request.caller.uid)
        if request.want == "path" and path:
            self.store.lease(entry, self.clock() + PATH_LEASE_S)
        fd = self.store.open_object(entry) if request.want == "fd" else -1
        way = Way(way.stale, way.why, way.origin_bytes, self.clock() - started, way.warnings)
        return Reply(result(entry, way, judgement, path, fd=fd >= 0), fd)

    def judge(self, entry: Entry, wish: freshness.Wish = NO_WISH) -> Judgement:
        """Whether an entry may be used as it is, now."""
        if entry.is_put:
            return STORED
        shared = entry.scope == PUBLIC
        return freshness.judge(stored_of(entry), self.policy, wish, self.wall(), shared=shared)

    def path_for(self, entry: Entry, uid: int) -> str:
        """The path of the object when this uid can read it there, else empty."""
        readable = uid == self.uid or (entry.scope == PUBLIC and not entry.is_put)
        return self.store.path_of(entry) if readable else ""

    def idle_since(self) -> float | None:
        """Since when (monotonic) nothing has been loaded or prefetched; None while something is."""
        return self.staging.idle_since()
