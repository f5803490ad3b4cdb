from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from p2pstore.api.jobs.listening import listen
from p2pstore.api.jobs.server import JobServer
from p2pstore.client import aio, link
from p2pstore.client.aio import AsyncClient
from p2pstore.client.channel import ConnectionLost
from p2pstore.client.files import WINDOW_BYTES
from p2pstore.config import JobsConfig
from p2pstore.errors import AgentUnreachable, BadRequest, DeadlineExceeded, DigestMismatch, NoSpace, NotCached
from tests.api.fake_agent import FakeAgent, Growing, open_descriptors, until

BIG = os.urandom(3 * WINDOW_BYTES + 77)


@pytest.fixture(autouse=True)
def no_netrc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", "/nonexistent")


class World:
    """Agent, server and client on one loop."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "s"
        self.agent = FakeAgent(directory)
        self.agent.add("u:1", b"one", hot=True)
        self.agent.add("u:2", b"two")
        path = directory / "growing"
        path.write_bytes(bytes(len(BIG)))
        self.agent.growing["grow"] = Growing(BIG, path)
        self.agent.streams["stream"] = (BIG, len(BIG))
        self.client = AsyncClient(self.path)
        self.server: JobServer

    async def start(self) -> None:
        self.server = JobServer(self.agent, JobsConfig(), listen(str(self.path), everybody=False))
        await self.server.start()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.start()
    async with world.client:
        yield world
    await world.server.aclose()


async def test_fetch_and_get(world: World, tmp_path: Path) -> None:
    client = world.client
    for url, content in (("u:1", b"one"), ("u:2", b"two")):
        with await client.fetch(url) as got:
            assert (os.read(got.fd, 10), got.url, got.asked) == (content, url, url)
    assert (await client.get("u:2")).read_bytes() == b"two"
    assert (await client.get("u:1", output=tmp_path / "out")).read_bytes() == b"one"
    with pytest.raises(NotCached):
        await client.get("nowhere")
    seen: list[dict[str, Any]] = []
    (await client.fetch("u:2", progress=seen.append)).close()
    assert [event["bytes"] for event in seen] == [0, 50, 100]


async def test_many_requests_at_once_share_one_connection(world: World) -> None:
    for number in range(100):
        world.agent.add(f"m:{number}", str(number).encode(), hot=number % 2 == 0)
    before = open_descriptors()
    many = await asyncio.gather(*(world.client.fetch(f"m:{number}") for number in range(100)))
    for number, got in enumerate(many):
        assert os.read(got.fd, 10) == str(number).encode()
        got.close()
    assert world.server.connections == 1
    assert open_descriptors() == before + 2


async def test_a_cancelled_wait_cancels_the_request(world: World) -> None:
    waiting = asyncio.create_task(world.client.fetch("hold:x"))
    await until(lambda: world.agent.held == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: world.agent.cancelled == 1)
    assert (await world.client.stat("u:1"))["cached"]


async def test_silence_ends_at_the_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "GRACE_S", 0.0)
    with pytest.raises(DeadlineExceeded):
        await world.client.fetch("hold:x", timeout_s=0.05)
    await until(lambda: world.agent.cancelled == 1)


async def test_a_late_answer_leaves_no_descriptor(world: World) -> None:
    await world.client.stat("u:1")
    before = open_descriptors()
    world.agent.add("hold:x", b"late")
    waiting = asyncio.create_task(world.client.fetch("hold:x"))
    await until(lambda: world.agent.held == 1)
    world.agent.release.set()
    await until(lambda: world.client._link is not None and world.client._link._flights)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await world.client.stat("u:1")
    await until(lambda: open_descriptors() == before)


async def test_streams_and_their_checks(world: World, tmp_path: Path) -> None:
    before = open_descriptors()
    out = tmp_path / "out"
    digest = f"sha256:{hashlib.sha256(BIG).hexdigest()}"
    with await world.client.fetch("stream", output=out, digest=digest) as got:
        assert (got.fd, got.output) == (-1, str(out))
    assert out.read_bytes() == BIG
    with pytest.raises(NoSpace):
        await world.client.fetch("stream")
    with pytest.raises(DigestMismatch):
        await world.client.fetch("stream", output=tmp_path / "wrong", digest="sha256:" + "0" * 64)
    with pytest.raises(BadRequest):
        await world.client.fetch("stream", output=tmp_path / "missing" / "x")
    assert not list(tmp_path.glob("*wrong*"))
    await until(lambda: open_descriptors() == before + 2)


async def test_a_cancelled_delivery_leaves_no_part(world: World, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    waiting = asyncio.create_task(world.client.fetch("hold:x", output=tmp_path / "dir" / "out"))
    await until(lambda: world.agent.held == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert list((tmp_path / "dir").iterdir()) == []


async def test_files_are_aiofiles_handles(world: World) -> None:
    growing = world.agent.growing["grow"]
    growing.grow(WINDOW_BYTES)
    async with world.client.open("grow") as file:
        assert await file.read(10) == BIG[:10]
        rest = asyncio.create_task(file.read())
        await until(lambda: len(growing.asked) >= 2)
        assert not rest.done()
        growing.grow(len(BIG))
        assert await rest == BIG[10:]
        await file.seek(-3, os.SEEK_END)
        assert await file.read() == BIG[-3:]
    file = await world.client.open("u:1")
    assert await file.read() == b"one"
    await file.close()


async def test_an_opening_nobody_waits_for_is_closed(world: World) -> None:
    world.agent.add("hold:x", b"x")
    waiting = asyncio.ensure_future(world.client._open("hold:x", {}))
    await until(lambda: world.agent.held == 1)
    before = open_descriptors()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    world.agent.release.set()
    await until(lambda: not any(connection.tasks for connection in world.server._connections))
    await until(lambda: open_descriptors() <= before)


async def test_put_staging_looking(world: World, tmp_path: Path) -> None:
    client = world.client
    (tmp_path / "result").write_bytes(b"result")
    assert (await client.put("n", tmp_path / "result"))["size"] == 6
    assert (await client.put("n", tmp_path / "result", replace=True))["size"] == 6
    assert await client.prefetch(["u:1", "p:1"]) == {"accepted": 1, "cached": 1}
    seen: list[dict[str, Any]] = []
    outcomes = await client.wait(["u:1", "nowhere"], timeout_s=5, progress=seen.append)
    assert [one["ok"] for one in outcomes] == [True, False] and len(seen) == 2
    assert await client.cancel("hold:x")
    assert (await client.stat("put:n", ver="v"))["name"] == "n"
    world.agent.entries = 1500
    assert len([entry async for entry in client.ls()]) == 1500
    assert len([entry async for entry in client.ls(limit=1100)]) == 1100
    assert (await client.rm("u:1"))["removed"] == 1
    assert (await client.check(subset=1.0))["checked"] == 1
    assert (await client.status())["connections"] >= 1


async def test_events(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "MAX_EVENTS", 3)
    events = world.client.events(["ready"])
    first = asyncio.ensure_future(anext(events))
    await until(lambda: world.agent.subscribers)
    for number in range(6):
        world.agent.subscribers[0]({"event": "ready", "number": number})
    assert (await first)["number"] == 0
    await world.client.stat("u:1")
    assert [await anext(events) for _ in range(2)] == [{"event": "ready", "number": n} for n in (1, 2)]
    assert await anext(events) == {"event": "missed", "count": 3}
    await events.aclose()  # type: ignore[attr-defined]
    await until(lambda: world.agent.subscribers == [])
    with pytest.raises(BadRequest):
        await anext(world.client.events(["nonsense"]))


async def test_a_restart_is_outlived(world: World) -> None:
    waiting = asyncio.create_task(world.client.fetch("hold:x"))
    await until(lambda: world.agent.held == 1)
    await world.server.aclose()
    world.agent.add("hold:x", b"x")
    world.agent.release.set()
    await world.start()
    with await waiting as got:
        assert os.read(got.fd, 5) == b"x"


async def test_nobody_there(tmp_path: Path) -> None:
    async with AsyncClient(tmp_path / "none") as client:
        with pytest.raises(AgentUnreachable, match="p2pstore agent"):
            await client.stat("u")


async def test_a_closed_client_fails_what_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    removing = asyncio.create_task(world.client.fetch("hold:x"))
    await until(lambda: world.agent.held == 1)
    monkeypatch.setattr(aio, "HARMLESS", frozenset())
    await world.client.aclose()
    with pytest.raises(ConnectionLost):
        await removing


async def test_a_fork_gets_a_connection_of_its_own(world: World) -> None:
    await world.client.stat("u:1")
    held = world.client._link
    assert held is not None
    asyncio.get_running_loop().remove_reader(held._sock)  # a child has a loop of its own
    held.pid = -1  # as a child sees it: made by another process
    assert (await world.client.stat("u:1"))["cached"]
    assert world.client._link is not held and held.closed
