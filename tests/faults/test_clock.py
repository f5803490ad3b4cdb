"""The wall clock jumps by days and years: no mass eviction, no hang, no negative age, and freshness finds its way back."""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.agents import Agent
from tests.faults.ledger import Ledger, Promise, content
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s, trials
from tests.faults.wire import AgentSaidNo

DAY = 86_400.0
JUMPS = (DAY, -DAY, 10 * 365 * DAY, -10 * 365 * DAY, 3600.0, -3600.0, 0.0, 60 * 365 * DAY, -40 * 365 * DAY)


class Clock:
    """The offset that the agent's wall clock is seen with."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        self.path = path
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 8)

    def jump(self, offset_s: float) -> None:
        """From now on the agent's clock differs by this much."""
        self._map[:8] = struct.pack("d", offset_s)

    def close(self) -> None:
        """Free it."""
        self._map.close()
        self._file.close()


def _jumping(agent: Agent, nginx: Nginx, jumps: int, *plants: str) -> list[str]:
    clock = Clock(agent.directory / "clock")
    ledger = Ledger()
    found: list[str] = []
    agent.settings = {"CACHE_FLUSH_INTERVAL": "0.2s"}
    agent.start(f"clock.offset={clock.path}", *plants)
    try:
        with agent.wire(timeout_s=20) as wire:
            for number in range(30):
                data = content(f"clock-{number}", 3000)
                nginx.file(f"clock-{number}", data)
                url = nginx.url(f"fresh/clock-{number}")
                ledger.urls[url] = Promise.of(data)
                ledger.asked.add(url)
                wire.get(url)
            wire.put("clock", b"kept")
            for number in range(jumps):
                found += _jump(number, clock, agent, nginx)
                found += _after_jump(number, ledger, agent, nginx)
            clock.jump(0.0)
            counters = wire.call("status").body["usage"]
            if counters["entries"] < len(ledger.urls) + 1:
                found.append(f"only {counters['entries']} entries are left")
            for url in ledger.asked:
                told = wire.call("stat", {"url": url}).body
                if not told.get("cached") or told["age_s"] < 0:
                    found.append(f"{url}: {told}")
    finally:
        agent.kill()
        clock.close()
    return found


def _jump(number: int, clock: Clock, agent: Agent, nginx: Nginx) -> list[str]:
    """Move the clock while a download is on its way: its deadline and timers must not notice."""
    data = content(f"slow-{number}", 900_000)
    nginx.file(f"slow-{number}", data)
    with ThreadPoolExecutor(1) as pool, agent.wire(timeout_s=30) as wire:
        asking = pool.submit(wire.get, nginx.url(f"rate/500k/slow-{number}"), deadline_s=20.0)
        time.sleep(0.3)
        clock.jump(JUMPS[number % len(JUMPS)])
        try:
            return [] if asking.result() == data else [f"jump {number}: a download is wrong"]
        except AgentSaidNo as no:
            return [f"jump {number}: a download under way: {no}"]


def _after_jump(number: int, ledger: Ledger, agent: Agent, nginx: Nginx) -> list[str]:
    found = []
    with agent.wire(timeout_s=20) as wire:
        for url in sorted(ledger.asked)[:5]:
            told = wire.call("stat", {"url": url}).body
            if not told.get("cached"):
                found.append(f"jump {number}: {url} is gone")
            elif told["age_s"] < 0:
                found.append(f"jump {number}: negative age {told['age_s']}")
        url = sorted(ledger.asked)[number % len(ledger.asked)]
        if broken := ledger.urls[url].broken_by(wire.get(url, deadline_s=10.0)):
            found.append(f"jump {number}: {url}: {broken}")
        fresh = nginx.file(f"new-{number}", content(f"new-{number}", 2_000_000))
        if wire.get(fresh, deadline_s=10.0) != content(f"new-{number}", 2_000_000):
            found.append(f"jump {number}: a new file is wrong")
        if wire.get("put:clock") != b"kept":
            found.append(f"jump {number}: a result is wrong")
    return found


@pytest.mark.timeout(budget_s(20))
def test_jumps_do_no_harm(agents: Callable[..., Agent], nginx: Nginx) -> None:
    assert _jumping(agents(fresh=True), nginx, trials("clock")) == []


@pytest.mark.timeout(budget_s(15))
@pytest.mark.parametrize("plant", ["clock.timers_by_wall", "clock.negative_ages"])
def test_a_planted_bug_is_noticed(plant: str, agents: Callable[..., Agent], nginx: Nginx) -> None:
    try:
        found = _jumping(agents(fresh=True), nginx, 4, plant)
    except TimeoutError:
        found = ["hang"]
    assert found
