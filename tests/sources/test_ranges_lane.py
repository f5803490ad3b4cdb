"""Range requests on lanes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from p2pstore.sources.base import unpaced
from p2pstore.sources.origin import OriginClient
from p2pstore.types import ByteRange
from tests.origin import Behaviour, Origin, content

BODY = content(300_000)


@pytest.fixture
async def client(make_config: Any) -> AsyncIterator[OriginClient]:
    made = OriginClient(make_config())
    yield made
    await made.aclose()


async def test_ranges_move_to_aiohttp_when_an_answer_is_odd(
    client: OriginClient, origin: Origin, ask: Any, sink: Any
) -> None:
    asked = ask(origin.serve("/f", BODY), first=ByteRange(0, 10))
    answer = await client.first(asked)
    await answer.aclose()
    ranges = client.ranges(asked, answer, unpaced)
    origin.behave("/f", Behaviour(framing="chunked"))
    half = sink.block_bytes * 2
    await ranges.fetch(ByteRange(0, half), sink, lambda _: len(BODY))
    await ranges.fetch(ByteRange(half, len(BODY)), sink, lambda _: len(BODY))
    assert sink.data == BODY
    assert len(origin.requests("/f")) == 1 + 2 + 1


async def test_asks_nothing_that_is_no_longer_wanted(
    client: OriginClient, origin: Origin, ask: Any, sink: Any
) -> None:
    asked = ask(origin.serve("/f", BODY), first=ByteRange(0, 10))
    answer = await client.first(asked)
    await answer.aclose()
    ranges = client.ranges(asked, answer, unpaced)
    await ranges.fetch(ByteRange(65536, 131072), sink, lambda _: 65536)
    assert len(origin.log) == 1
    await ranges.fetch(ByteRange(65536, 196608), sink, lambda _: 131072)
    assert origin.log[1].range == "bytes=65536-131071"
    assert sink.given == [(65536, 65536)]


async def test_one_connection_for_span_after_span(
    client: OriginClient, origin: Origin, ask: Any, sink: Any
) -> None:
    asked = ask(origin.serve("/f", BODY), first=ByteRange(0, 10))
    answer = await client.first(asked)
    await answer.aclose()
    ranges = client.ranges(asked, answer, unpaced)
    for at in range(0, len(BODY), 65536):
        await ranges.fetch(ByteRange(at, min(at + 65536, len(BODY))), sink, lambda _: len(BODY))
    assert sink.data == BODY
    assert origin.connections == 1
