"""The job of one load: ask the origin, judge its answer, bring the bytes, check them, publish.

Every await may find the world changed; therefore what an answer said (version, validator, length) goes with the bytes
from here to the commit, and whatever does not agree with it ends the attempt.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2pstore.agent import verify
from p2pstore.agent.asks import Asks
from p2pstore.agent.downloader import Downloader, retry_rules
from p2pstore.agent.events import Bus
from p2pstore.agent.loads import Load, Outcome
from p2pstore.agent.stats import Stats
from p2pstore.agent.verdict import Found, announced_of, appraise, keepable
from p2pstore.cache import freshness
from p2pstore.cache.digests import Announced
from p2pstore.config import Config
from p2pstore.errors import (
    DigestMismatch,
    OriginBroken,
    OriginChanged,
    OriginError,
    OriginRefused,
    P2PStoreError,
)
from p2pstore.sources.base import Answer, Ask
from p2pstore.sources.origin import OriginClient
from p2pstore.storage.partial import Partial
from p2pstore.storage.resumable import PartialInfo
from p2pstore.storage.smalls import SMALL_BYTES
from p2pstore.storage.store import Store
from p2pstore.swarm.pieces import missing_runs, piece_bytes, piece_count
from p2pstore.swarm.retry import Backoff, RetryRules
from p2pstore.swarm.tree import leaves, root_of, top_of
from p2pstore.types import PUBLIC, ByteRange, Digest, Entry

FIRST_BYTES: Final = SMALL_BYTES
"""The first request asks for this much: small files are there at once, and of large ones little is wasted."""
MAX_RESTARTS: Final = 8
"""Versions begun in one load before it is given up: a file that changes faster than it can be read."""


@dataclass(slots=True)
class Loader:
    """Runs loads; holds nothing of any of them."""

    config: Config
    store: Store
    origin: OriginClient
    asks: Asks
    downloader: Downloader
    bus: Bus
    stats: Stats
    rng: random.Random
    wall: Callable[[], float]

    async def run(self, load: Load) -> Outcome:
        """Bring what the load is for, trying again as the rules allow; raises the error that ended it."""
        self.stats.loads += 1
        url, request = load.request.url.text, load.request
        self.bus.emit("started", url=url, key=request.key, scope=request.scope)
        try:
            outcome = await self._until_done(load)
        except P2PStoreError as error:
            self.stats.loads_failed += 1
            self.bus.emit("failed", url=url, key=request.key, scope=request.scope, error=error.to_wire())
            raise
        entry = outcome.entry
        self.bus.emit(
            "ready", url=url, key=entry.key, scope=entry.scope, size=entry.size_bytes, root=entry.root
        )
        return outcome

    async def _until_done(self, load: Load) -> Outcome:
        rules = retry_rules(self.config.origin)
        if load.fallback is not None:
            rules = RetryRules(retries=min(1, rules.retries), wait_s=rules.wait_s, retry_after_max_s=0.0)
        backoff, restarts, kept = Backoff(rules, self.rng), 0, 0
        while True:
            try:
                return await self._attempt(load)
            except OriginChanged:
                restarts += 1
                self.stats.restarts += 1
                if restarts > MAX_RESTARTS:
                    raise
                load.restart()
                kept = 0
            except OriginError as error:
                # What was received but can't be kept is no progress: the next try begins at the same place.
                before, kept = kept, max(kept, _kept_bytes(load))
                if kept > before:
                    backoff.progressed()
                wait_s = backoff.failed(error.retryable, error.details.get("retry_after_s"))
                if wait_s is None:
                    raise
                load.state = f"waiting {wait_s:.1f} s to try again: {error.message}"
                await asyncio.sleep(wait_s)

    async def _attempt(self, load: Load) -> Outcome:
        """Ask once, for what is missing, and take what comes."""
        part, known = await self._part_of(load), load.fallback
        load.state = f"asking {load.request.url.host}"
        answer = await self.origin.first(self._ask(load, part, known))
        try:
            if answer.status == 304:
                if part is not None:
                    return await self._finish(load, part, answer)
                if known is not None:
                    outcome = await self._refreshed(load, known, answer)
                    if outcome is not None:
                        return outcome
                    load.fallback = None
                    raise OriginChanged(
                        f"{known.url}: the copy here can't be refreshed", hint="loading it anew"
                    )
                raise OriginBroken(
                    f"{load.request.url.text}: 304 to a request without conditions", hint="ask its operator"
                )
            if part is not None and answer.span is None and (answer.total or 0) > FIRST_BYTES:
                await self.store.discard_partial(part.key)
                raise OriginChanged(
                    f"{load.request.url.text} changed since its download began", hint="loading it anew"
                )
            return await self._take(load, answer)
        finally:
            await answer.aclose()

    async def _part_of(self, load: Load) -> PartialInfo | None:
        for key in load.request.keys:
            part = await self.store.find_partial(key)
            if part is not None:
                return part
        return None

    def _ask(self, load: Load, part: PartialInfo | None, known: Entry | None) -> Ask:
        if part is None:
            conditional = freshness.conditional(stored_of(known)) if known is not None else {}
            return self.asks.origin_ask(load.request, conditional, ByteRange(0, FIRST_BYTES))
        first = _first_missing(part, self.config.origin.request_bytes)
        if first is not None:
            return self.asks.origin_ask(load.request, {}, first, part.validator)
        # Everything came before the interruption: ask only whether it is still the same.
        condition = "If-None-Match" if part.validator.startswith('"') else "If-Modified-Since"
        last = ByteRange(part.length - 1, part.length)
        return self.asks.origin_ask(load.request, {condition: part.validator}, last, part.validator)

    async def _finish(self, load: Load, part: PartialInfo, answer: Answer) -> Outcome:
        """All bytes were there and the origin says that they still are the file."""
        found = appraise(load.request, answer, part)
        partial = await self.store.begin(found.draft, part.length, part.piece_bytes)
        load.begin(partial, part.length)
        self.stats.resumed_bytes += partial.have_bytes
        return await self._publish(load, found, partial, partial.have_bytes)

    async def _refreshed(self, load: Load, known: Entry, answer: Answer) -> Outcome | None:
        """The copy with what a 304 says of it; None when the 304 speaks of another version, or forbids keeping it."""
        if not freshness.same_representation(stored_of(known), answer.headers):
            return None
        stored = freshness.refreshed(stored_of(known), answer.headers, answer.request_at, answer.response_at)
        keep, _ = freshness.storable(200, stored.headers, shared=known.scope == PUBLIC)
        if not keep or (known.scope == PUBLIC and freshness.response_is_private(stored.headers)):
            await self.store.remove(known.key, known.ver)
            return None
        entry = known.with_changes(
            headers=keepable(stored.headers), request_at=stored.request_at, response_at=stored.response_at
        )
        self.stats.revalidations += 1
        entry = await self.store.refresh(entry)
        self.bus.emit("revalidated", url=entry.url, key=entry.key, scope=entry.scope)
        only_uid = None if entry.scope == load.request.scope else load.request.caller.uid
        return Outcome(entry, 0, only_uid=only_uid, why="revalidated (RFC 9111 4.3.4)")

    async def _take(self, load: Load, answer: Answer) -> Outcome:
        found = appraise(load.request, answer)
        total = answer.total
        if total is not None and total > self.config.origin.max_object_bytes:
            raise OriginRefused(
                f"{found.draft.url} has {total} bytes; the limit is [origin] max_object_bytes"
            )
        whole = answer.span is None or len(answer.span) == total
        if total is not None and total <= SMALL_BYTES and whole:
            return await self._take_small(load, answer, found, total)
        return await self._take_large(load, answer, found)

    async def _take_small(self, load: Load, answer: Answer, found: Found, total: int) -> Outcome:
        body = await answer.read(total)
        load.progress.total, load.progress.received_bytes = total, total
        digests = verify.digests_of(body, verify.algorithms(found.announced, _callers(load)))
        verified = self._check(load, found, digests)
        if found.keep:
            entry = await self.store.publish_small(found.draft, body, verified=verified, digests=digests)
            return Outcome(entry, total, only_uid=found.only_uid, why=found.why)
        entry = found.draft.entry(
            root_of(total, top_of(leaves(body))), total, piece_bytes(total), verified=verified
        )
        return Outcome(entry, total, _in_memory(body), found.only_uid, found.why)

    async def _take_large(self, load: Load, answer: Answer, found: Found) -> Outcome:
        total, draft = answer.total, found.draft
        if answer.span is not None and any(name.startswith("x-amz-checksum-") for name, _ in answer.headers):
            found.announced.extend(await self._checksums(load, answer))
        partial = await self.store.begin(draft, total, piece_bytes(total))
        cached = partial.have_bytes
        self.stats.resumed_bytes += cached
        load.progress.cached_bytes, load.progress.received_bytes = cached, 0
        load.begin(partial, total)
        done = False
        try:
            if total is not None and answer.span is not None and answer.validator:
                ask = self.asks.origin_ask(load.request, {}, None)
                ranges = self.origin.ranges(ask, answer, self.downloader.pace(load))
                await self.downloader.in_parts(load, answer, ranges, partial, total)
            else:
                await self._whole(load, answer, partial)
            outcome = await self._publish(load, found, partial, cached)
            done = True
            return outcome
        except (OriginChanged, DigestMismatch):
            await partial.discard()
            done = True
            raise
        finally:
            if not done:
                await (partial.close() if draft.validator else partial.discard())

    async def _checksums(self, load: Load, answer: Answer) -> list[Announced]:
        """Checksums beside a part may be the part's own; the head of a whole answer tells those of the file."""
        again = await self.origin.first(self.asks.origin_ask(load.request, {}, None))
        try:
            same = (again.total, again.validator) == (answer.total, answer.validator)
            return announced_of(again) if same else []
        finally:
            await again.aclose()

    async def _whole(self, load: Load, answer: Answer, partial: Partial) -> None:
        if answer.span is None:
            await self.downloader.whole(load, answer, partial)
            return
        # Ranges work but nothing guards them: only one answer that brings everything can be believed.
        again = await self.origin.first(self.asks.origin_ask(load.request, {}, None))
        try:
            if (again.total, again.validator) != (answer.total, answer.validator):
                raise OriginChanged(
                    f"{load.request.url.text} changed between two requests", hint="loading it anew"
                )
            await self.downloader.whole(load, again, partial)
        finally:
            await again.aclose()

    async def _publish(self, load: Load, found: Found, partial: Partial, cached: int) -> Outcome:
        load.state = "verifying"
        wanted = verify.algorithms(found.announced, _callers(load))
        digests = await self.store.digest(partial, wanted) if wanted else {}
        verified = self._check(load, found, digests)
        if found.keep:
            entry = await self.store.commit(partial, found.draft, verified=verified, digests=digests)
            return Outcome(entry, entry.size_bytes - cached, -1, found.only_uid, found.why, load.file)
        size = partial.length or 0
        entry = found.draft.entry(
            partial.root(), size, partial.piece_bytes, verified=verified, digests=digests
        )
        kept = partial.fd()
        await partial.discard()
        return Outcome(entry, size - cached, kept, found.only_uid, found.why, load.file)

    def _check(self, load: Load, found: Found, digests: dict[str, str]) -> str:
        url = found.draft.url
        try:
            origin = verify.check_origin(url, found.announced, digests)
            # A waiter may have come while the digests were computed; it checks its own when the load is through.
            callers = [one for one in _callers(load) if all(digest.algorithm in digests for digest in one)]
            caller = verify.check_callers(url, callers, digests)
        except DigestMismatch:
            self.stats.digest_failures += 1
            raise
        if origin or caller:
            self.bus.emit("verified", url=url, key=found.draft.key, scope=found.draft.scope, digests=digests)
        return "digest" if origin or caller else "transfer"


def stored_of(entry: Entry) -> freshness.Stored:
    """The stored response of an entry, for the rules of freshness."""
    return freshness.Stored(200, entry.headers, entry.request_at, entry.response_at)


def _kept_bytes(load: Load) -> int:
    """Bytes on disk from which another try goes on."""
    partial = load.partial
    return partial.have_bytes if partial is not None and partial.draft.validator else 0


def _callers(load: Load) -> list[tuple[Digest, ...]]:
    return [waiter.request.digests for waiter in load.waiters]


def _first_missing(part: PartialInfo, request_bytes: int) -> ByteRange | None:
    """The first run of missing pieces, at most one request long; None when all are there."""
    for first, count in missing_runs(part.have, piece_count(part.length, part.piece_bytes)):
        most = max(1, request_bytes // part.piece_bytes)
        start = first * part.piece_bytes
        return ByteRange(start, min(start + min(count, most) * part.piece_bytes, part.length))
    return None


def _in_memory(body: bytes) -> int:
    fd = os.memfd_create("p2pstore", os.MFD_CLOEXEC)
    os.write(fd, body)
    return fd
