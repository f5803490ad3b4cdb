"""Kept lanes by route, and the one timer that watches those in use."""

from __future__ import annotations

import asyncio
from typing import Final

from p2pstore.config import OriginConfig
from p2pstore.sources.base import Pace, unpaced
from p2pstore.sources.dial import Dialer, Route
from p2pstore.sources.heads import Head
from p2pstore.sources.lane import Lane, Plan, StaleLane
from p2pstore.sources.slots import Slots
from p2pstore.sources.stall import Stall, tick_s

IDLE_S: Final = 15.0
"""A lane unused for so long is closed."""
MAX_IDLE: Final = 64
"""Lanes kept for all origins together; the longest unused goes first."""


class LanePool:
    """Lends lanes: `ask` finds or dials one; whoever got it calls `give_back` in the end, whatever happened."""

    def __init__(self, config: OriginConfig, dialer: Dialer, slots: Slots) -> None:
        self._config = config
        self._dialer = dialer
        self._slots = slots
        self._idle: dict[Route, list[Lane]] = {}
        self._used: dict[Lane, Route] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tick_s = tick_s(config.header_timeout_s, config.stall_timeout_s)

    @property
    def idle(self) -> int:
        """Lanes kept for later."""
        return sum(map(len, self._idle.values()))

    async def ask(self, route: Route, request: bytes, plan: Plan, pace: Pace = unpaced) -> tuple[Lane, Head]:
        """Send a request on a free lane and return it with the head, when `Lane.ask` is done.

        Takes one of the origin's slots until `give_back`. A kept lane that turns out to be closed is replaced by a new one,
        once. Raises what `Lane.ask` and `Dialer.connect` raise.
        """
        origin = ("http", route.host, route.port)
        if not self._slots.take_now(origin):
            await self._slots.take(origin)
        lane: Lane | None = None
        try:
            lane = self._kept(route)
            if lane is not None:
                try:
                    return lane, await lane.ask(request, plan, pace)
                except StaleLane:
                    del self._used[lane]
            lane = await self._new(route)
            return lane, await lane.ask(request, plan, pace)
        except BaseException:
            if lane is not None and lane in self._used:
                self.give_back(lane)
            else:
                self._slots.free(origin)
            raise

    def give_back(self, lane: Lane) -> None:
        """The exchange is over: keep the lane if it can be used again, else close it."""
        route = self._used.pop(lane)
        self._slots.free(("http", route.host, route.port))
        if not lane.usable:
            lane.close()
            return
        lane.idle_since = asyncio.get_running_loop().time()
        self._idle.setdefault(route, []).append(lane)
        if self.idle > MAX_IDLE:
            min((kept[0] for kept in self._idle.values() if kept), key=lambda one: one.idle_since).close()

    def aclose(self) -> None:
        """Close every lane; what is under way fails."""
        for lane in [*self._used, *(lane for kept in self._idle.values() for lane in kept)]:
            lane.close()
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _kept(self, route: Route) -> Lane | None:
        kept = self._idle.get(route)
        while kept:
            lane = kept.pop()
            if lane.usable:
                self._used[lane] = route
                self._watch()
                return lane
        return None

    async def _new(self, route: Route) -> Lane:
        config = self._config
        made = await self._dialer.connect(route, config.connect_timeout_s)
        stall = Stall(config.stall_timeout_s, config.min_rate_bytes_per_s)
        loop = asyncio.get_running_loop()
        try:
            _, lane = await loop.create_connection(
                lambda: Lane(made, config.header_timeout_s, stall, self._lost), sock=made
            )
        except BaseException:
            made.close()
            raise
        self._used[lane] = route
        self._watch()
        return lane

    def _lost(self, lane: Lane) -> None:
        for route, kept in self._idle.items():
            if lane in kept:
                kept.remove(lane)
                if not kept:
                    del self._idle[route]
                return

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for lane in list(self._used):
            lane.check(now)
        for kept in list(self._idle.values()):
            for lane in [one for one in kept if now - one.idle_since >= IDLE_S]:
                lane.close()
        if self._used or any(self._idle.values()):
            self._watch()
