from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pstore.agent.session import Reply
from p2pstore.api.jobs import connection as connection_module
from p2pstore.api.jobs import pusher
from p2pstore.api.jobs.accounts import MAX_HELD_BYTES
from p2pstore.api.jobs.connection import Connection
from p2pstore.api.jobs.listening import listen
from p2pstore.api.jobs.server import JobServer
from p2pstore.config import JobsConfig
from p2pstore.wire.frames import MAX_REPLY_BYTES, Decoder, encode
from tests.api.fake_agent import FakeAgent, open_descriptors, until


class Peer:
    """A raw client on the loop: writes bytes, reads frames and descriptors."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.decoder = Decoder(MAX_REPLY_BYTES)
        self.frames: list[list[Any]] = []
        self.descriptors: list[int] = []
        self.ended = False

    @classmethod
    async def connect(cls, path: str) -> Peer:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, path)
        peer = cls(sock)
        assert (await peer.next())[1] == 3
        return peer

    async def send(self, *payloads: Any, fds: list[int] | None = None) -> None:
        data = b"".join(payload if isinstance(payload, bytes) else encode(payload) for payload in payloads)
        if fds:
            sent = socket.send_fds(self.sock, [data], fds)
            data = data[sent:]
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def next(self) -> list[Any]:
        async with asyncio.timeout(20):
            while not self.frames:
                assert not self.ended
                await self.receive()
        return self.frames.pop(0)

    async def receive(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self.sock, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self.sock)
        try:
            data, fds, _, _ = socket.recv_fds(self.sock, 1 << 16, 8)
        except ConnectionResetError:
            data, fds = b"", []
        self.descriptors += fds
        self.ended = self.ended or not data
        self.frames += self.decoder.feed(data)

    async def closed(self) -> list[list[Any]]:
        """Everything up to the end."""
        async with asyncio.timeout(20):
            while not self.ended:
                await self.receive()
        return self.frames

    def close(self) -> None:
        self.sock.close()
        while self.descriptors:
            os.close(self.descriptors.pop())


class World:
    """One agent, one server, and its peers."""

    def __init__(self, directory: Path) -> None:
        self.agent = FakeAgent(directory)
        self.path = str(directory / "s")
        self.peers: list[Peer] = []
        self.server: JobServer

    async def start(self, **config: Any) -> None:
        self.server = JobServer(self.agent, JobsConfig(**config), listen(self.path, everybody=False))
        await self.server.start()

    async def peer(self) -> Peer:
        peer = await Peer.connect(self.path)
        self.peers.append(peer)
        return peer

    @property
    def connection(self) -> Connection:
        (only,) = self.server._connections
        return only

    async def stop(self) -> None:
        for peer in self.peers:
            peer.close()
        await self.server.aclose()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    world.agent.add("u:1", b"one", hot=True)
    world.agent.add("u:2", b"two")
    await world.start()
    yield world
    await world.stop()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_hit_comes_with_its_descriptor_and_without_a_task(world: World) -> None:
    peer = await world.peer()
    for number in (1, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1):
        await peer.send([number, "get", {"url": "u:1"}])
        request_id, code, body = await peer.next()
        assert (request_id, code, body["fd"], body["size"]) == (number, 0, True, 3)
        (fd,) = peer.descriptors
        assert os.read(fd, 10) == b"one"
        os.close(peer.descriptors.pop())
    assert world.agent.calls == []
    assert not world.connection.tasks


async def test_the_longer_way_gives_the_same(world: World) -> None:
    peer = await world.peer()
    await peer.send([5, "get", {"url": "u:2"}])
    assert (await peer.next())[:2] == [5, 0]
    assert os.read(peer.descriptors[0], 10) == b"two"
    await peer.send([6, "get", {"url": "u:2", "want": "path"}])
    assert (await peer.next())[2]["path"] == str(world.agent.files["u:2"])
    assert len(peer.descriptors) == 1


async def test_pipelined_requests_each_get_their_own_descriptor(world: World) -> None:
    for number in range(40):
        world.agent.add(f"many:{number}", str(number).encode(), hot=number % 2 == 0)
    peer = await world.peer()
    await peer.send(*[[number + 1, "get", {"url": f"many:{number}"}] for number in range(40)])
    answers = [await peer.next() for _ in range(40)]
    for (request_id, code, _body), fd in zip(answers, peer.descriptors, strict=True):
        assert code == 0
        assert os.read(fd, 10) == str(request_id - 1).encode()


async def test_errors_travel_whole(world: World) -> None:
    peer = await world.peer()
    await peer.send(
        [1, "get", {"url": "hot-error:"}], [2, "get", {"url": "nowhere"}], [3, "get", {}], [4, "fly", {}]
    )
    got = {frame[0]: frame for frame in [await peer.next() for _ in range(4)]}
    assert got[1][1:] == [
        1,
        {
            "code": "not_cached",
            "message": "hot-error: is not here",
            "hint": "look elsewhere",
            "retryable": False,
            "details": {},
        },
    ]
    assert got[2][2]["code"] == "not_cached"
    assert got[3][2]["code"] == got[4][2]["code"] == "bad_request"


async def test_lone_requests_are_answered_like_any_other(world: World) -> None:
    peer = await world.peer()
    for verb, url, seen in (
        ("get", "hot-error:", 1),
        ("stat", "u:1", 0),
        ("get", "u:2", 0),
        ("stat", "x" * 5000, 0),
    ):
        for number in (1, 200, 300, 70000):
            await peer.send([number, verb, {"url": url}])
            assert (await peer.next())[:2] == [number, seen]


@pytest.mark.parametrize("number", [1, 70000])
async def test_a_defect_is_told_and_hurts_nobody(
    world: World, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await world.peer()
    for url in ("defect:hot", "defect:slow"):
        await peer.send([number, "get", {"url": url}])
        assert (await peer.next())[2]["code"] == "internal"
    await peer.send([9, "get", {"url": "u:1"}])
    assert (await peer.next())[1] == 0
    assert "planted" in caplog.text


async def test_an_answer_that_cannot_be_encoded_is_an_error(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def bad(*_: Any) -> Any:
        return Reply({"x": object()}, os.open("/dev/null", os.O_RDONLY))

    world.server._verbs.slow["stat"] = bad
    peer = await world.peer()
    before = open_descriptors()
    await peer.send([1, "stat", {"url": "x"}])
    assert (await peer.next())[1:][1]["code"] == "internal"
    assert open_descriptors() == before


async def test_an_answer_that_is_too_long_is_an_error(world: World) -> None:
    world.agent.entries, world.agent.entry_padding = 200, 100_000
    peer = await world.peer()
    await peer.send([1, "ls", {"limit": 200}])
    frame = await peer.next()
    assert (frame[1], frame[2]["code"]) == (1, "overloaded")


async def test_progress_comes_before_the_result(world: World) -> None:
    peer = await world.peer()
    await peer.send([7, "get", {"url": "u:2", "progress": True}])
    frames = [await peer.next() for _ in range(4)]
    assert [frame[:2] for frame in frames] == [[7, 2], [7, 2], [7, 2], [7, 0]]
    assert [frame[2]["bytes"] for frame in frames[:3]] == [0, 50, 100]


async def test_cancel_ends_the_request_and_nothing_else(world: World) -> None:
    peer = await world.peer()
    await peer.send([1, "get", {"url": "hold:a"}], [2, "get", {"url": "hold:b"}], [3, "cancel", {"id": 1}])
    assert await peer.next() == [3, 0, {"cancelled": True}]
    frame = await peer.next()
    assert (frame[0], frame[1], frame[2]["code"]) == (1, 1, "cancelled")
    assert world.agent.cancelled == 1
    await peer.send([4, "cancel", {"id": 99}], [5, "cancel", {"url": "hold:x"}])
    assert await peer.next() == [4, 0, {"cancelled": False}]
    assert await peer.next() == [5, 0, {"cancelled": True}]
    assert set(world.connection.tasks) == {2}


async def test_events_until_cancelled(world: World) -> None:
    peer = await world.peer()
    await peer.send([1, "events", {"kinds": ["ready"]}], [2, "stat", {"url": "x"}])
    assert (await peer.next())[0] == 2
    world.agent.subscribers[0]({"event": "ready", "url": "x"})
    assert await peer.next() == [1, 2, {"event": "ready", "url": "x"}]
    await peer.send([3, "cancel", {"id": 1}], [4, "events", {"kinds": ["nonsense"]}])
    frames = {frame[0]: frame for frame in [await peer.next() for _ in range(3)]}
    assert frames[1][2]["code"] == "cancelled" and frames[3][2] == {"cancelled": True}
    assert frames[4][2]["code"] == "bad_request"
    assert world.agent.subscribers == []


async def test_closing_ends_everything_that_hung_on_it(world: World) -> None:
    before = open_descriptors()
    peer = await world.peer()
    await peer.send([1, "get", {"url": "hold:a"}], [2, "events", {}])
    await until(lambda: world.agent.held == 1)
    session = world.connection.session
    peer.close()
    await until(lambda: world.server.connections == 0)
    await settled()
    assert world.agent.forgotten == [session] and session.closed
    assert world.agent.cancelled == 1 and world.agent.subscribers == []
    assert world.server.idle_since is not None
    assert open_descriptors() == before


async def test_a_descriptor_goes_to_the_request_that_announced_it(world: World, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"result")
    peer = await world.peer()
    fd = os.open(tmp_path / "in", os.O_RDONLY)
    before = open_descriptors()
    await peer.send([1, "put", {"name": "n", "fd": True}], fds=[fd])
    assert (await peer.next())[2]["size"] == 6
    await peer.send([2, "get", {"url": "file:///in", "fd": True}], fds=[fd])
    assert (await peer.next())[1] == 0
    os.close(peer.descriptors.pop())
    assert open_descriptors() == before
    os.close(fd)
    assert world.agent.put_bytes == {"n": b"result"}


async def test_a_descriptor_of_a_frame_in_pieces_is_kept_for_it(world: World, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"result")
    peer = await world.peer()
    fd = os.open(tmp_path / "in", os.O_RDONLY)
    frame = encode([1, "put", {"name": "n", "fd": True}])
    await peer.send(frame[:1], fds=[fd])
    await settled()
    await peer.send(frame[1:])
    assert (await peer.next())[1] == 0
    os.close(fd)


@pytest.mark.parametrize(
    "request_", [[1, "stat", {"url": "u:1"}], [70000, "get", {"url": "u:1", "want": "none"}]]
)
async def test_a_descriptor_that_nobody_announced_is_closed(world: World, request_: list[Any]) -> None:
    peer = await world.peer()
    before = open_descriptors()
    await peer.send(request_, fds=[0])
    assert (await peer.next())[1] == 0
    assert open_descriptors() == before


async def test_a_descriptor_that_came_with_a_wrong_request_is_closed(world: World) -> None:
    peer = await world.peer()
    before = open_descriptors()
    await peer.send([1, "stat", {"url": "u", "fd": True}], fds=[0])
    assert (await peer.next())[2]["code"] == "bad_request"
    await peer.send([2, "put", {"name": "n", "fd": False}])
    assert (await peer.next())[2]["code"] == "bad_request"
    assert open_descriptors() == before


@pytest.mark.parametrize("count", [2, 3, 20])
async def test_more_than_one_descriptor_breaks_the_connection(world: World, count: int) -> None:
    before = open_descriptors()
    peer = await world.peer()
    await peer.send([1, "put", {"name": "n", "fd": True}], fds=[0] * count)
    last = (await peer.closed())[-1]
    assert (last[0], last[1], last[2]["code"]) == (0, 1, "remote_protocol")
    peer.close()
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "bad",
    [
        struct.pack(">I", (1 << 20) + 1),
        b"\0\0\0\1\xc1",
        encode([0, "get", {}]),
        encode([0, "get", {"url": "u:1"}]),
        encode([2**32, "get", {"url": "u:1"}]),
        encode([1, "get", {"url": "u:1"}, 0]),
        encode([1, 7, {}]),
        encode([1, "put", {"name": "n", "fd": True}]),
        encode([1, "get", {"url": "hold:"}]) * 2,
    ],
)
async def test_what_breaks_the_rules_is_told_and_closed(world: World, bad: bytes) -> None:
    peer = await world.peer()
    await peer.send([9, "get", {"url": "u:2", "want": "none"}], bad)
    last = (await peer.closed())[-1]
    assert (last[0], last[1], last[2]["code"]) == (0, 1, "remote_protocol")
    assert world.server.connections == 0


async def test_a_defect_of_the_door_is_told_and_closed(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await world.peer()
    monkeypatch.setattr(Connection, "_begin", lambda *_: 1 // 0)
    await peer.send([1, "status", {}])
    last = (await peer.closed())[-1]
    assert (last[0], last[2]["code"]) == (0, "internal")
    assert "ZeroDivisionError" in caplog.text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(min_size=1, max_size=200))
def test_hostile_bytes_never_get_an_undeclared_error(tmp_path: Path, noise: bytes) -> None:
    async def run() -> None:
        world = World(tmp_path)
        await world.start()
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        peer = await world.peer()
        await peer.send(struct.pack(">I", len(noise)) + noise, [77, "status", {}])
        while not peer.ended and not any(frame[0] in (0, 77) for frame in peer.frames):
            await peer.receive()
        assert all(
            frame[1] == 0 or frame[2]["code"] in {"remote_protocol", "bad_request"} for frame in peer.frames
        )
        await world.stop()
        assert failures == []

    asyncio.run(run())


async def test_one_connection_does_not_keep_others_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy, modest = await world.peer(), await world.peer()
    order: list[str] = []
    real = world.agent.try_stat

    def noted(session: Any, args: dict[str, Any]) -> Any:
        order.append(args["url"])
        return real(session, args)

    monkeypatch.setitem(world.server._verbs.hot, "stat", noted)
    world.agent.hot["g"] = world.agent.hot["m"] = b""
    greedy.sock.send(b"".join(encode([number, "stat", {"url": "g"}]) for number in range(1, 2000)))
    modest.sock.send(encode([1, "stat", {"url": "m"}]))
    await modest.next()
    assert order.index("m") <= 3 * connection_module.REQUESTS_PER_WAKE
    for _ in range(1999):
        await greedy.next()


@pytest.mark.parametrize("planted", [False, True])
async def test_who_does_not_read_is_not_read_from(
    world: World, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "OUTPUT_MARK_BYTES", 1 << 40 if planted else 100_000)
    monkeypatch.setattr(connection_module, "DESCRIPTOR_MARK", 1 << 40)
    world.agent.hot["big"] = b""
    monkeypatch.setitem(
        world.server._verbs.hot,
        "stat",
        lambda *_: Reply(msgpack.packb({"pad": "x" * 2000})),
    )
    peer = await world.peer()
    flood = b"".join(encode([number, "stat", {"url": "big"}]) for number in range(1, 3001))
    sending = asyncio.create_task(peer.send(flood))
    for _ in range(300):
        await asyncio.sleep(0)
    bound = 100_000 + 2100 * connection_module.REQUESTS_PER_WAKE
    assert (world.connection.waiting_bytes > bound) is planted
    for _ in range(3000):
        await peer.next()
    await sending
    assert world.connection.waiting_bytes == 0
    assert world.connection.account.held_bytes == 0


async def test_unread_descriptors_stop_the_reading_too(world: World) -> None:
    peer = await world.peer()
    before = open_descriptors()
    flood = b"".join(encode([number, "get", {"url": "u:1"}]) for number in range(1, 2001))
    sending = asyncio.create_task(peer.send(flood))
    for _ in range(300):
        await asyncio.sleep(0)
    assert (
        open_descriptors() - before <= connection_module.DESCRIPTOR_MARK + connection_module.REQUESTS_PER_WAKE
    )
    for _ in range(2000):
        await peer.next()
        while peer.descriptors:
            os.close(peer.descriptors.pop())
    await sending
    assert open_descriptors() == before
    assert world.connection.account.descriptors == 0


async def test_requests_in_flight_are_bounded_and_the_rest_waits(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.agent.add("u:2", b"two")
    await world.start(max_requests=3)
    peer = await world.peer()
    await peer.send(*[[number, "get", {"url": f"hold:{number}"}] for number in range(1, 9)])
    await until(lambda: world.agent.held == 3)
    await settled()
    assert len(world.connection.tasks) == 3 and world.agent.held == 3
    world.agent.release.set()
    assert {(await peer.next())[0] for _ in range(8)} == set(range(1, 9))
    await world.stop()


async def test_progress_is_dropped_for_a_slow_reader_results_never(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chatty(session: Any, args: Any, push: Any, fd: int) -> Any:
        for number in range(4000):
            push({"event": "progress", "bytes": number, "pad": "x" * 1000}, -1)
        for number in range(20):
            push({"event": "checked", "number": number, "pad": "x" * 1000}, -1)
        return Reply({"end": True})

    monkeypatch.setitem(world.server._verbs.slow, "check", chatty)
    peer = await world.peer()
    await peer.send([1, "check", {}])
    await until(lambda: world.connection.waiting_bytes)
    await until(lambda: not world.connection.tasks)
    assert world.connection.waiting_bytes < pusher.PROGRESS_MARK_BYTES + 50_000
    frames = [await peer.next()]
    while frames[-1][1] != 0:
        frames.append(await peer.next())
    kinds = [frame[2].get("event") for frame in frames]
    assert 10 < kinds.count("progress") < 4000 and kinds.count("checked") == 20
    assert frames[-1] == [1, 0, {"end": True}]


async def test_other_events_are_dropped_far_later_and_told_by_number(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pusher, "OUTPUT_MARK_BYTES", 400_000)
    peer = await world.peer()
    await peer.send([1, "events", {}])
    await until(lambda: world.agent.subscribers)
    for number in range(2000):
        world.agent.subscribers[0]({"event": "ready", "number": number, "pad": "x" * 1000})
    assert world.connection.waiting_bytes < 402_000
    numbers = []
    while world.connection.waiting_bytes or peer.frames:
        numbers.append((await peer.next())[2]["number"])
    world.agent.subscribers[0]({"event": "ready", "number": 2000})
    frames = [await peer.next() for _ in range(2)]
    while frames[-1][2].get("number") != 2000:
        frames.append(await peer.next())
    missed = [frame[2]["count"] for frame in frames if frame[2]["event"] == "missed"]
    late = [frame[2]["number"] for frame in frames if frame[2]["event"] == "ready"]
    assert sum(missed) + len(numbers) + len(late) == 2001


async def test_a_uid_that_holds_too_much_is_told_so(world: World) -> None:
    peer = await world.peer()
    await peer.send([1, "stat", {"url": "x"}])
    await peer.next()
    world.connection.account.held_bytes += MAX_HELD_BYTES + 1
    await peer.send([2, "stat", {"url": "x"}], [3, "cancel", {"id": 1}])
    frames = {frame[0]: frame for frame in [await peer.next() for _ in range(2)]}
    assert frames[2][2]["code"] == "overloaded" and frames[3][1] == 0
    world.connection.account.held_bytes -= MAX_HELD_BYTES + 1


async def test_many_listings_at_once_are_all_answered(world: World) -> None:
    world.agent.entries, world.agent.entry_padding = 100, 10_000
    peer = await world.peer()
    await peer.send(*[[number, "ls", {"limit": 100}] for number in range(1, 31)])
    got = [await peer.next() for _ in range(30)]
    assert all(frame[1] == 0 and len(frame[2]["entries"]) == 100 for frame in got)


async def test_status_counts_connections(world: World) -> None:
    peer = await world.peer()
    await world.peer()
    await peer.send([1, "status", {}], [2, "config", {}])
    frames = {frame[0]: frame[2] for frame in [await peer.next() for _ in range(2)]}
    assert frames[1]["connections"] == 2 and frames[1]["socket"] == world.path
    assert frames[2]["config"]["cache"]
