"""From an answer to all pieces on disk, with sources that fail as the test says and a real unfinished file."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from p2pstore.agent.asks import Asks
from p2pstore.agent.downloader import Downloader, retry_rules
from p2pstore.agent.loads import BURST_BYTES, Load
from p2pstore.config import MIB, Config, OriginConfig
from p2pstore.errors import OriginBroken, OriginChanged, OriginRefused, P2PStoreError
from p2pstore.sources.base import Answer, Limit, Pace, Sink
from p2pstore.storage.partial import Partial
from p2pstore.swarm.limits import TokenBucket
from p2pstore.swarm.pieces import piece_bytes
from p2pstore.types import PUBLIC, ByteRange, Caller, Draft, Version
from tests.agent.rig import PIECE, Rig, content, read_all

URL = "http://host.example/file"
TOTAL = 12 * PIECE + 777
BODY = content(TOTAL)
CONFIG = OriginConfig(retries=2, retry_wait_s=0.0, streams=3)


class Body:
    """The body of an answer: bytes `start` to `stop`, or an error after some of them."""

    def __init__(self, start: int, stop: int, error: P2PStoreError | None = None) -> None:
        self.start, self.stop, self.error = start, stop, error

    async def read(self, limit: int) -> bytes:
        return BODY[self.start : self.stop]

    async def pour(self, sink: Sink, pace: Pace) -> int:
        await fill(sink, self.start, lambda _: self.stop, pace)
        if self.error is not None:
            raise self.error
        return self.stop - self.start

    def chunks(self) -> AsyncIterator[bytes]:
        raise AssertionError

    async def aclose(self) -> None: ...


async def fill(sink: Sink, start: int, limit: Limit, pace: Pace) -> None:
    """Give bytes to a sink as a source would, block after block."""
    at = start
    while at < limit(at):
        block = sink.take()
        while block is None:
            room = asyncio.Event()
            sink.on_room(room.set)
            await room.wait()
            block = sink.take()
        size = min(len(block), limit(at + len(block)) - at)
        block[:size] = BODY[at : at + size]
        sink.give(at, block, size)
        pace(size)
        at += size
        await asyncio.sleep(0)


class Ranges:
    """Ranges of BODY; `trouble` is asked before each and may raise, or say after how many bytes it breaks."""

    def __init__(self, pace: Pace, trouble: Callable[[ByteRange], int | None]) -> None:
        self.pace, self.trouble = pace, trouble
        self.asked: list[ByteRange] = []
        self.running = self.most = 0

    async def fetch(self, span: ByteRange, sink: Sink, limit: Limit) -> None:
        self.asked.append(span)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            breaks = self.trouble(span)
            if breaks is None:
                await fill(sink, span.start, limit, self.pace)
                return
            await fill(sink, span.start, lambda begun: min(limit(begun), span.start + breaks), self.pace)
            raise OriginBroken("broken off")
        finally:
            self.running -= 1


class Bench:
    """One load with its unfinished file, and the downloader that fills it."""

    def __init__(self, rig: Rig, partial: Partial, config: OriginConfig) -> None:
        asks = Asks(Config(), agent_uid=1)
        request = asks.read({"url": URL}, Caller(uid=7, gid=7, pid=1))
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.now = 0.0
        self.load = Load((request.key, None), request, self.future, TokenBucket(0, BURST_BYTES, 0.0))
        self.shared = TokenBucket(0, BURST_BYTES, 0.0)
        self.downloader = Downloader(config, self.shared, lambda: self.now, random.Random(1))
        self.partial = partial
        self.load.begin(partial, TOTAL)

    def answer(self, stop: int | None, error: P2PStoreError | None = None, start: int = 0) -> Answer:
        """What the origin said first: bytes up to `stop`, or all of them without ranges (None)."""
        return Answer(
            status=200 if stop is None else 206,
            headers=(),
            url=URL,
            request_at=0.0,
            response_at=0.0,
            total=TOTAL,
            span=None if stop is None else ByteRange(start, stop),
            ranges=stop is not None,
            validator='"1"',
            hops=(),
            body=Body(start, TOTAL if stop is None else stop, error),
        )

    async def in_parts(self, answer: Answer, trouble: Callable[[ByteRange], int | None]) -> Ranges:
        """Download with range requests that meet trouble."""
        ranges = Ranges(self.downloader.pace(self.load), trouble)
        self.ranges = ranges
        await self.downloader.in_parts(self.load, answer, ranges, self.partial, TOTAL)
        return ranges

    def data(self) -> bytes:
        """What is on disk."""
        return read_all(self.partial.fd())


@pytest.fixture
async def bench(rig: Rig) -> AsyncIterator[Bench]:
    """A load of TOTAL bytes."""
    draft = Draft(
        key=Asks(Config(), 1).read({"url": URL}, Caller(uid=7, gid=7, pid=1)).key,
        url=URL,
        scope=PUBLIC,
        ver=Version("0" * 32),
        validator='"1"',
    )
    partial = await rig.store.begin(draft, TOTAL, piece_bytes(TOTAL))
    yield Bench(rig, partial, CONFIG)
    await partial.discard()


def never(span: ByteRange) -> None:
    """No trouble."""


async def test_every_byte_is_asked_for_once_by_several_at_once(bench: Bench) -> None:
    ranges = await bench.in_parts(bench.answer(MIB), never)
    assert bench.data() == BODY
    asked = sorted((one.start, one.stop) for one in ranges.asked)
    assert asked[0][0] == MIB
    assert [stop for _, stop in asked[:-1]] == [start for start, _ in asked[1:]]
    assert asked[-1][1] == TOTAL
    assert ranges.most == CONFIG.streams
    assert bench.load.progress.received_bytes == TOTAL


async def test_a_first_answer_that_brings_all_needs_no_other(bench: Bench) -> None:
    ranges = await bench.in_parts(bench.answer(TOTAL), never)
    assert (bench.data(), ranges.asked) == (BODY, [])


@pytest.mark.parametrize(("start", "stop"), [(0, MIB - 4096), (4096, MIB), (0, 5)])
async def test_a_first_answer_that_ends_anywhere_is_asked_for_again(
    bench: Bench, start: int, stop: int
) -> None:
    await bench.in_parts(bench.answer(stop, start=start), never)
    assert bench.data() == BODY


async def test_a_request_that_breaks_is_made_again_for_what_is_missing(bench: Bench) -> None:
    broken: set[int] = set()

    def once_each(span: ByteRange) -> int | None:
        if span.start in broken:
            return None
        broken.add(span.start)
        return PIECE if len(span) > PIECE else None

    ranges = await bench.in_parts(bench.answer(MIB), once_each)
    assert bench.data() == BODY
    assert len(ranges.asked) >= len(broken) > CONFIG.streams


async def test_a_first_answer_that_breaks_costs_only_what_it_did_not_bring(bench: Bench) -> None:
    answer = replace_body(bench.answer(MIB), Body(0, 2 * PIECE, OriginBroken("broken off")))
    ranges = await bench.in_parts(answer, never)
    assert bench.data() == BODY
    assert min(one.start for one in ranges.asked) == 2 * PIECE


async def test_trouble_without_progress_ends_it_after_so_many_tries(bench: Bench) -> None:
    with pytest.raises(OriginBroken):
        await bench.in_parts(bench.answer(MIB), lambda span: 0)
    streams, tries = CONFIG.streams, CONFIG.retries + 1
    assert tries <= len(bench.ranges.asked) <= tries + streams
    assert bench.partial.have.bit_count() == 4, "what the first answer brought stays"


async def test_trouble_with_progress_is_borne_as_long_as_it_lasts(bench: Bench) -> None:
    ranges = await bench.in_parts(bench.answer(MIB), lambda span: PIECE if len(span) > PIECE else None)
    assert bench.data() == BODY
    assert len(ranges.asked) > CONFIG.retries + 1


async def test_a_change_ends_it_at_once_whatever_else_went_wrong(bench: Bench) -> None:
    asked = 0

    def trouble(span: ByteRange) -> int | None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise OriginChanged("another version")
        return 0

    with pytest.raises(OriginChanged):
        await bench.in_parts(bench.answer(MIB), trouble)
    assert bench.ranges.running == 0


async def test_a_refusal_is_not_tried_again(bench: Bench) -> None:
    def refuse(span: ByteRange) -> int | None:
        raise OriginRefused("no")

    with pytest.raises(OriginRefused):
        await bench.in_parts(bench.answer(MIB), refuse)
    assert len(bench.ranges.asked) <= CONFIG.streams


async def test_cancelling_stops_every_stream_and_keeps_what_came(bench: Bench) -> None:
    hold = asyncio.Event()

    class Slow(Ranges):
        async def fetch(self, span: ByteRange, sink: Sink, limit: Limit) -> None:
            self.running += 1
            try:
                await hold.wait()
            finally:
                self.running -= 1

    ranges = Slow(bench.downloader.pace(bench.load), never)
    task = asyncio.create_task(
        bench.downloader.in_parts(bench.load, bench.answer(MIB), ranges, bench.partial, TOTAL)
    )
    for _ in range(5000):
        if ranges.running == CONFIG.streams and bench.partial.have.bit_count() == 4:
            break
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ranges.running == 0
    assert bench.partial.have.bit_count() == 4


async def test_one_answer_may_bring_all_in_order(bench: Bench) -> None:
    await bench.downloader.whole(bench.load, bench.answer(None), bench.partial)
    assert bench.data() == BODY
    assert bench.load.progress.received_bytes == TOTAL


async def test_what_a_broken_answer_brought_is_written_before_the_error_shows(bench: Bench) -> None:
    answer = replace_body(bench.answer(None), Body(0, 3 * PIECE, OriginBroken("broken off")))
    with pytest.raises(OriginBroken):
        await bench.downloader.whole(bench.load, answer, bench.partial)
    assert bench.partial.have.bit_count() == 3


@pytest.mark.parametrize(
    ("own", "shared", "wait_s"), [(0, 0, 0), (MIB, 0, 1), (0, MIB, 1), (MIB, 2 * MIB, 1)]
)
async def test_the_slower_limit_counts(bench: Bench, own: int, shared: int, wait_s: float) -> None:
    bench.load.bucket.set_rate(own, 0.0)
    bench.shared.set_rate(shared, 0.0)
    pace = bench.downloader.pace(bench.load)
    assert pace(BURST_BYTES) == 0
    assert pace(MIB) == pytest.approx(wait_s)
    bench.now = 100.0
    assert pace(BURST_BYTES) == 0
    assert bench.load.progress.received_bytes == 2 * BURST_BYTES + MIB


def test_the_operators_rules_are_those_of_the_configuration() -> None:
    config = OriginConfig(retries=7, retry_wait_s=3.0, retry_after_max_s=9.0)
    rules = retry_rules(config)
    assert (rules.retries, rules.wait_s, rules.retry_after_max_s) == (7, 3.0, 9.0)


def replace_body(answer: Answer, body: Body) -> Answer:
    """The answer with another body."""
    return replace(answer, body=body)
