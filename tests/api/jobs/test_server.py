from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from p2pstore.api.jobs import server as server_module
from p2pstore.api.jobs.listening import Listener, listen
from p2pstore.api.jobs.server import JobServer
from p2pstore.config import JobsConfig
from p2pstore.types import Caller
from p2pstore.wire.frames import Decoder, encode
from tests.api.fake_agent import FakeAgent, open_descriptors, until


async def started(tmp_path: Path, **config: Any) -> JobServer:
    server = JobServer(
        FakeAgent(tmp_path), JobsConfig(**config), listen(str(tmp_path / "s"), everybody=False)
    )
    await server.start()
    return server


async def connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, str(path))
    return sock


async def first_frame(sock: socket.socket) -> list[Any]:
    async with asyncio.timeout(20):
        (frame,) = Decoder().feed(await asyncio.get_running_loop().sock_recv(sock, 65536))
    return frame


async def test_the_greeting_comes_first(tmp_path: Path) -> None:
    server = await started(tmp_path)
    with await connect(tmp_path / "s") as sock:
        assert await first_frame(sock) == [
            0,
            3,
            {
                "p2pstore": "0.1.0",
                "protocol": 1,
                "pid": os.getpid(),
                "uid": os.geteuid(),
                "max_frame": 1 << 20,
            },
        ]
    await server.aclose()
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_uid"])
async def test_one_connection_too_many_is_told_what_to_change(tmp_path: Path, limit: str) -> None:
    server = await started(tmp_path, **{limit: 2})
    socks = [await connect(tmp_path / "s") for _ in range(3)]
    assert [(await first_frame(sock))[1] for sock in socks[:2]] == [3, 3]
    refused = await first_frame(socks[2])
    assert (refused[1], refused[2]["code"]) == (1, "overloaded")
    assert limit in refused[2]["hint"]
    assert await asyncio.get_running_loop().sock_recv(socks[2], 10) == b""
    socks[0].close()
    await until(lambda: server.connections == 1)
    socks.append(await connect(tmp_path / "s"))
    assert (await first_frame(socks[3]))[1] == 3
    for sock in socks:
        sock.close()
    await server.aclose()


@pytest.mark.parametrize(
    ("everybody", "uid", "admitted"), [(False, 4242, False), (False, 0, True), (True, 4242, True)]
)
async def test_a_users_agent_serves_that_user_and_root(
    tmp_path: Path, everybody: bool, uid: int, admitted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = listen(str(tmp_path / "s"), everybody=everybody)
    server = JobServer(FakeAgent(tmp_path), JobsConfig(), listener)
    await server.start()
    monkeypatch.setattr(server_module, "caller_of", lambda _: Caller(uid=uid, gid=uid, pid=1))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with await connect(tmp_path / "s") as sock:
        frame = await first_frame(sock)
    assert frame[1] == (3 if admitted else 1)
    assert admitted or frame[2]["code"] == "access_denied"
    monkeypatch.undo()
    await server.aclose()


async def test_closing_ends_requests_and_leaves_no_descriptor(tmp_path: Path) -> None:
    before = open_descriptors()
    server = await started(tmp_path)
    sock = await connect(tmp_path / "s")
    await asyncio.get_running_loop().sock_sendall(sock, encode([1, "get", {"url": "hold:x"}]))
    agent = server._verbs.slow["get"].__self__  # type: ignore[attr-defined]
    await until(lambda: agent.held)
    await server.aclose()
    assert agent.cancelled == 1 and server.connections == 0
    sock.close()
    assert open_descriptors() == before
    await server.aclose()


class Exhausted:
    """A listening socket in a process without descriptors, for a while."""

    def __init__(self, sock: socket.socket, failures: int) -> None:
        self._sock, self.failures = sock, failures

    def accept(self) -> Any:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return self._sock.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


async def test_out_of_descriptors_is_a_pause_and_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "ACCEPT_PAUSE_S", 0.01)
    real = listen(str(tmp_path / "s"), everybody=False)
    exhausted = Exhausted(real.sock, failures=2)
    listener = Listener(exhausted, real.path, False, real.inode)  # type: ignore[arg-type]
    server = JobServer(FakeAgent(tmp_path), JobsConfig(), listener)
    await server.start()
    with await connect(tmp_path / "s") as sock:
        assert (await first_frame(sock))[1] == 3
    assert exhausted.failures == 0
    assert "can't accept" in caplog.text
    await server.aclose()


async def test_idle_since_the_last_one_left(tmp_path: Path) -> None:
    now = 5.0
    listener = listen(str(tmp_path / "s"), everybody=False)
    server = JobServer(FakeAgent(tmp_path), JobsConfig(), listener, clock=lambda: now)
    await server.start()
    assert server.idle_since == 5.0
    sock = await connect(tmp_path / "s")
    await first_frame(sock)
    await until(lambda: server.connections == 1 and server.idle_since is None)
    now = 9.0
    sock.close()
    await until(lambda: server.idle_since is not None)
    assert server.idle_since == 9.0
    await server.aclose()


async def test_hundreds_of_connections_at_once(tmp_path: Path) -> None:
    server = await started(tmp_path)
    socks = [await connect(tmp_path / "s") for _ in range(300)]
    for sock in socks:
        assert (await first_frame(sock))[1] == 3
    assert server.connections == 300
    for sock in socks:
        sock.close()
    await server.aclose()
