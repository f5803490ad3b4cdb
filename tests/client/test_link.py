from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from p2pstore.client import link as link_module
from p2pstore.client.channel import ConnectionLost
from p2pstore.client.link import Link
from p2pstore.errors import AgentUnreachable
from p2pstore.wire.frames import Decoder, encode
from tests.api.fake_agent import open_descriptors

Start = Callable[[Callable[[socket.socket, list[Any]], bytes]], Awaitable[Link]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    loop = asyncio.get_running_loop()
    links: list[Link] = []
    tasks: list[asyncio.Task[None]] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    listener.setblocking(False)

    async def serve(script: Callable[[socket.socket, list[Any]], bytes]) -> None:
        sock, _ = await loop.sock_accept(listener)
        with sock:
            decoder = Decoder()
            while data := await loop.sock_recv(sock, 65536):
                for request in decoder.feed(data):
                    answer = script(sock, request)
                    if not answer:
                        return
                    await loop.sock_sendall(sock, answer)

    async def begin(script: Callable[[socket.socket, list[Any]], bytes]) -> Link:
        tasks.append(asyncio.create_task(serve(script)))
        links.append(await Link.connect(str(tmp_path / "s")))
        return links[-1]

    yield begin
    for one in links:
        one.close()
    await asyncio.gather(*tasks)
    listener.close()


async def test_answers_find_their_requests_in_any_order(start: Start) -> None:
    held: list[int] = []

    def script(sock: socket.socket, request: list[Any]) -> bytes:
        held.append(request[0])
        if len(held) < 3:
            return encode([request[0], 2, {"event": "x"}])
        return b"".join(encode([number, 0, {"id": number}]) for number in reversed(held))

    link = await start(script)
    answers = await asyncio.gather(*(link.request("x", {}, -1, None, None) for _ in range(3)))
    assert [body["id"] for body, fd in answers] == [1, 2, 3]


async def test_a_descriptor_goes_out_and_one_comes_in(start: Start) -> None:
    def script(sock: socket.socket, request: list[Any]) -> bytes:
        reading, writing = os.pipe()
        socket.send_fds(sock, [encode([request[0], 2, {"fd": True}])], [reading])
        os.close(reading)
        os.close(writing)
        return encode([request[0], 0, {}])

    link = await start(script)
    events: list[int] = []
    await link.request("x", {"fd": True}, 0, None, lambda event, fd: events.append(fd))
    (fd,) = events
    os.close(fd)
    before = open_descriptors()
    await link.request("x", {}, -1, math.inf, None)  # nobody hears of the event: its descriptor is closed
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\0\0\1\xc1",
        encode([0, 1, {"code": "overloaded", "message": "full"}]),
        encode([1, 0, {"fd": True}]),
    ],
)
async def test_a_broken_connection_fails_what_waits(start: Start, answer: bytes) -> None:
    link = await start(lambda sock, request: answer)
    with pytest.raises(ConnectionLost):
        await link.request("x", {}, -1, None, None)
    assert link.closed
    with pytest.raises(ConnectionLost) as caught:
        await link.request("x", {}, -1, None, None)
    assert not caught.value.sent


async def test_another_protocol_is_refused(start: Start) -> None:
    link = await start(lambda sock, request: encode([0, 3, {"protocol": 2}]))
    with pytest.raises(ConnectionLost, match="protocol 2"):
        await link.request("x", {}, -1, None, None)


async def test_a_large_request_waits_for_room(start: Start) -> None:
    link = await start(lambda sock, request: encode([request[0], 0, {"size": len(request[2]["a"])}]))
    sizes = await asyncio.gather(
        *(link.request("x", {"a": "x" * 900_000, "fd": True}, 0, None, None) for _ in range(4))
    )
    assert [body["size"] for body, _ in sizes] == [900_000] * 4


async def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_descriptors()
    with pytest.raises(AgentUnreachable, match="p2pstore agent"):
        await Link.connect(str(tmp_path / "none"))
    monkeypatch.setattr(link_module, "CONNECT_TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as one:
        busy.bind(str(tmp_path / "busy"))
        busy.listen(0)
        one.connect(str(tmp_path / "busy"))
        with pytest.raises(AgentUnreachable, match="stopped"):
            await Link.connect(str(tmp_path / "busy"))
    assert open_descriptors() == before
