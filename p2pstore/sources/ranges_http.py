"""Range requests through aiohttp, with the contract of those on lanes: for TLS, and for origins that no lane reads."""

from __future__ import annotations

import time
from collections.abc import Callable

from p2pstore.errors import P2PStoreError
from p2pstore.sources.base import Limit, Pace, Sink
from p2pstore.sources.dial import Route
from p2pstore.sources.filling import Filling
from p2pstore.sources.heads import Head
from p2pstore.sources.http import HttpWay
from p2pstore.sources.request import Fields
from p2pstore.sources.targets import Target
from p2pstore.sources.verdicts import check_range, named
from p2pstore.types import ByteRange


class HttpRanges:
    """Ranges of one representation over any connection; `fields` hold If-Range already."""

    def __init__(
        self,
        way: HttpWay,
        target: Target,
        route: Route,
        fields: Fields,
        first: Head,
        total: int,
        pace: Pace,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._way = way
        self._target = target
        self._route = route
        self._fields = fields
        self._first = first
        self._total = total
        self._pace = pace
        self._wall = wall

    async def fetch(self, span: ByteRange, sink: Sink, limit: Limit) -> None:
        """As `Ranges.fetch`."""
        stop = min(span.stop, limit(span.start))
        if stop <= span.start:
            return
        wanted = ByteRange(span.start, stop)
        fields = [*self._fields, ("Range", f"bytes={wanted.start}-{wanted.stop - 1}")]
        try:
            head, body = await self._way.ask(self._target, self._route, fields, wanted.start)
            try:
                check_range(head, wanted, self._first, self._total, self._wall(), self._route.redirected)
                await body.pour_into(Filling(sink, wanted.start, len(wanted), limit), self._pace)
            finally:
                await body.aclose()
        except P2PStoreError as error:
            raise named(error, self._target.url) from error.__cause__
