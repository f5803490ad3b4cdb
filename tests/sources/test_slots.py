"""Connections in use at once."""

from __future__ import annotations

import asyncio

import pytest

from p2pstore.errors import Overloaded
from p2pstore.sources import slots as slots_module
from p2pstore.sources.slots import Slots

HERE = ("http", "h", 80)
THERE = ("https", "h", 443)


async def test_the_first_that_waits_is_the_first_served() -> None:
    slots, order = Slots(2), []

    async def use(name: int) -> None:
        await slots.take(HERE)
        order.append(name)

    await asyncio.gather(use(0), use(1))
    waiting = [asyncio.create_task(use(name)) for name in (2, 3, 4)]
    await asyncio.sleep(0)
    assert not slots.take_now(HERE) and slots.take_now(THERE)
    waiting[1].cancel()
    await asyncio.sleep(0)
    slots.free(HERE)
    slots.free(HERE)
    await asyncio.gather(waiting[0], waiting[2])
    assert order == [0, 1, 2, 4]
    assert slots.used(HERE) == 2
    slots.free(HERE)
    slots.free(HERE)
    assert slots.used(HERE) == 0


async def test_a_turn_that_came_with_the_cancellation_is_passed_on() -> None:
    slots = Slots(1)
    await slots.take(HERE)
    one, two = asyncio.create_task(slots.take(HERE)), asyncio.create_task(slots.take(HERE))
    await asyncio.sleep(0)
    slots.free(HERE)
    one.cancel()
    await asyncio.wait([one, two], timeout=5)
    assert one.cancelled() and two.done() and not two.cancelled()
    assert slots.used(HERE) == 1


async def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "MAX_WAITING", 1)
    monkeypatch.setattr(slots_module, "WAIT_TIMEOUT_S", 0.05)
    slots = Slots(1)
    await slots.take(HERE)
    waits = asyncio.create_task(slots.take(HERE))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await slots.take(HERE)
    with pytest.raises(Overloaded):
        await waits
    slots.free(HERE)
    assert slots.used(HERE) == 0
