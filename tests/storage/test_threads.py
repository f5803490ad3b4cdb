"""Calls cross to a thread and back, in order, with their errors, and nothing is lost at the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from p2pstore.errors import Overloaded
from p2pstore.storage import threads
from p2pstore.storage.threads import Lane, Pool


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    lane = Lane("test-lane", asyncio.get_running_loop())
    yield lane
    await lane.close()


async def test_calls_run_in_order_on_one_thread(lane: Lane) -> None:
    ran: list[tuple[int, str]] = []

    def call(number: int) -> int:
        ran.append((number, threading.current_thread().name))
        return number * 2

    results = await asyncio.gather(*(lane.run(lambda n=n: call(n)) for n in range(200)))  # type: ignore[misc]
    assert results == [number * 2 for number in range(200)]
    assert ran == [(number, "test-lane") for number in range(200)]


async def test_an_error_belongs_to_its_call(lane: Lane) -> None:
    def fail() -> int:
        raise ValueError("mine")

    failed, fine = lane.run(fail), lane.run(lambda: 5)
    with pytest.raises(ValueError, match="mine"):
        await failed
    assert await fine == 5


async def test_what_follows_runs_even_if_nobody_waits(lane: Lane) -> None:
    got: list[int] = []
    future = lane.run(lambda: 5, then=got.append)
    future.cancel()
    await lane.run(lambda: None)
    assert got == [5]


async def test_what_is_queued_is_done_before_the_end() -> None:
    lane = Lane("test-lane", asyncio.get_running_loop())
    futures = [lane.run(lambda n=n: n) for n in range(10)]  # type: ignore[misc]
    await lane.close()
    assert await asyncio.gather(*futures) == list(range(10))


async def test_a_full_lane_says_so(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MAX_CALLS", 3)
    go = threading.Event()
    # The first may be running already, so it does not count.
    futures = [lane.run(lambda: go.wait(10)) for _ in range(3)]
    with pytest.raises(Overloaded):
        futures += [lane.run(lambda: go.wait(10)) for _ in range(2)]
    go.set()
    await asyncio.gather(*futures)


async def test_a_pool_works_side_by_side() -> None:
    pool = Pool("test-pool", 2)
    meeting = threading.Barrier(2)
    await asyncio.gather(*(pool.run(lambda: meeting.wait(10)) for _ in range(2)))

    def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await pool.run(fail)
    done: list[int] = []
    pool.submit(done.append, 1)
    await pool.close()
    assert done == [1]


def test_a_loop_that_ended_first_does_no_harm() -> None:
    done = threading.Event()

    async def main() -> Lane:
        lane = Lane("test-lane", asyncio.get_running_loop())
        lane.run(lambda: done.wait(10))
        return lane

    lane = asyncio.run(main())
    done.set()
    lane._calls.put(None)
    lane._thread.join(10)
    assert not lane._thread.is_alive()
