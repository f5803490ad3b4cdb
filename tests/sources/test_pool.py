"""Lanes kept, replaced and closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from p2pstore import errors
from p2pstore.sources import pool as pool_module
from p2pstore.sources.dial import Dialer, Route
from p2pstore.sources.filling import Filling
from p2pstore.sources.heads import Head
from p2pstore.sources.pool import LanePool
from p2pstore.sources.slots import Slots
from p2pstore.trust.gate import GateRules
from tests.origin import Behaviour, Origin, content

BIG = content(3_000_000)


@pytest.fixture
def slots() -> Slots:
    return Slots(16)


@pytest.fixture
async def pool(make_config: Any, slots: Slots) -> AsyncIterator[LanePool]:
    made = LanePool(make_config(), Dialer(GateRules()), slots)
    yield made
    made.aclose()
    await asyncio.sleep(0)


@pytest.fixture
def route(origin: Origin) -> Route:
    return Route("127.0.0.1", origin.port, True, False)


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


def hold(head: Head) -> None:
    """Leave the body where it is."""


async def test_closing_fails_what_is_under_way(
    pool: LanePool, origin: Origin, route: Route, sink: Any
) -> None:
    origin.serve("/f", BIG, behaviour=Behaviour(stall_after=1_000_000))
    task = asyncio.create_task(pool.ask(route, get("/f"), lambda head: Filling(sink, 0, len(BIG))))
    await origin.stalled("/f")
    pool.aclose()
    with pytest.raises(errors.OriginUnreachable):
        await task
    assert sink.out == 0


async def test_idle_lanes_end_in_time_and_number(
    pool: LanePool, origin: Origin, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.serve("/f", b"x")
    lanes = [(await pool.ask(route, get("/f"), hold))[0] for _ in range(3)]
    monkeypatch.setattr(pool_module, "MAX_IDLE", 2)
    for lane in lanes:
        lane.take_held()
        pool.give_back(lane)
    await asyncio.sleep(0)
    assert pool.idle == 2
    monkeypatch.setattr(pool_module, "IDLE_S", 0.0)
    pool._look()
    await asyncio.sleep(0)
    assert pool.idle == 0


async def test_bytes_that_wait_on_a_kept_lane_are_not_the_next_answer(
    pool: LanePool, raw_server: Any, sink: Any
) -> None:
    sent = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
        writer.write(answer + (b"good" if b"/good" in request else b"evil"))
        await writer.drain()
        if b"/good" not in request:
            await sent.wait()
            writer.write(answer + b"evil")
        await reader.read()

    route = Route("127.0.0.1", await raw_server(script), True, False)
    lane, _ = await pool.ask(route, get("/evil"), hold)
    lane.take_held()
    pool.give_back(lane)
    lane._transport.pause_reading()  # type: ignore[union-attr]  # as if the loop had not come round to it
    sent.set()
    for _ in range(500):
        if lane._extra():
            break
        await asyncio.sleep(0.01)
    lane, _ = await pool.ask(route, get("/good"), hold)
    assert lane.take_held() == b"good"
    pool.give_back(lane)


async def test_every_end_frees_its_slot(pool: LanePool, slots: Slots, origin: Origin, route: Route) -> None:
    place = ("http", route.host, route.port)
    origin.serve("/good", b"x")
    origin.serve("/gone", behaviour=Behaviour(hang_up=True))
    origin.serve("/silent", behaviour=Behaviour(silent=True))
    lane, _ = await pool.ask(route, get("/good"), hold)
    assert slots.used(place) == 1
    lane.take_held()
    pool.give_back(lane)
    with pytest.raises(errors.OriginBroken):
        await pool.ask(route, get("/gone"), hold)
    task = asyncio.create_task(pool.ask(route, get("/silent"), hold))
    await origin.asked("/silent")
    assert slots.used(place) == 1
    task.cancel()
    await asyncio.wait([task])
    with pytest.raises(errors.GateRefused):
        await pool.ask(Route(route.host, route.port, False, False), get("/good"), hold)
    assert slots.used(place) == 0


async def test_lanes_are_kept_by_route(pool: LanePool, origin: Origin, route: Route) -> None:
    origin.serve("/f", b"x")
    lane, _ = await pool.ask(route, get("/f"), hold)
    lane.take_held()
    pool.give_back(lane)
    again, _ = await pool.ask(route, get("/f"), hold)
    assert again is lane
    other, _ = await pool.ask(route, get("/f"), hold)
    assert other is not lane
    for one in (again, other):
        one.take_held()
        pool.give_back(one)
    assert (pool.idle, origin.connections) == (2, 2)
