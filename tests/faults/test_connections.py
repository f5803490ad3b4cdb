"""Five thousand connections at once, and a thousand that dribble: everybody else is served as before."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.faults.agents import Agent
from tests.faults.ledger import content
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s
from tests.faults.wire import Wire, frame

CONNECTIONS: Final = 5000
MOST_RSS_BYTES: Final = 150 << 20
SLOW: Final = 1000
CLIENTS: Final = 200
QUIET_FACTOR: Final = 2.0
PERIOD_S: Final = 0.004
FLOOR_S: Final = 0.01
"""Below this a p99 says more about the scheduler of two shared cores than about the agent."""


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def roomy(agent: Agent) -> Agent:
    agent.settings = {
        "JOBS_MAX_CONNECTIONS": str(CONNECTIONS + 500),
        "JOBS_MAX_CONNECTIONS_PER_UID": str(CONNECTIONS + 500),
    }
    agent.spec.files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return agent


def _p99_s(agent: Agent, url: str, seconds: float) -> float:
    """What a caller waits for a cached file who comes every few milliseconds, whether the last one was served or not."""
    times = []
    with agent.wire() as wire:
        begin = time.perf_counter()
        for number in range(int(seconds / PERIOD_S)):
            due = begin + number * PERIOD_S
            time.sleep(max(0.0, due - time.perf_counter()))
            wire.call("get", {"url": url}).close()
            times.append(time.perf_counter() - due)
    times.sort()
    return times[int(len(times) * 0.99)]


@pytest.mark.timeout(budget_s(30))
def test_five_thousand_connections(roomy: Agent, nginx: Nginx) -> None:
    data = content("shared", 10_000)
    nginx.file("shared", data)
    url = nginx.url("fresh/shared")
    roomy.start()
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(roomy.socket)) for _ in range(CONNECTIONS)]
        assert roomy.rss_bytes() <= MOST_RSS_BYTES
        numbers = [wire.send("get", {"url": url}) for wire in wires]
        for wire, number in zip(wires, numbers, strict=True):
            assert wire.finish(number).read() == data
        numbers = [wire.send("stat", {"url": url}) for wire in wires]
        for wire, number in zip(wires, numbers, strict=True):
            assert wire.finish(number).body["cached"]
        assert roomy.rss_bytes("VmHWM") <= MOST_RSS_BYTES
    # One load for all of them.
    assert len([request for request in nginx.settle() if request.uri.endswith("shared")]) == 1
    deadline = time.monotonic() + 20
    while len(roomy.fds()) > 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(roomy.fds()) < 200


@pytest.mark.timeout(budget_s(20))
def test_more_than_allowed_are_turned_away_and_the_rest_served(agent: Agent) -> None:
    agent.settings = {"JOBS_MAX_CONNECTIONS": "50", "JOBS_MAX_CONNECTIONS_PER_UID": "50"}
    agent.start()
    with contextlib.ExitStack() as stack:
        first = [stack.enter_context(agent.wire()) for _ in range(45)]
        refused = 0
        for _ in range(200):
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.settimeout(5)
            one.connect(str(agent.socket))
            try:
                one.sendall(frame([1, "status", {}]))
                refused += b"overloaded" in one.recv(65536)
            except (BrokenPipeError, ConnectionResetError):
                refused += 1
        assert refused >= 150
        for wire in first:
            assert wire.call("status").body["pid"] == agent.pid
    agent.wait_ready()


class _Dribblers(threading.Thread):
    """Connections that send a frame one byte at a time, never to its end."""

    def __init__(self, agent: Agent, count: int) -> None:
        super().__init__(daemon=True)
        self._sockets = []
        for _ in range(count):
            one = socket.socket(socket.AF_UNIX)
            one.connect(str(agent.socket))
            one.setblocking(False)
            self._sockets.append(one)
        self.done = threading.Event()
        self.cut = 0

    def run(self) -> None:
        """The thread: each gets a byte once a second."""
        data = frame([1, "stat", {"url": "http://127.0.0.1/" + "x" * 4000}])
        place = 0
        while not self.done.wait(1.0):
            for one in self._sockets:
                try:
                    one.send(data[place : place + 1])
                except (BlockingIOError, OSError):
                    self.cut += 1
            place += 1

    def close(self) -> None:
        """Hang up."""
        self.done.set()
        self.join(10)
        for one in self._sockets:
            one.close()


def _slowed(agent: Agent, nginx: Nginx, *plants: str) -> tuple[float, float]:
    nginx.file("shared", content("shared", 10_000))
    url = nginx.url("fresh/shared")
    agent.start(*plants)
    with agent.wire() as wire:
        wire.call("get", {"url": url}).close()
    quiet = _p99_s(agent, url, 4.0)
    dribblers = _Dribblers(agent, SLOW)
    dribblers.start()
    try:
        busy = _p99_s(agent, url, 6.0)
    finally:
        dribblers.close()
    return quiet, busy


def _harmed(quiet_s: float, busy_s: float) -> bool:
    return busy_s > max(QUIET_FACTOR * quiet_s, FLOOR_S)


@pytest.mark.timeout(budget_s(40))
def test_slow_clients_slow_nobody_else(roomy: Agent, nginx: Nginx) -> None:
    # The scheduler may give one bad second to either side: the best of three tries counts.
    measured = []
    for _ in range(3):
        measured.append(_slowed(roomy, nginx))
        roomy.kill()
        if not _harmed(*measured[-1]):
            return
    pytest.fail(f"p99 quiet and with {SLOW} slow clients: {measured}")


@pytest.mark.timeout(budget_s(30))
def test_waiting_for_slow_clients_is_noticed(roomy: Agent, nginx: Nginx) -> None:
    assert _harmed(*_slowed(roomy, nginx, "frames.waits_for_the_rest"))
