"""What the client decides between its ways."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from p2pstore.config import OriginConfig
from p2pstore.errors import BadConfig, BadUrl, OriginBroken
from p2pstore.sources import origin as origin_module
from p2pstore.sources.base import unpaced
from p2pstore.sources.origin import OriginClient
from p2pstore.types import ByteRange
from tests.origin import Behaviour, Origin, content

BODY = content(300_000)


@pytest.fixture
async def client(make_config: Any) -> Any:
    made = OriginClient(make_config())
    yield made
    await made.aclose()


async def read(client: OriginClient, ask: Any) -> bytes:
    answer = await client.first(ask)
    try:
        return await answer.read(1 << 20)
    finally:
        await answer.aclose()


async def test_an_odd_origin_is_asked_twice_once(client: OriginClient, origin: Origin, ask: Any) -> None:
    url = origin.serve("/f", BODY, behaviour=Behaviour(framing="chunked"))
    for requests in (2, 3, 4):
        assert await read(client, ask(url)) == BODY
        assert len(origin.requests("/f")) == requests


async def test_an_odd_origin_is_forgotten(
    client: OriginClient, origin: Origin, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin_module, "ODD_S", -1.0)
    url = origin.serve("/f", BODY, behaviour=Behaviour(framing="chunked"))
    assert await read(client, ask(url)) == BODY
    assert await read(client, ask(url)) == BODY
    assert len(origin.requests("/f")) == 4
    monkeypatch.setattr(origin_module, "MAX_ODD", 1)
    client._note_odd(("http", "a", 80))
    client._note_odd(("http", "b", 80))
    assert list(client._odd) == [("http", "b", 80)]


async def test_ranges_move_to_aiohttp_when_an_answer_is_odd(
    client: OriginClient, origin: Origin, ask: Any, sink: Any
) -> None:
    asked = ask(origin.serve("/f", BODY), first=ByteRange(0, 10))
    answer = await client.first(asked)
    await answer.aclose()
    ranges = client.ranges(asked, answer, unpaced)
    origin.behave("/f", Behaviour(framing="chunked"))
    half = sink.block_bytes * 2
    await ranges.fetch(ByteRange(0, half), sink, lambda: len(BODY))
    await ranges.fetch(ByteRange(half, len(BODY)), sink, lambda: len(BODY))
    assert sink.data == BODY
    assert len(origin.requests("/f")) == 1 + 2 + 1


async def test_lanes_can_be_switched_off(make_config: Any, origin: Origin, ask: Any) -> None:
    client = OriginClient(make_config(), lanes=False)
    assert await read(client, ask(origin.serve("/f", BODY))) == BODY
    assert client._lanes.idle == 0
    await client.aclose()


async def test_a_url_that_cannot_be_asked(client: OriginClient, ask: Any) -> None:
    for url in ("file:///etc/passwd", "http://h/\u00e9"):
        with pytest.raises(BadUrl):
            await client.first(ask(url))


async def test_a_ca_file_that_cannot_be_read(tmp_path: Any) -> None:
    with pytest.raises(BadConfig, match="ca_file"):
        OriginClient(OriginConfig(ca_file=str(tmp_path / "none.pem")))


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
    await asyncio.gather(*(ranges.fetch(span, sink, lambda: len(BODY)) for span in spans))
    await client.aclose()
    assert sink.data == BODY
    assert tls_origin.connections <= 2


async def test_a_body_is_read_once(client: OriginClient, origin: Origin, ask: Any, sink: Any) -> None:
    answer = await client.first(ask(origin.serve("/f", BODY)))
    await answer.pour(sink)
    with pytest.raises(OriginBroken):
        await answer.pour(sink)
    await answer.aclose()
    await answer.aclose()


async def test_closing_the_client_closes_its_connections(
    make_config: Any, origin: Origin, ask: Any, sink: Any
) -> None:
    client = OriginClient(make_config())
    url = origin.serve("/f", BODY, behaviour=Behaviour(stall_after=200_000))
    answer = await client.first(ask(url))
    task = asyncio.create_task(answer.pour(sink))
    await origin.stalled("/f")
    await client.aclose()
    with pytest.raises(Exception, match="given up"):
        await task
    await answer.aclose()
