"""The file at the URL is replaced while it is being read: one version or the other, never a mix, never a hang."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.faults.agents import Agent
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s, trials
from tests.faults.wire import AgentSaidNo

SIZE_BYTES: Final = 32 << 20
OTHER_SIZE_BYTES: Final = 27 << 20
RATE: Final = "4m"
"""nginx lets a second's worth of bytes go at once: half of each request of 8 MiB, the rest comes a second later."""
TRANSFER_S: Final = 1.3
"""About how long one download takes: replacements come within this time."""
AT_ONCE: Final = 8
DEADLINE_S: Final = 40.0


@dataclass
class Versions:
    """Three prepared files: the first, another of equal length, another of other length; each try links to them."""

    www: Path
    digests: dict[str, str] = field(default_factory=dict)

    def make(self) -> None:
        """Write them, with different modification times of long ago."""
        for number, (name, size) in enumerate(
            (("first", SIZE_BYTES), ("equal", SIZE_BYTES), ("other", OTHER_SIZE_BYTES))
        ):
            data = random.Random(name).randbytes(size)
            path = self.www / f"{name}.src"
            path.write_bytes(data)
            then = time.time() - 90_000 + 3_600 * number
            os.utime(path, (then, then))
            self.digests[name] = hashlib.sha256(data).hexdigest()

    def show(self, version: str, name: str) -> None:
        """Make `name` this version, by rename, at once."""
        staged = self.www / f"{name}.new"
        os.link(self.www / f"{version}.src", staged)
        os.rename(staged, self.www / name)


@dataclass
class Tally:
    """What the tries ended with."""

    violations: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


def _one_try(number: int, agent: Agent, nginx: Nginx, versions: Versions, tally: Tally) -> None:
    rng = random.Random(number)
    second = "equal" if number % 2 else "other"
    name = f"try-{number}"
    versions.show("first", name)
    timer = threading.Timer(rng.uniform(0.0, TRANSFER_S), versions.show, (second, name))
    timer.start()
    begin = time.monotonic()
    try:
        with agent.wire(timeout_s=DEADLINE_S + 10) as wire:
            data = wire.get(nginx.url(f"rate/{RATE}/{name}"), deadline_s=DEADLINE_S)
        digest = hashlib.sha256(data).hexdigest()
        outcome = next((known for known, value in versions.digests.items() if value == digest), "mix")
        if outcome not in ("first", second):
            outcome = "mix"
    except AgentSaidNo as no:
        outcome = no.code
    except TimeoutError:
        outcome = "hang"
    timer.join()
    with tally.lock:
        tally.outcomes[
            outcome if outcome in ("first", "mix") else ("second" if outcome == second else outcome)
        ] += 1
        if outcome not in ("first", second):
            tally.violations.append(
                f"try {number} ({second}) ended with {outcome} after {time.monotonic() - begin:.1f} s"
            )


def _tries(count: int, agent: Agent, nginx: Nginx, *plants: str) -> Tally:
    versions = Versions(nginx.www)
    versions.make()
    agent.options = ["--cache-size", "2G"]
    agent.settings = {"ORIGIN_RETRY_WAIT": "0.05s"}
    agent.start(*plants)
    tally = Tally()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(_one_try, number, agent, nginx, versions, tally) for number in range(count)]:
            done.result()
    return tally


@pytest.mark.timeout(budget_s(150))
def test_one_version_or_the_other(agent: Agent, nginx: Nginx) -> None:
    tally = _tries(trials("replaced at the origin"), agent, nginx)
    assert tally.violations == []
    # Moments before, during and after the transfer were all met.
    assert tally.outcomes["first"] and tally.outcomes["second"]


@pytest.mark.timeout(budget_s(50))
def test_a_missing_guard_is_noticed(agent: Agent, nginx: Nginx) -> None:
    tally = _tries(trials("replaced, planted"), agent, nginx, "versions.no_guard")
    assert tally.outcomes["mix"]
