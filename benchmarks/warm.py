"""Round trips for what is cached, beside an asyncio echo with frames of the same size over the same kind of socket."""

from __future__ import annotations

import array
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.machine import cpu_s
from benchmarks.rounds import Outcome, Sample, alternate
from tests.faults.agents import Agent
from tests.faults.launch import ROOT
from tests.faults.nginx import Nginx
from tests.faults.wire import Wire, frame

SECONDS: Final = 3.0
PIPELINE: Final = 256
"""Requests on their way at once on one connection."""
CLIENTS: Final = 100


def run(work: Path, runs: int, scale: float) -> Outcome:
    """Measure; `scale` makes each phase shorter."""
    seconds = max(0.3, SECONDS * scale)
    nginx = Nginx(work / "nginx")
    agent = Agent(work / "agent")
    try:
        nginx.file("warm", b"w" * 10_000)
        url = nginx.url("fresh/warm")
        agent.start()
        with Wire(agent.socket) as wire:
            wire.call("get", {"url": url}).close()
        with _echo(work) as (path, pid):
            return _race(agent, url, path, pid, seconds, runs)
    finally:
        agent.kill()
        nginx.stop()


@contextmanager
def _echo(work: Path) -> Iterator[tuple[Path, int]]:
    path = work / "echo.sock"
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.echo", str(path)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield path, process.pid
    finally:
        process.kill()
        process.wait()


def _race(agent: Agent, url: str, echo: Path, echo_pid: int, seconds: float, runs: int) -> Outcome:
    get, stat = frame([1, "get", {"url": url}]), frame([1, "stat", {"url": url}])
    got, told = _reply_bytes(agent.socket, get), _reply_bytes(agent.socket, stat)
    as_get, as_stat = _echo_request(len(get), got), _echo_request(len(stat), told)
    p2p, plain = (agent.socket, agent.pid), (echo, echo_pid)
    contestants: dict[str, Callable[[], Sample]] = {
        "get, client, one by one": lambda: _sync_client(agent, url, seconds),
        "get, one by one": lambda: _one_by_one(*p2p, get, seconds),
        "echo as get, one by one": lambda: _one_by_one(*plain, as_get, seconds),
        "stat, one by one": lambda: _one_by_one(*p2p, stat, seconds),
        "echo as stat, one by one": lambda: _one_by_one(*plain, as_stat, seconds),
        "stat, pipelined": lambda: _pipelined(*p2p, stat, seconds),
        "echo as stat, pipelined": lambda: _pipelined(*plain, as_stat, seconds),
        f"get, {CLIENTS} clients": lambda: _many(*p2p, get, seconds),
        f"echo as get, {CLIENTS} clients": lambda: _many(*plain, as_get, seconds),
        f"stat, {CLIENTS} clients": lambda: _many(*p2p, stat, seconds),
        f"echo as stat, {CLIENTS} clients": lambda: _many(*plain, as_stat, seconds),
    }
    return Outcome(
        "warm",
        "Round trips on the job socket for a cached file of 10 KB",
        alternate(contestants, runs),
        ratios=[
            ("µs", "get, client, one by one", "echo as get, one by one"),
            ("µs", "get, one by one", "echo as get, one by one"),
            ("µs", "stat, one by one", "echo as stat, one by one"),
            ("µs", "stat, pipelined", "echo as stat, pipelined"),
            ("µs", f"get, {CLIENTS} clients", f"echo as get, {CLIENTS} clients"),
            ("µs", f"stat, {CLIENTS} clients", f"echo as stat, {CLIENTS} clients"),
        ],
        notes=[
            f"Frames: get {len(get)} bytes up and {got} down with a descriptor, stat {len(stat)} up and {told} down; the echo's are as long.",
            "A get opens the file, passes the descriptor and the caller closes it; the echo does nothing of that.",
            "`client` is `p2pstore.Client`; the other rows send ready-made frames and read answers without unpacking them.",
        ],
    )


def _echo_request(size: int, answer: int) -> bytes:
    """A frame of `size` bytes that the echo answers with one of `answer` bytes."""
    return struct.pack(">II", size - 4, answer) + bytes(size - 8)


