"""One load for all who ask; each comes and goes alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from p2pstore.agent import loads as loads_module
from p2pstore.agent.asks import Asks, Request
from p2pstore.agent.loads import Load, Loads, Outcome
from p2pstore.config import Config
from p2pstore.errors import InternalError, NotFound, Overloaded, P2PStoreError
from p2pstore.types import PUBLIC, ByteRange, Caller, Draft, Entry, Root, Version

ASKS = Asks(Config(), agent_uid=1)


def request(url: str = "http://host/file", **more: Any) -> Request:
    return ASKS.read({"url": url, **more}, Caller(uid=7, gid=7, pid=1))


def entry_of(one: Request) -> Entry:
    draft = Draft(key=one.key, url=one.url.text, scope=PUBLIC, ver=Version("v" * 32))
    return draft.entry(Root("r" * 64), 3, 262144)


class Work:
    """What loads run: each waits until the test lets it go, and says when it was stopped."""

    def __init__(self) -> None:
        self.begun: list[Load] = []
        self.ended: list[str] = []
        self.go = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.result: Callable[[Load], Outcome] = lambda load: Outcome(entry_of(load.request), 3)

    async def run(self, load: Load) -> Outcome:
        self.begun.append(load)
        try:
            await self.go.wait()
            outcome = self.result(load)
        except asyncio.CancelledError:
            async with asyncio.timeout(5):  # a test that failed must end
                await self.may_stop.wait()
            self.ended.append("stopped")
            raise
        self.ended.append("done")
        return outcome


def loads_of(
    run: Callable[[Load], Awaitable[Outcome]], *, max_loads: int = 8, max_waiting: int = 100
) -> Loads:
    return Loads(run, lambda: 0.0, max_loads, max_waiting)


def join(loads: Loads, one: Request, fallback: Entry | None = None) -> tuple[Load, Callable[[], None], bool]:
    load, waiter, new = loads.join((one.key, None), one, fallback)
    return load, lambda: loads.leave(load, waiter), new


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_many_who_ask_share_one_load() -> None:
    work = Work()
    loads = loads_of(work.run)
    one = request()
    joined = [join(loads, one) for _ in range(50)]
    work.go.set()
    outcomes = [await asyncio.shield(load.future) for load, _, _ in joined]
    assert len(work.begun) == 1
    assert [new for _, _, new in joined] == [True] + [False] * 49
    assert all(outcome is outcomes[0] for outcome in outcomes)
    for _, leave, _ in joined:
        leave()
    assert len(loads) == 0


async def test_other_keys_are_other_loads() -> None:
    work = Work()
    loads = loads_of(work.run)
    leaves = [join(loads, request(f"http://host/{name}"))[1] for name in "abc"]
    await turns()
    assert len(work.begun) == 3
    for leave in leaves:
        leave()
    await loads.aclose()


async def test_one_who_leaves_takes_only_itself_away() -> None:
    work = Work()
    loads = loads_of(work.run)
    load, first, _ = join(loads, request())
    _, second, _ = join(loads, request())
    await turns()
    first()
    await turns()
    assert work.ended == []
    work.go.set()
    assert (await asyncio.shield(load.future)).origin_bytes == 3
    second()


async def test_leaving_twice_counts_once() -> None:
    work = Work()
    loads = loads_of(work.run)
    _, first, _ = join(loads, request())
    load, second, _ = join(loads, request())
    await turns()
    first()
    first()
    await turns()
    assert work.ended == []
    work.go.set()
    await load.future
    second()


async def test_the_last_one_to_leave_stops_the_load() -> None:
    work = Work()
    loads = loads_of(work.run)
    _, leave, _ = join(loads, request())
    await turns()
    leave()
    await turns()
    assert work.ended == ["stopped"]
    assert len(loads) == 0


@pytest.mark.parametrize("alone", [False, True])
async def test_a_load_begun_again_waits_until_the_stopped_one_has_put_its_things_away(alone: bool) -> None:
    work = Work()
    work.may_stop.clear()
    loads = loads_of(work.run)
    _, leave, _ = join(loads, request())
    await turns()
    leave()
    one = request()
    load, waiter, new = loads.join((one.key, one.caller.uid if alone else None), one, None)
    assert new
    await turns()
    assert len(work.begun) == 1, "two loads of one key must not work on the same unfinished file"
    work.may_stop.set()
    work.go.set()
    await load.future
    assert work.ended == ["stopped", "done"]
    loads.leave(load, waiter)


async def test_each_uid_has_one_load_of_a_key_at_a_time() -> None:
    work = Work()
    loads = loads_of(work.run)
    mine, theirs = request(), ASKS.read({"url": "http://host/file"}, Caller(uid=8, gid=8, pid=1))
    shared, own = (mine.key, None), (mine.key, 7)
    assert loads.key_for(mine) == shared
    assert loads.key_for(mine, alone=True) == own
    begun, waiter, _ = loads.join(shared, mine, None)
    assert loads.key_for(mine, alone=True) == shared, "the one for all is mine already"
    assert loads.key_for(theirs, alone=True) == (mine.key, 8)
    loads.leave(begun, waiter)
    begun, waiter, _ = loads.join(shared, theirs, None)
    assert loads.key_for(mine, alone=True) == own
    alone, alone_waiter, _ = loads.join(own, mine, None)
    assert loads.key_for(mine) == own
    assert loads.key_for(theirs) == shared
    loads.leave(begun, waiter)
    loads.leave(alone, alone_waiter)
    await loads.aclose()


async def test_closing_waits_for_stopped_loads_too() -> None:
    work = Work()
    work.may_stop.clear()
    loads = loads_of(work.run)
    _, leave, _ = join(loads, request())
    join(loads, request("http://host/other"))
    await turns()
    leave()
    closing = asyncio.create_task(loads.aclose())
    await turns()
    assert not closing.done()
    work.may_stop.set()
    await closing
    assert work.ended == ["stopped", "stopped"]


async def test_closing_tells_those_who_wait() -> None:
    work = Work()
    loads = loads_of(work.run)
    load, _, _ = join(loads, request())
    await turns()
    await loads.aclose()
    with pytest.raises(Overloaded):
        await load.future


@pytest.mark.parametrize(
    ("failure", "told"), [(NotFound("gone"), NotFound), (ValueError("a defect"), InternalError)]
)
async def test_every_waiter_hears_of_the_failure(failure: Exception, told: type[P2PStoreError]) -> None:
    async def fail(load: Load) -> Outcome:
        raise failure

    loads = loads_of(fail)
    joined = [join(loads, request()) for _ in range(3)]
    for load, leave, _ in joined:
        with pytest.raises(told):
            await asyncio.shield(load.future)
        leave()
    assert len(loads) == 0


async def test_a_failure_is_not_remembered() -> None:
    work = Work()

    async def fail_once(load: Load) -> Outcome:
        if not work.begun:
            work.begun.append(load)
            raise NotFound("not yet")
        return Outcome(entry_of(load.request), 3)

    loads = loads_of(fail_once)
    load, leave, _ = join(loads, request())
    with pytest.raises(NotFound):
        await load.future
    leave()
    load, leave, new = join(loads, request())
    assert new
    assert (await load.future).origin_bytes == 3
    leave()


async def test_only_so_many_loads_run_at_once_and_all_have_their_turn() -> None:
    running = most = 0

    async def run(load: Load) -> Outcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await turns(3)
        running -= 1
        return Outcome(entry_of(load.request), 3)

    loads = loads_of(run, max_loads=2)
    joined = [join(loads, request(f"http://host/{number}")) for number in range(9)]
    for load, leave, _ in joined:
        await load.future
        leave()
    assert most == 2


async def test_too_many_who_wait_are_refused_until_some_left() -> None:
    work = Work()
    loads = loads_of(work.run, max_waiting=2)
    _, first, _ = join(loads, request())
    _, second, _ = join(loads, request("http://host/other"))
    with pytest.raises(Overloaded):
        join(loads, request())
    first()
    _, third, _ = join(loads, request())
    for leave in (second, third):
        leave()
    await loads.aclose()


@pytest.mark.parametrize(
    ("rates", "rate"),
    [([1000], 1000), ([1000, 5000], 5000), ([1000, 0], 0), ([0], 0)],
    ids=str,
)
async def test_a_shared_load_runs_at_its_fastest_waiters_rate(rates: list[int], rate: int) -> None:
    work = Work()
    loads = loads_of(work.run)
    joined = [join(loads, request(limit_rate=one)) for one in rates]
    assert joined[0][0].bucket.rate_bytes_per_s == rate
    for _, leave, _ in joined:
        leave()
    await loads.aclose()


async def test_the_rate_falls_when_the_fastest_leaves() -> None:
    work = Work()
    loads = loads_of(work.run)
    load, slow, _ = join(loads, request(limit_rate=10))
    _, fast, _ = join(loads, request())
    assert load.bucket.rate_bytes_per_s == 0
    fast()
    assert load.bucket.rate_bytes_per_s == 10
    slow()
    await loads.aclose()


async def test_what_is_kept_for_the_waiters_only_is_closed_when_the_last_one_left() -> None:
    reading, writing = os.pipe()
    os.close(writing)

    async def run(load: Load) -> Outcome:
        return Outcome(entry_of(load.request), 3, fd=reading)

    loads = loads_of(run)
    load, first, _ = join(loads, request())
    _, second, _ = join(loads, request())
    await load.future
    first()
    os.fstat(reading)
    second()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)


class Growing:
    """An unfinished file of which the test says what is there."""

    def __init__(self) -> None:
        self.there = 0
        self.on_piece: Callable[[int], None] | None = None

    def fd(self) -> int:
        return os.open(os.devnull, os.O_RDONLY)

    def has(self, rng: ByteRange) -> bool:
        return rng.stop <= self.there

    def grow(self, stop: int) -> None:
        self.there = stop
        assert self.on_piece is not None
        self.on_piece(0)


async def growing_load(work: Work) -> tuple[Loads, Load, Growing]:
    loads = loads_of(work.run)
    load, _, _ = join(loads, request())
    growing = Growing()
    load.begin(growing, 100)  # type: ignore[arg-type]
    return loads, load, growing


async def test_a_read_waits_for_its_own_bytes_only() -> None:
    loads, load, growing = await growing_load(Work())
    early = asyncio.create_task(load.until_there(ByteRange(0, 10)))
    late = asyncio.create_task(load.until_there(ByteRange(50, 60)))
    await turns()
    growing.grow(10)
    await early
    assert not late.done()
    growing.grow(60)
    await late
    await loads.aclose()


async def test_several_reads_of_one_reader_wait_side_by_side() -> None:
    loads, load, growing = await growing_load(Work())
    reads = [asyncio.create_task(load.until_there(ByteRange(at, at + 10))) for at in (0, 20, 40)]
    await turns()
    growing.grow(30)
    await asyncio.wait_for(asyncio.gather(*reads[:2]), 5)
    assert not reads[2].done()
    growing.grow(50)
    await asyncio.wait_for(reads[2], 5)
    assert load.reads == {}
    await loads.aclose()


async def test_a_read_that_was_given_up_leaves_nothing_behind() -> None:
    loads, load, _ = await growing_load(Work())
    read = asyncio.create_task(load.until_there(ByteRange(0, 10)))
    await turns()
    read.cancel()
    await asyncio.gather(read, return_exceptions=True)
    assert load.reads == {}
    await loads.aclose()


async def test_reads_end_with_the_load_whatever_became_of_it() -> None:
    work = Work()
    loads, load, _ = await growing_load(work)
    read = asyncio.create_task(load.until_there(ByteRange(0, 10)))
    await turns()

    def fail(_: Load) -> Outcome:
        raise NotFound("gone")

    work.result = fail
    work.go.set()
    await asyncio.wait_for(read, 5)
    assert isinstance(load.future.exception(), NotFound)
    assert len(loads) == 0


async def test_reads_hear_of_another_version() -> None:
    loads, load, _ = await growing_load(Work())
    read = asyncio.create_task(load.until_there(ByteRange(0, 10)))
    await turns()
    load.restart()
    await asyncio.wait_for(read, 5)
    assert load.partial is None
    await loads.aclose()


async def test_reads_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads_module, "MAX_READS_WAITING", 2)
    loads, load, _ = await growing_load(Work())
    reads = [asyncio.create_task(load.until_there(ByteRange(0, 10))) for _ in range(2)]
    await turns()
    with pytest.raises(Overloaded):
        await load.until_there(ByteRange(0, 10))
    for read in reads:
        read.cancel()
    await asyncio.gather(*reads, return_exceptions=True)
    await loads.aclose()
