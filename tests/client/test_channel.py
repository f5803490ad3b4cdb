from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from p2pstore.client import channel as channel_module
from p2pstore.client.channel import Channel, ConnectionLost, unpacked
from p2pstore.errors import (
    AgentUnreachable,
    DeadlineExceeded,
    LocalProtocolError,
    NotFound,
    P2PStoreError,
    RemoteProtocolError,
)
from p2pstore.wire.frames import Decoder, encode, encode_answer
from p2pstore.wire.messages import greeting
from tests.api.fake_agent import open_descriptors, serving, settles_at

Script = Callable[[socket.socket, list[Any]], None]
"""Answers one request on a connection."""


class Scripted:
    """A server that greets and then answers each request by a script."""

    def __init__(self, path: str, script: Script, greet: bytes) -> None:
        self.path = path
        self._script, self._greet = script, greet
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            with sock:
                sock.sendall(self._greet)
                decoder = Decoder()
                while data := sock.recv(65536):
                    for request in decoder.feed(data):
                        if request[1] == "stop":
                            return
                        self._script(sock, request)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.path)
            sock.sendall(encode([1, "stop", {}]))
            self._thread.join(20)
        self._listener.close()


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Callable[..., Channel]]:
    servers: list[Scripted] = []
    channels: list[Channel] = []

    def start(script: Script, greet: bytes = encode([0, 3, greeting("0.1.0", 1, 2)])) -> Channel:
        servers.append(Scripted(str(tmp_path / f"s{len(servers)}"), script, greet))
        channels.append(Channel(servers[-1].path))
        return channels[-1]

    yield start
    for channel in channels:
        channel.close()
    for server in servers:
        server.close()


def test_the_quick_way_and_the_long_way_give_the_same(scripted: Callable[..., Channel]) -> None:
    def script(sock: socket.socket, request: list[Any]) -> None:
        answer = encode_answer(request[0], 0, msgpack.packb({"a": 1}))
        if request[2]["slowly"]:
            for start in range(len(answer)):
                sock.sendall(answer[start : start + 1])
        else:
            sock.sendall(answer)

    channel = scripted(script)
    results = [channel.request("x", {"slowly": slowly}) for slowly in (False, True, False, False)]
    assert [(unpacked(body), fd) for body, fd in results] == [({"a": 1}, -1)] * 4
    assert type(results[-1][0]) is bytes
    assert channel.greeting["protocol"] == 1
    assert repr(channel) == f"<Channel {channel.path}>"


def test_a_descriptor_comes_with_its_answer(scripted: Callable[..., Channel]) -> None:
    def script(sock: socket.socket, request: list[Any]) -> None:
        reading, writing = os.pipe()
        os.write(writing, b"bytes")
        frame = encode([request[0], 0, {"fd": True}])
        if request[2]["event"]:
            frame = encode([request[0], 2, {"event": "progress"}]) + frame
        socket.send_fds(sock, [frame], [reading])
        os.close(reading)
        os.close(writing)

    channel = scripted(script)
    for event in (False, True, False):
        events: list[Any] = []
        _, fd = channel.request(
            "x", {"event": event}, on_event=lambda *one, events=events: events.append(one)
        )
        assert os.read(fd, 10) == b"bytes"
        assert events == ([({"event": "progress"}, -1)] if event else [])
        os.close(fd)


def test_late_answers_of_other_requests_are_passed_over_and_closed(scripted: Callable[..., Channel]) -> None:
    def script(sock: socket.socket, request: list[Any]) -> None:
        reading, writing = os.pipe()
        socket.send_fds(sock, [encode([9, 0, {"fd": True}])], [reading])
        os.close(reading)
        os.close(writing)
        sock.sendall(encode([request[0], 2, {"event": "x"}]) + encode([request[0], 0, {"a": 1}]))

    channel = scripted(script)
    channel.request("x", {})
    before = open_descriptors()
    assert channel.request("x", {})[0] == {"a": 1}
    assert open_descriptors() == before


