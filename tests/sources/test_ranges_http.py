"""Range requests through aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from p2pstore import errors
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


async def test_tls_ranges(make_config: Any, tls_origin: Origin, ask: Any, sink: Any, tmp_path: Any) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(tls_origin.ca_pem)
    client = OriginClient(make_config(ca_file=str(ca_file)))
    asked = ask(tls_origin.serve("/f", BODY), first=ByteRange(0, sink.block_bytes))
    answer = await client.first(asked)
    assert await answer.pour(sink) == sink.block_bytes
    await answer.aclose()
    ranges = client.ranges(asked, answer, unpaced)
    spans = [ByteRange(at, min(at + 2 * sink.block_bytes, len(BODY))) for at in (65536, 196608)]
    await asyncio.gather(*(ranges.fetch(span, sink, lambda _: len(BODY)) for span in spans))
    await client.aclose()
    assert sink.data == BODY
    assert tls_origin.connections <= 2


async def test_frees_its_connection_whatever_happens(
    make_config: Any, origin: Origin, ask: Any, sink: Any
) -> None:
    client = OriginClient(make_config(connections=1), lanes=False)
    asked = ask(origin.serve("/f", BODY), first=ByteRange(0, 10))
    answer = await client.first(asked)
    await answer.aclose()
    ranges = client.ranges(asked, answer, unpaced)
    origin.behave("/f", Behaviour(close_after=100, faults=2))
    with pytest.raises(errors.OriginBroken):
        await ranges.fetch(ByteRange(0, len(BODY)), sink, lambda _: len(BODY))
    origin.behave("/f", Behaviour(status=500))
    with pytest.raises(errors.OriginError):
        await ranges.fetch(ByteRange(0, len(BODY)), sink, lambda _: len(BODY))
    origin.behave("/f", Behaviour(stall_after=100_000))
    task = asyncio.create_task(ranges.fetch(ByteRange(0, len(BODY)), sink, lambda _: len(BODY)))
    await origin.stalled("/f")
    task.cancel()
    await asyncio.wait([task])
    origin.behave("/f", Behaviour())
    async with asyncio.timeout(10):
        await ranges.fetch(ByteRange(0, len(BODY)), sink, lambda _: len(BODY))
    assert (bytes(sink.data), sink.out) == (BODY, 0)
    await client.aclose()
