"""The body that a lane holds, read in one of three ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from p2pstore import errors
from p2pstore.sources.base import unpaced
from p2pstore.sources.dial import Dialer, Route
from p2pstore.sources.lane_body import RELAY_BLOCK_BYTES, LaneBody
from p2pstore.sources.pool import LanePool
from p2pstore.sources.slots import Slots
from p2pstore.trust.gate import GateRules
from tests.origin import Origin, content

SIZES = [0, 1, 10_000, 200_000, 2_000_000]


@pytest.fixture
async def pool(make_config: Any) -> AsyncIterator[LanePool]:
    made = LanePool(make_config(), Dialer(GateRules()), Slots(1))
    yield made
    made.aclose()
    await asyncio.sleep(0)


async def held(pool: LanePool, origin: Origin, size: int, start: int = 0) -> LaneBody:
    origin.serve("/f", content(size))
    route = Route("127.0.0.1", origin.port, True, False)
    lane, _ = await pool.ask(route, b"GET /f HTTP/1.1\r\nHost: h\r\n\r\n", lambda head: None)
    return LaneBody(pool, lane, origin.url("/f"), start)


@pytest.mark.parametrize("size", SIZES)
async def test_three_ways_to_read_it(pool: LanePool, origin: Origin, sink: Any, size: int) -> None:
    body = await held(pool, origin, size)
    assert await body.read(size) == content(size)
    body = await held(pool, origin, size)
    assert b"".join([chunk async for chunk in body.chunks()]) == content(size)
    body = await held(pool, origin, size, 65536)
    assert await body.pour(sink, unpaced) == size
    assert sink.data[65536:] == content(size)
    assert (pool.idle, origin.connections) == (1, 1)


async def test_a_small_body_frees_its_connection_before_it_is_read(pool: LanePool, origin: Origin) -> None:
    body = await held(pool, origin, 10_000)
    assert pool.idle == 1
    assert await body.read(10_000) == content(10_000)


async def test_a_slow_reader_of_chunks_slows_the_origin(pool: LanePool, origin: Origin) -> None:
    body = await held(pool, origin, 40_000_000)
    chunks = body.chunks()
    got = await anext(chunks)
    await asyncio.sleep(0.1)
    assert len(got) <= RELAY_BLOCK_BYTES
    assert origin.bytes_sent("/f") < 30_000_000, "everything was read though nobody wanted it yet"
    async for chunk in chunks:
        got += chunk
    assert got == content(40_000_000)


@pytest.mark.parametrize("size", [10_000, 2_000_000])
async def test_too_long_for_its_reader(pool: LanePool, origin: Origin, size: int) -> None:
    body = await held(pool, origin, size)
    with pytest.raises(errors.OriginBroken):
        await body.read(size - 1)
    await body.aclose()
    assert await (await held(pool, origin, 5)).read(5) == content(5)
