"""A minute of mixed load: memory and descriptors end where they were."""

from __future__ import annotations

import itertools
import time
from typing import Final

import pytest

from tests.faults.agents import Agent
from tests.faults.ledger import Ledger, Pool
from tests.faults.load import Caller, Getter
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s, trials
from tests.faults.wire import AgentSaidNo, Wire

MORE_RSS_BYTES: Final = 8 << 20
MORE_FDS: Final = 4
WARM_UP_S: Final = 15.0


class _Mixed:
    """Puts, lists, removes, fails, opens and cancels, over and over."""

    def __init__(self, nginx: Nginx) -> None:
        self._nginx = nginx
        self._numbers = itertools.count()

    def __call__(self, wire: Wire) -> None:
        """One round."""
        number = next(self._numbers)
        wire.put("growth", b"x" * (number % 5000), replace=True)
        wire.call("ls", {"limit": 50})
        wire.call("stat", {"url": self._nginx.url(f"absent-{number}")})
        wire.call("status")
        for args in ({"url": self._nginx.url(f"absent-{number}")}, {"url": "nonsense:"}, {}):
            try:
                wire.call("get", args).close()
            except AgentSaidNo:
                continue


def _growth(agent: Agent, nginx: Nginx, seconds: float, *plants: str) -> tuple[int, int, int]:
    """Steps done, bytes and descriptors grown after the warm-up."""
    ledger = Ledger()
    pool = Pool.fill(nginx, ledger, small=400, large=40)
    agent.options = ["--cache-size", "32M"]
    agent.start(*plants)
    steps = (
        Getter(ledger, itertools.cycle(pool.small)),
        Getter(ledger, itertools.cycle(pool.large)),
        _Mixed(nginx),
    )
    callers = [Caller(agent.socket, step) for step in steps]
    for caller in callers:
        caller.start()
    time.sleep(min(WARM_UP_S, seconds / 2))
    before = _at_rest(agent)
    time.sleep(seconds)
    for caller in callers:
        caller.stop()
    for caller in callers:
        caller.finish()
    assert ledger.wrong == []
    after = _at_rest(agent)
    return sum(caller.steps for caller in callers), after[0] - before[0], after[1] - before[1]


def _at_rest(agent: Agent) -> tuple[int, int]:
    """The least of some samples: what is in flight comes and goes."""
    samples = []
    for _ in range(20):
        samples.append((agent.rss_bytes(), len(agent.fds())))
        time.sleep(0.05)
    return min(rss for rss, _ in samples), min(fds for _, fds in samples)


@pytest.mark.timeout(budget_s(90))
def test_memory_and_descriptors_stay(agent: Agent, nginx: Nginx) -> None:
    steps, rss, fds = _growth(agent, nginx, trials("growth"))
    assert steps > 300, "too little load to show anything"
    assert rss <= MORE_RSS_BYTES, f"grew by {rss >> 10} KiB in {steps} steps"
    assert fds <= MORE_FDS


@pytest.mark.timeout(budget_s(30))
@pytest.mark.parametrize("plant", ["growth.leaks_descriptors", "growth.leaks_memory"])
def test_a_leak_is_noticed(plant: str, agent: Agent, nginx: Nginx) -> None:
    _, rss, fds = _growth(agent, nginx, 8.0, plant)
    assert rss > MORE_RSS_BYTES or fds > MORE_FDS