def _connect(path: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(30)
    one.connect(str(path))
    return one


def _greeted(path: Path) -> socket.socket:
    """A connection with the greeting read (the echo greets with an empty frame)."""
    one = _connect(path)
    _answer(one, bytearray())
    return one


def _answer(one: socket.socket, kept: bytearray) -> int:
    """Read one frame and close a descriptor that came with it; returns the frame's length."""
    while True:
        if len(kept) >= 4:
            need = 4 + int.from_bytes(kept[:4], "big")
            if len(kept) >= need:
                del kept[:need]
                return need
        data, ancillary, _, _ = one.recvmsg(65536, 64)
        if not data:
            raise ConnectionError("the server hung up")
        kept += data
        if ancillary:
            _close_all(ancillary)


def _close_all(ancillary: list[tuple[int, int, bytes]]) -> None:
    for _, _, raw in ancillary:
        fds = array.array("i")
        fds.frombytes(raw[: len(raw) - len(raw) % 4])
        for fd in fds:
            os.close(fd)


def _reply_bytes(path: Path, request: bytes) -> int:
    with _greeted(path) as one:
        one.sendall(request)
        return _answer(one, bytearray())


def _sample(times: int, seconds: float, server_cpu: float) -> Sample:
    return {
        "µs": seconds / times * 1e6,
        "per second": times / seconds,
        "server CPU µs": server_cpu / times * 1e6,
    }


def _sync_client(agent: Agent, url: str, seconds: float) -> Sample:
    from p2pstore.client.sync import Client

    with Client(str(agent.socket)) as client:
        client.fetch(url).close()
        before, begin, times = cpu_s(agent.pid), time.perf_counter(), 0
        end = begin + seconds
        while time.perf_counter() < end:
            client.fetch(url).close()
            times += 1
        return _sample(times, time.perf_counter() - begin, cpu_s(agent.pid) - before)


def _one_by_one(path: Path, pid: int, request: bytes, seconds: float) -> Sample:
    kept = bytearray()
    with _greeted(path) as one:
        before, begin, times = cpu_s(pid), time.perf_counter(), 0
        end = begin + seconds
        while time.perf_counter() < end:
            one.sendall(request)
            _answer(one, kept)
            times += 1
        return _sample(times, time.perf_counter() - begin, cpu_s(pid) - before)


def _pipelined(path: Path, pid: int, request: bytes, seconds: float) -> Sample:
    """Another half of a pipeline is sent whenever half of it was answered."""
    half = PIPELINE // 2
    batch = request * half
    with _greeted(path) as one:
        kept = bytearray()
        before, begin, times = cpu_s(pid), time.perf_counter(), 0
        end = begin + seconds
        one.sendall(batch)
        waiting = half
        while time.perf_counter() < end:
            one.sendall(batch)
            waiting += half
            while waiting > half:
                answered = _some_answers(one, kept)
                waiting -= answered
                times += answered
        while waiting:
            waiting -= _some_answers(one, kept)
        return _sample(times, time.perf_counter() - begin, cpu_s(pid) - before)


def _some_answers(one: socket.socket, kept: bytearray) -> int:
    """Read once; returns how many frames are whole now."""
    data = one.recv(1 << 18)
    if not data:
        raise ConnectionError("the server hung up")
    kept += data
    position = frames = 0
    while len(kept) - position >= 4:
        end = position + 4 + int.from_bytes(kept[position : position + 4], "big")
        if end > len(kept):
            break
        position = end
        frames += 1
    del kept[:position]
    return frames


def _many(path: Path, pid: int, request: bytes, seconds: float) -> Sample:
    """A hundred connections, each with one request on its way."""
    connections = {}
    poll = select.epoll()
    try:
        for _ in range(CLIENTS):
            one = _greeted(path)
            connections[one.fileno()] = (one, bytearray())
            poll.register(one.fileno(), select.EPOLLIN)
        before, begin, times = cpu_s(pid), time.perf_counter(), 0
        end = begin + seconds
        for one, _ in connections.values():
            one.sendall(request)
        while (now := time.perf_counter()) < end:
            for fd, _ in poll.poll(1.0):
                one, kept = connections[fd]
                _answer(one, kept)
                one.sendall(request)
                times += 1
        return _sample(times, now - begin, cpu_s(pid) - before)
    finally:
        poll.close()
        for one, _ in connections.values():
            one.close()
