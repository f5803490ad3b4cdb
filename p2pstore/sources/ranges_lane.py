"""Range requests on lanes: each body goes from the socket into the sink's blocks, judged before its first byte does."""

from __future__ import annotations

import time
from collections.abc import Callable

from p2pstore.errors import P2PStoreError
from p2pstore.sources.base import Limit, Pace, Ranges, Sink
from p2pstore.sources.dial import Route
from p2pstore.sources.filling import Filling
from p2pstore.sources.heads import Head, OddHead
from p2pstore.sources.pool import LanePool
from p2pstore.sources.verdicts import check_range, named
from p2pstore.types import ByteRange


class LaneRanges:
    """Ranges of one representation over plain HTTP; an answer that no lane reads moves all further ones to `other`."""

    def __init__(
        self,
        pool: LanePool,
        url: str,
        route: Route,
        request: bytes,
        first: Head,
        total: int,
        pace: Pace,
        other: Callable[[], Ranges],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._url = url
        self._route = route
        self._request = request
        self._first = first
        self._total = total
        self._pace = pace
        self._make_other = other
        self._other: Ranges | None = None
        self._wall = wall

    async def fetch(self, span: ByteRange, sink: Sink, limit: Limit) -> None:
        """As `Ranges.fetch`."""
        if self._other is None:
            try:
                return await self._fetch(span, sink, limit)
            except OddHead:
                self._other = self._make_other()
            except P2PStoreError as error:
                raise named(error, self._url) from error.__cause__
        await self._other.fetch(span, sink, limit)

    async def _fetch(self, span: ByteRange, sink: Sink, limit: Limit) -> None:
        stop = min(span.stop, limit(span.start))
        if stop <= span.start:
            return
        wanted = ByteRange(span.start, stop)

        def plan(head: Head) -> Filling:
            redirected = self._route.redirected
            check_range(head, wanted, self._first, self._total, self._wall(), redirected)
            return Filling(sink, wanted.start, len(wanted), limit)

        request = self._request + b"Range: bytes=%d-%d\r\n\r\n" % (wanted.start, wanted.stop - 1)
        lane, _ = await self._pool.ask(self._route, request, plan, self._pace)
        self._pool.give_back(lane)
