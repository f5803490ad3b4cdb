"""Copying chunks into blocks, and noticing that none come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.sources.body import Copying
from p2pstore.sources.filling import Filling, Memory
from tests.origin import content

DATA = content(200_000)


@given(st.lists(st.integers(0, 5000), max_size=30), st.booleans())
def test_any_chunks_make_the_same_bytes(sizes: list[int], known: bool) -> None:
    total = sum(sizes)
    memory = Memory(total + 1)

    async def copy() -> None:
        filling = Filling(memory, 0, total if known else None)
        copying, at = Copying(filling), 0
        for size in sizes:
            await copying.write(DATA[at : at + size])
            at += size
        copying.end()
        assert filling.poured == total

    asyncio.run(copy())
    assert memory.data[:total] == DATA[:total]


async def test_waits_for_room(make_sink: Any) -> None:
    sink = make_sink(blocks=1, block_bytes=1000)
    sink.stuck = True
    copying = Copying(Filling(sink, 0, 2500))
    task = asyncio.create_task(copying.write(DATA[:2500]))
    await sink.exhausted.wait()
    assert sink.given == [(0, 1000)] and not task.done()
    sink.unstick()
    await task
    copying.end()
    assert sink.data == DATA[:2500]


async def test_stops_at_the_limit(make_sink: Any) -> None:
    sink = make_sink(block_bytes=1000)
    copying = Copying(Filling(sink, 0, 5000, lambda _: 2000))
    await copying.write(DATA[:5000])
    copying.end()
    assert sink.data == DATA[:2000]


async def test_an_error_of_the_sink_is_the_writers(make_sink: Any) -> None:
    sink = make_sink()
    sink.error = OSError("full")
    with pytest.raises(OSError, match="full"):
        await Copying(Filling(sink, 0, 10)).write(b"x")
