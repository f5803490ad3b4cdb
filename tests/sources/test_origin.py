"""What the client decides between its ways."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from p2pstore.errors import BadUrl, OriginBroken
from p2pstore.sources import origin as origin_module
from p2pstore.sources.origin import OriginClient
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


async def test_lanes_can_be_switched_off(make_config: Any, origin: Origin, ask: Any) -> None:
    client = OriginClient(make_config(), lanes=False)
    assert await read(client, ask(origin.serve("/f", BODY))) == BODY
    assert client._lanes.idle == 0
    await client.aclose()


async def test_a_url_that_cannot_be_asked(client: OriginClient, ask: Any) -> None:
    for url in ("file:///etc/passwd", "http://h/\u00e9"):
        with pytest.raises(BadUrl):
            await client.first(ask(url))


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