def test_an_error_is_raised_and_the_channel_goes_on(scripted: Callable[..., Channel]) -> None:
    error = NotFound("no such thing", hint="look", url="u")
    channel = scripted(lambda sock, request: sock.sendall(encode([request[0], 1, error.to_wire()])))
    for _ in range(2):
        with pytest.raises(NotFound) as caught:
            channel.request("x", {})
        assert (caught.value.hint, caught.value.details) == ("look", {"url": "u"})
    assert not channel.closed


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (encode([0, 1, RemoteProtocolError("bad frame").to_wire()]), RemoteProtocolError),
        (struct.pack(">I", 1 << 30), RemoteProtocolError),
        (b"\0\0\0\1\xc1", RemoteProtocolError),
        (encode([0, 3, {"protocol": 2}]), RemoteProtocolError),
    ],
)
def test_what_breaks_the_rules_ends_the_channel(
    scripted: Callable[..., Channel], answer: bytes, error: type[P2PStoreError]
) -> None:
    channel = scripted(lambda sock, request: sock.sendall(answer))
    with pytest.raises(error):
        channel.request("x", {})
    assert channel.closed
    with pytest.raises(ConnectionLost) as caught:
        channel.request("x", {})
    assert not caught.value.sent


def test_an_announced_descriptor_that_never_came(scripted: Callable[..., Channel]) -> None:
    channel = scripted(
        lambda sock, request: sock.sendall(
            encode([request[0], 2, {}]) + encode([request[0], 0, {"fd": True}])
        )
    )
    with pytest.raises(RemoteProtocolError, match="ulimit"):
        channel.request("x", {})


@pytest.mark.parametrize("answers_event", [False, True])
def test_silence_ends_at_the_deadline(
    scripted: Callable[..., Channel], answers_event: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "GRACE_S", 0.0)

    def script(sock: socket.socket, request: list[Any]) -> None:
        if answers_event:
            sock.sendall(encode([request[0], 2, {"event": "progress"}]))

    channel = scripted(script)
    with pytest.raises(DeadlineExceeded, match="in time"):
        channel.request("x", {}, timeout_s=0.05)
    assert channel.closed


def test_an_agent_that_goes_away(scripted: Callable[..., Channel]) -> None:
    channel = scripted(lambda sock, request: sock.shutdown(socket.SHUT_RDWR))
    with pytest.raises(ConnectionLost) as caught:
        channel.request("x", {})
    assert caught.value.sent and caught.value.code == "agent_unreachable"
    assert channel.closed


def test_an_error_of_the_callers_own_ends_the_channel(scripted: Callable[..., Channel]) -> None:
    channel = scripted(lambda sock, request: sock.sendall(encode([request[0], 2, {"event": "x"}])))

    def fail(event: Any, fd: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        channel.request("x", {}, on_event=fail)
    assert channel.closed


def test_what_cannot_be_sent_is_not_sent(scripted: Callable[..., Channel]) -> None:
    channel = scripted(lambda sock, request: sock.sendall(encode([request[0], 0, {}])))
    with pytest.raises(LocalProtocolError, match="can't be sent"):
        channel.send("x", {"a": object()})
    with pytest.raises(LocalProtocolError, match="limit"):
        channel.send("x", {"a": "x" * (1 << 20)})
    assert unpacked(channel.request("x", {})[0]) == {}


def test_nobody_there_says_what_to_do(tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(AgentUnreachable, match="p2pstore agent"):
        Channel(str(tmp_path / "none"))
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale"))
    with pytest.raises(AgentUnreachable, match="p2pstore agent"):
        Channel(str(tmp_path / "stale"))
    with pytest.raises(AgentUnreachable, match="--socket"):
        Channel(str(tmp_path / ("x" * 200)))
    assert open_descriptors() == before


def test_a_listener_that_accepts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "CONNECT_TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as one:
        busy.bind(str(tmp_path / "s"))
        busy.listen(0)
        one.connect(str(tmp_path / "s"))
        with pytest.raises(AgentUnreachable, match="stopped"):
            Channel(str(tmp_path / "s"))


def test_a_forked_child_closes_its_copies(tmp_path: Path) -> None:
    with serving(tmp_path, prepare=lambda agent: agent.add("u", b"x", hot=True)) as server:
        channel = Channel(server.path)
        channel.request("stat", {"url": "u"})
        pid = os.fork()
        if pid == 0:
            os._exit(0 if channel.closed else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert unpacked(channel.request("stat", {"url": "u"})[0])["cached"]
        channel.close()
        server.wait_until(lambda: server.server.connections == 0)


def test_a_forgotten_channel_closes_itself(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        before = open_descriptors()
        channel = Channel(server.path)
        del channel
        server.wait_until(lambda: server.server.connections == 0)
        assert settles_at(before)
