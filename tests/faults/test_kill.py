"""kill -9 under load: nothing acknowledged is lost, nothing wrong is served, nothing is left lying about."""

from __future__ import annotations

import itertools
import os
import random
import time

import pytest

from tests.faults.agents import Agent
from tests.faults.ledger import Ledger, Pool
from tests.faults.load import Caller, Getter, Putter
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s, trials
from tests.faults.wire import Wire


def leftovers(agent: Agent) -> list[str]:
    """Files that no start should leave."""
    return [
        f"left: {where}/{name}"
        for where in ("tmp", "trash")
        if (agent.cache / where).is_dir()
        for name in os.listdir(agent.cache / where)
    ]


def _loop(
    agent: Agent, nginx: Nginx, kills: int, *plants: str, stop_early: bool = False
) -> tuple[list[str], Ledger, list[float]]:
    ledger = Ledger()
    pool = Pool.fill(nginx, ledger, small=300, large=60)
    rng = random.Random("kill")
    small, large = itertools.cycle(pool.small), itertools.cycle(pool.large)
    found: list[str] = []
    ready_s: list[float] = []
    # A quota below the pool keeps eviction busy.
    agent.options = ["--cache-size", "96M"]
    ready_s.append(agent.start(*plants))
    for number in range(kills):
        putter = Putter(ledger, f"kill-{number}", most=60_000)
        steps = (putter, Getter(ledger, small), Getter(ledger, large))
        callers = [Caller(agent.socket, step) for step in steps]
        for caller in callers:
            caller.start()
        time.sleep(rng.uniform(0.05, 0.25))
        agent.kill()
        for caller in callers:
            caller.finish()
        ready_s.append(agent.start(*plants))
        found += leftovers(agent)
        everything = number == kills - 1
        with agent.wire() as wire:
            found += ledger.violations(wire, only=None if everything else putter.names | ledger.asked)
            if found and stop_early:
                break
            _thin_out(wire, ledger, putter.names)
        if not everything:
            ledger.asked.clear()
    return found, ledger, ready_s


def _thin_out(wire: Wire, ledger: Ledger, names: set[str]) -> None:
    """Keep one result of each round, so that the cache does not fill up with what is never evicted."""
    for name in sorted(names & ledger.acknowledged.keys())[1:]:
        del ledger.acknowledged[name]
        wire.call("rm", {"name": name})


@pytest.mark.timeout(budget_s(100))
def test_nothing_is_lost_or_wrong(agent: Agent, nginx: Nginx) -> None:
    kills = trials("kill")
    found, ledger, ready_s = _loop(agent, nginx, kills)
    assert found == []
    assert len(ledger.acknowledged) >= kills // 2
    assert sorted(ready_s)[len(ready_s) // 2] < 1.0


@pytest.mark.timeout(budget_s(30))
@pytest.mark.parametrize("plant", ["publishing.acknowledge_early", "publishing.no_clean_up"])
def test_a_planted_bug_is_noticed(plant: str, agent: Agent, nginx: Nginx) -> None:
    found, _, _ = _loop(agent, nginx, trials("kill, planted"), plant, stop_early=True)
    assert found
