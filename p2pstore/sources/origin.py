"""Asking origins: the first answer to a URL, and ranges of what it described.

Each hop goes over a lane when it is plain HTTP, and through aiohttp otherwise or when the answer is one that no lane reads
(docs/adr/0004-origin-lane.md). Redirects are followed by hand, each judged by the gate before a byte goes out.
Nothing is tried twice here, except without Range where an origin can't do ranges.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2pstore.cache.canonical import redact
from p2pstore.cache.validators import strong_validator
from p2pstore.config import OriginConfig
from p2pstore.errors import LocalProtocolError, OriginBroken, OriginRefused, P2PStoreError
from p2pstore.sources.base import Answer, Ask, Body, Pace, Ranges
from p2pstore.sources.dial import Dialer, Route
from p2pstore.sources.heads import Head, OddHead
from p2pstore.sources.http import HttpWay
from p2pstore.sources.lane_body import LaneBody
from p2pstore.sources.pool import LanePool
from p2pstore.sources.ranges_http import HttpRanges
from p2pstore.sources.ranges_lane import LaneRanges
from p2pstore.sources.request import check_headers, fields_for, wire
from p2pstore.sources.slots import Origin, Slots
from p2pstore.sources.targets import REDIRECTS, Target
from p2pstore.sources.tls import client_context
from p2pstore.sources.verdicts import error_of, first_span, named
from p2pstore.trust.gate import GateRules
from p2pstore.types import ByteRange

ODD_S: Final = 300.0
"""An origin whose answer no lane could read is asked through aiohttp at once for this long."""
MAX_ODD: Final = 1024
"""Such origins that are remembered; the oldest is forgotten first."""


@dataclass(slots=True)
class _Reply:
    """The answer of the last hop, before it is judged."""

    target: Target
    hops: tuple[str, ...]
    head: Head
    body: Body
    part: tuple[ByteRange, int] | None
    """Range and total, when it is a part."""
    request_at: float
    can_tell: bool
    """What a 200 says about ranges may be believed: none was tried, or If-Range says why the whole came."""


class OriginClient:
    """All connections to all origins; made once, in a running loop, and closed at the end.

    `lanes=False` sends everything through aiohttp: slower, and nothing else may differ.
    """

    def __init__(
        self, config: OriginConfig, *, wall: Callable[[], float] = time.time, lanes: bool = True
    ) -> None:
        self._config = config
        self._wall = wall
        self._use_lanes = lanes
        dialer = Dialer(GateRules(config.allow, config.deny))
        slots = Slots(config.connections)
        self._lanes = LanePool(config, dialer, slots)
        self._http = HttpWay(config, dialer, slots, client_context(config.ca_file))
        self._odd: OrderedDict[Origin, float] = OrderedDict()

    async def first(self, ask: Ask) -> Answer:
        """The answer to a URL, after redirects: 200, 206 or 304; its body is yet to be read, or closed.

        Raises NotFound (404, 410), AccessDenied (401, 403), OriginBusy (429, 503; `retry_after_s` in its details),
        OriginRefused (other 4xx, too large, too many redirects), OriginError (5xx), OriginUnreachable, OriginTimeout,
        OriginBroken, GateRefused, BadUrl and BadRequest.
        """
        target = Target.parse(ask.url)
        try:
            check_headers(ask.headers)
            return await self._follow(ask, target)
        except P2PStoreError as error:
            raise named(error, ask.url) from error.__cause__

    def ranges(self, ask: Ask, answer: Answer, pace: Pace) -> Ranges:
        """Range requests for the representation that `answer` described, which has a strong validator and a length.

        Raises LocalProtocolError when it has not.
        """
        if not answer.validator or answer.total is None:
            raise LocalProtocolError("ranges need a strong validator and a length")
        asked, target = Target.parse(ask.url), Target.parse(answer.url)
        route = _route(target, ask, bool(answer.hops))
        fields = fields_for(ask, asked, target, self._config.user_agent)
        fields.append(("If-Range", answer.validator))
        first, total = Head(answer.status, answer.headers), answer.total

        def other() -> Ranges:
            return HttpRanges(self._http, target, route, fields, first, total, pace, self._wall)

        if not self._fits_lane(target.origin):
            return other()
        request = wire(target, fields)
        return LaneRanges(self._lanes, target.url, route, request, first, total, pace, other, self._wall)

    async def aclose(self) -> None:
        """Close all connections; what is under way fails."""
        self._lanes.aclose()
        await self._http.aclose()

    async def _follow(self, ask: Ask, asked: Target) -> Answer:
        target, wanted = asked, ask.first
        hops: tuple[str, ...] = ()
        while True:
            request_at = self._wall()
            head, body = await self._exchange(ask, asked, target, wanted, bool(hops))
            try:
                part = _part(head, wanted, ask.if_range)
                if head.status in REDIRECTS:
                    hops = (*hops, redact(target.url))
                    target = self._next_target(head, target, hops)
                elif wanted is not None and (head.status == 416 or (head.status == 206 and part is None)):
                    wanted = None
                else:
                    can_tell = ask.first is None or (wanted is not None and bool(ask.if_range))
                    return self._answer(ask, _Reply(target, hops, head, body, part, request_at, can_tell))
            except BaseException:
                await body.aclose()
                raise
            await body.aclose()

    async def _exchange(
        self, ask: Ask, asked: Target, target: Target, wanted: ByteRange | None, redirected: bool
    ) -> tuple[Head, Body]:
        """One request and the head of its answer."""
        route = _route(target, ask, redirected)
        fields = fields_for(ask, asked, target, self._config.user_agent)
        fields.extend(ask.conditional.items())
        start = 0
        if wanted is not None:
            start = wanted.start
            fields.append(("Range", f"bytes={start}-{wanted.stop - 1}"))
            if ask.if_range:
                fields.append(("If-Range", ask.if_range))
        if self._fits_lane(target.origin):
            try:
                lane, head = await self._lanes.ask(route, wire(target, fields) + b"\r\n", _hold)
                return head, LaneBody(self._lanes, lane, target.url, start if head.status == 206 else 0)
            except OddHead:
                self._note_odd(target.origin)
        return await self._http.ask(target, route, fields, start)

    def _next_target(self, head: Head, target: Target, hops: tuple[str, ...]) -> Target:
        location = head.get("location")
        if not location:
            raise OriginBroken(f"the origin answered {head.status} without a Location")
        if len(hops) > self._config.max_redirects:
            raise OriginRefused(f"more than {self._config.max_redirects} redirects", hops=list(hops))
        return target.redirected(location)

    def _answer(self, ask: Ask, reply: _Reply) -> Answer:
        head, now = reply.head, self._wall()
        error = error_of(head, now)
        if error is not None:
            raise error
        span: ByteRange | None = None
        total: int | None = None
        if reply.part is not None:
            span, total = reply.part
        elif head.status == 200:
            _, total = head.framing()
        elif not ask.conditional:
            raise OriginBroken("the origin answered 304 though no condition was asked")
        limit = self._config.max_object_bytes
        if total is not None and total > limit:
            raise OriginRefused(f"the file has {total} bytes, more than [origin] max_object_bytes = {limit}")
        return Answer(
            status=head.status,
            headers=head.headers,
            url=reply.target.url,
            request_at=reply.request_at,
            response_at=now,
            total=total,
            span=span,
            ranges=span is not None or (reply.can_tell and _accepts_ranges(head)),
            validator=_ascii(strong_validator(head.headers, now)),
            hops=reply.hops,
            body=reply.body,
        )

    def _fits_lane(self, origin: Origin) -> bool:
        if origin[0] != "http" or not self._use_lanes:
            return False
        until = self._odd.get(origin)
        if until is None:
            return True
        if until > time.monotonic():
            return False
        del self._odd[origin]
        return True

    def _note_odd(self, origin: Origin) -> None:
        self._odd[origin] = time.monotonic() + ODD_S
        self._odd.move_to_end(origin)
        if len(self._odd) > MAX_ODD:
            self._odd.popitem(last=False)


def _hold(head: Head) -> None:
    """Every first answer's body is held until its reader says where it goes."""


def _route(target: Target, ask: Ask, redirected: bool) -> Route:
    return Route(target.origin[1], target.origin[2], ask.own_uid, redirected)


def _part(head: Head, wanted: ByteRange | None, if_range: str) -> tuple[ByteRange, int] | None:
    """Range and total of a 206, None when it is no use for what was asked or no 206; raises OriginBroken if unasked for."""
    if head.status != 206:
        return None
    try:
        return first_span(head, wanted, if_range)
    except OriginBroken:
        if wanted is None:
            raise
        return None


def _accepts_ranges(head: Head) -> bool:
    """Whether a 200 says that ranges work."""
    return head.status == 200 and (head.get("accept-ranges") or "").lower() == "bytes"


def _ascii(validator: str | None) -> str | None:
    """A validator with other characters would not come back to the origin as it was sent."""
    return validator if validator is None or validator.isascii() else None
