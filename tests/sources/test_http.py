"""What only the way through aiohttp does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from p2pstore import errors
from p2pstore.sources.dial import Dialer, Route
from p2pstore.sources.http import HttpWay, _Connector
from p2pstore.sources.slots import Slots
from p2pstore.sources.targets import Target
from p2pstore.sources.tls import client_context
from p2pstore.trust.gate import GateRules
from tests.origin import Behaviour, Origin, content

BODY = content(300_000)


@pytest.fixture
def slots() -> Slots:
    return Slots(4)


@pytest.fixture
async def http(make_config: Any, slots: Slots) -> AsyncIterator[HttpWay]:
    made = HttpWay(make_config(), Dialer(GateRules(allow=("127.0.0.1",))), slots, client_context(""))
    yield made
    await made.aclose()


def route(target: Target, own_uid: bool = True) -> Route:
    return Route(target.origin[1], target.origin[2], own_uid, False)


async def test_takes_a_slot_until_the_body_is_read(http: HttpWay, slots: Slots, origin: Origin) -> None:
    target = Target.parse(origin.serve("/f", BODY))
    head, body = await http.ask(target, route(target), [], 0)
    assert (head.status, slots.used(target.origin)) == (200, 1)
    assert await body.read(len(BODY)) == BODY
    assert slots.used(target.origin) == 0
    await body.aclose()
    assert slots.used(target.origin) == 0


@pytest.mark.parametrize(
    "behaviour", [Behaviour(hang_up=True), Behaviour(huge_header_bytes=9000), Behaviour(raw=b"x")]
)
async def test_frees_the_slot_after_a_failure(
    http: HttpWay, slots: Slots, origin: Origin, behaviour: Behaviour
) -> None:
    target = Target.parse(origin.serve("/f", BODY, behaviour=behaviour))
    with pytest.raises(errors.OriginBroken):
        await http.ask(target, route(target), [], 0)
    assert slots.used(target.origin) == 0


async def test_callers_of_another_kind_have_other_connections(http: HttpWay, origin: Origin) -> None:
    target = Target.parse(origin.serve("/f", BODY))
    for own_uid in (True, False, True, False):
        _, body = await http.ask(target, route(target, own_uid), [], 0)
        await body.read(len(BODY))
    assert origin.connections == 2


@pytest.mark.parametrize("planted", [False, True], ids=["", "planted"])
async def test_bytes_that_came_unasked_are_not_the_next_answer(
    http: HttpWay, raw_server: Any, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if planted:
        monkeypatch.delattr(_Connector, "connect")
    late = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
        if b"/good" in request:
            writer.write(answer + b"good")
        else:
            writer.write(answer + b"evil")
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(answer + b"evil")
            await writer.drain()
            late.set()
        await reader.read()

    port = await raw_server(script)
    bodies = []
    for path in ("/first", "/good"):
        target = Target.parse(f"http://127.0.0.1:{port}{path}")
        _, body = await http.ask(target, route(target), [], 0)
        bodies.append(await body.read(100))
        await late.wait()
        await asyncio.sleep(0.05)
    assert bodies == [b"evil", b"evil" if planted else b"good"]
