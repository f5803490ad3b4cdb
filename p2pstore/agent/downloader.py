"""From an answer of the origin to all pieces on disk: the core says which bytes next, a source fetches, storage writes.

One stream for an answer that can't be asked for in parts; several at once otherwise. A stream that fails gives its
span back, and the pieces that came stay.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2pstore.agent.loads import Load
from p2pstore.config import OriginConfig
from p2pstore.errors import InternalError, OriginChanged, OriginError
from p2pstore.sources.base import Answer, Pace, Ranges
from p2pstore.storage.partial import Partial
from p2pstore.swarm.download import Download, Span
from p2pstore.swarm.limits import TokenBucket
from p2pstore.swarm.pieces import has_all
from p2pstore.swarm.retry import Backoff, RetryRules
from p2pstore.types import ByteRange

BYTES_PER_STREAM: Final = 1 << 20
"""Another stream is begun for so many missing bytes: for fewer, its connection costs more than it brings."""


@dataclass(slots=True)
class Downloader:
    """Fills partial objects; one for the agent, shared by all loads."""

    config: OriginConfig
    bucket: TokenBucket
    """The limit on everything from origins."""
    clock: Callable[[], float]
    rng: random.Random

    def pace(self, load: Load) -> Pace:
        """What tells a source how long to pause after bytes came in; counts them as progress too."""
        progress, own, shared, clock = load.progress, load.bucket, self.bucket, self.clock

        def paced(count: int) -> float:
            progress.received_bytes += count
            now = clock()
            return max(own.take(count, now), shared.take(count, now))

        return paced

    async def whole(self, load: Load, answer: Answer, partial: Partial) -> None:
        """One answer brings everything, in order; its length may be known only at its end."""
        load.state = f"receiving from {load.request.url.host}"
        try:
            length = await answer.pour(partial, self.pace(load))
        finally:
            await partial.drain()
        if answer.total is None:
            partial.finish_length(length)
            load.progress.total = length

    async def in_parts(
        self, load: Load, answer: Answer, ranges: Ranges, partial: Partial, total: int
    ) -> None:
        """The first answer brings some bytes; range requests bring the others, several at once."""
        core = Download(
            total,
            partial.piece_bytes,
            have=partial.have,
            streams=self.config.streams,
            request_bytes=self.config.request_bytes,
        )
        load.core = core
        load.state = f"receiving from {load.request.url.host}"
        parts = _Parts(self, load, ranges, partial, core, total)
        first = parts.claim(answer)
        streams = min(self.config.streams, max(1, -(-core.missing_bytes // BYTES_PER_STREAM)))
        try:
            async with asyncio.TaskGroup() as group:
                if first is not None:
                    group.create_task(parts.first(answer, first))
                for _ in range(streams - (first is not None)):
                    group.create_task(parts.stream())
        except BaseExceptionGroup as errors:
            raise _worst(errors) from None
        finally:
            await partial.drain()
        if not core.done:
            raise InternalError(f"pieces of {load.request.url.text} were left over", hint="report this")


def retry_rules(config: OriginConfig) -> RetryRules:
    """The operator's rules for trying again."""
    return RetryRules(
        retries=config.retries, wait_s=config.retry_wait_s, retry_after_max_s=config.retry_after_max_s
    )


class _Parts:
    """The streams of one download."""

    def __init__(
        self, owner: Downloader, load: Load, ranges: Ranges, partial: Partial, core: Download, total: int
    ) -> None:
        self._load, self._ranges, self._partial, self._core, self._total = load, ranges, partial, core, total
        self._pace = owner.pace(load)
        self._backoff = Backoff(retry_rules(owner.config), owner.rng)
        self._ending: list[Span] = []

    def claim(self, answer: Answer) -> Span | None:
        """The span that the first answer begins, taken out of the core's hands; None when it brings nothing new."""
        if answer.span is None:
            return None
        # A server may send less than it was asked for (RFC 9110 15.3.7), and that ends anywhere.
        unit, stop = self._partial.unit_bytes, answer.span.stop
        if answer.span.start % unit or (stop % unit and stop != self._total):
            return None
        piece = answer.span.start // self._partial.piece_bytes
        count = max(1, len(answer.span) // self._partial.piece_bytes)
        if answer.span.stop == self._total:
            count = -(-self._total // self._partial.piece_bytes) - piece
        return self._core.claim(piece, count)

    async def first(self, answer: Answer, span: Span) -> None:
        """Take what the first answer brings, then the rest of its last piece, then go on as any other stream."""
        assert answer.span is not None
        try:
            await answer.pour(self._partial, self._pace)
            stop = self._bytes(span).stop
            if answer.span.stop < stop:
                await self._ranges.fetch(ByteRange(answer.span.stop, stop), self._partial, lambda _: stop)
        except OriginError as error:
            await self._failed(span, error)
        else:
            self._ended(span)
        await self.stream()

    async def stream(self) -> None:
        """Fetch span after span until none is left."""
        while (span := self._core.next_span()) is not None:
            try:
                await self._ranges.fetch(
                    self._bytes(span), self._partial, functools.partial(self._limit, span)
                )
            except OriginError as error:
                await self._failed(span, error)
            else:
                self._ended(span)

    def _ended(self, span: Span) -> None:
        # Its last blocks are still being written: the span stays assigned until its pieces are there.
        self._core.span_limit(span, span.count)
        self._ending.append(span)
        self._ending = [one for one in self._ending if not self._settled(one)]

    def _settled(self, span: Span) -> bool:
        if not has_all(self._core.have, span.first, self._core.span_limit(span)):
            return False
        self._core.span_ended(span)
        return True

    async def _failed(self, span: Span, error: OriginError) -> None:
        await self._partial.drain()
        self._core.span_ended(span)
        if self._core.have >> span.first & 1:
            self._backoff.progressed()
        again = error.retryable and not isinstance(error, OriginChanged)
        wait_s = self._backoff.failed(again, error.details.get("retry_after_s"))
        if wait_s is None:
            raise error
        self._load.state = f"waiting {wait_s:.1f} s to try again: {error.message}"
        await asyncio.sleep(wait_s)

    def _bytes(self, span: Span) -> ByteRange:
        each = self._partial.piece_bytes
        return ByteRange(span.first * each, min((span.first + span.count) * each, self._total))

    def _limit(self, span: Span, begun: int) -> int:
        each: int = self._partial.piece_bytes
        count = self._core.span_limit(span, -(-begun // each) - span.first)
        return min((span.first + count) * each, self._total)


def _worst(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that decides: that the file changed, before any other; our own before the origin's."""
    flat = list(_flatten(errors))
    for kind in (OriginChanged, Exception):
        for error in flat:
            if isinstance(error, kind):
                return error
    return flat[0]


def _flatten(errors: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in errors.exceptions:
        found.extend(_flatten(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
