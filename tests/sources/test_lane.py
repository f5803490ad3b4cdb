"""What only lanes do: how bytes reach the blocks, and when a lane is used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from p2pstore import errors
from p2pstore.sources.base import unpaced
from p2pstore.sources.dial import Dialer, Route
from p2pstore.sources.filling import Filling
from p2pstore.sources.heads import Head, OddHead
from p2pstore.sources.lane import BUFFER_BYTES
from p2pstore.sources.pool import LanePool
from p2pstore.sources.slots import Slots
from p2pstore.trust.gate import GateRules
from tests.origin import Behaviour, Origin, content

BIG = content(3_000_000)


@pytest.fixture
async def pool(make_config: Any) -> AsyncIterator[LanePool]:
    made = LanePool(make_config(), Dialer(GateRules()), Slots(16))
    yield made
    made.aclose()
    await asyncio.sleep(0)


@pytest.fixture
def route(origin: Origin) -> Route:
    return Route("127.0.0.1", origin.port, True, False)


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *lines, "", ""]).encode()


def hold(head: Head) -> None:
    """Leave the body where it is."""


async def test_a_planned_body_goes_into_the_blocks_at_once(
    pool: LanePool, origin: Origin, route: Route, sink: Any
) -> None:
    origin.serve("/f", BIG)
    lane, head = await pool.ask(route, get("/f"), lambda head: Filling(sink, 0, len(BIG)))
    assert head.status == 200 and lane.usable
    pool.give_back(lane)
    assert sink.data == BIG
    assert pool.idle == 1
    assert sink.given == [
        (at, min(sink.block_bytes, len(BIG) - at)) for at in range(0, len(BIG), sink.block_bytes)
    ]


@pytest.mark.parametrize("size", [0, 1, 1000, BUFFER_BYTES - 1000, BUFFER_BYTES, BUFFER_BYTES * 2])
async def test_a_held_body_waits_for_its_reader(
    pool: LanePool, origin: Origin, route: Route, sink: Any, size: int
) -> None:
    origin.serve("/f", BIG[:size])
    lane, _ = await pool.ask(route, get("/f"), hold)
    assert lane.length == size
    if lane.held_whole:
        assert lane.take_held() == BIG[:size]
    else:
        await asyncio.sleep(0.05)
        assert lane.received <= BUFFER_BYTES, "more was read than anybody asked for"
        await lane.pour(Filling(sink, 0, size), unpaced)
        assert sink.data == BIG[:size]
    assert lane.usable
    pool.give_back(lane)


async def test_a_small_body_is_held_whole_though_it_comes_after_its_head(
    pool: LanePool, origin: Origin, route: Route
) -> None:
    origin.serve("/f", BIG[:20_000], behaviour=Behaviour(drip_bytes=15_000, drip_s=0.02))
    pool._tick_s = 30.0  # so that nothing but the body's end ends the wait
    lane, _ = await pool.ask(route, get("/f"), hold)
    assert lane.held_whole
    pool.give_back(lane)


async def test_a_small_body_that_does_not_come_does_not_hold_up_its_head(
    pool: LanePool, origin: Origin, route: Route
) -> None:
    origin.serve("/f", BIG[:20_000], behaviour=Behaviour(stall_after=10_000))
    lane, head = await pool.ask(route, get("/f"), hold)
    assert head.status == 200 and not lane.held_whole
    pool.give_back(lane)
    assert not lane.usable and pool.idle == 0


async def test_reads_in_small_steps_while_paced(
    pool: LanePool, origin: Origin, route: Route, sink: Any
) -> None:
    origin.serve("/f", BIG[:400_000])
    seen: list[int] = []

    def pace(size: int) -> float:
        seen.append(size)
        return size / 10_000_000

    lane, _ = await pool.ask(route, get("/f"), lambda head: Filling(sink, 0, 400_000), pace)
    pool.give_back(lane)
    assert sum(seen) == 400_000
    assert max(seen[2:]) <= 64 << 10


@pytest.mark.parametrize("behaviour", [Behaviour(framing="chunked"), Behaviour(framing="close")])
async def test_leaves_other_framings_to_others(
    pool: LanePool, origin: Origin, route: Route, behaviour: Behaviour
) -> None:
    origin.serve("/f", BIG, behaviour=behaviour)
    with pytest.raises(OddHead):
        await pool.ask(route, get("/f"), hold)
    assert pool.idle == 0


async def test_a_plan_that_refuses_ends_the_exchange(pool: LanePool, origin: Origin, route: Route) -> None:
    origin.serve("/f", BIG)

    def refuse(head: Head) -> None:
        raise errors.OriginChanged("another")

    with pytest.raises(errors.OriginChanged):
        await pool.ask(route, get("/f"), refuse)
    assert pool.idle == 0


async def test_a_closing_answer_is_not_kept(pool: LanePool, origin: Origin, route: Route, sink: Any) -> None:
    origin.serve("/f", BIG, headers={"Connection": "close"})
    lane, _ = await pool.ask(route, get("/f"), lambda head: Filling(sink, 0, len(BIG)))
    pool.give_back(lane)
    assert sink.data == BIG and pool.idle == 0
