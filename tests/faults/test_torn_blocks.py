"""A device loses, tears and reorders what was not flushed: still no acknowledged result is lost, no wrong byte served."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.agents import Agent, NotReady
from tests.faults.blocklog import Event, Recorder, crash_image
from tests.faults.disks import Image
from tests.faults.ledger import Ledger, Pool, Promise, content
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s, trials

PUTS: Final = 25


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    made = Recorder(tmp_path / "recorded")
    yield made
    made.stop()


def _record(
    agent: Agent, nginx: Nginx, recorder: Recorder, ledger: Ledger, *plants: str
) -> tuple[int, dict[str, int]]:
    """Put and get on the logged disk; returns where the log stood when the agent was ready, and at each acknowledgement."""
    pool = Pool.fill(nginx, ledger, small=PUTS, large=4)
    agent.cache = recorder.point / "cache"
    agent.options = ["--cache-size", "36M"]
    agent.settings = {"CACHE_FLUSH_INTERVAL": "0.2s", "CACHE_FREE": "1M"}
    agent.reboot()
    agent.start(*plants)
    ready = recorder.position
    acknowledged = {}
    rng = random.Random("torn")
    with agent.wire() as wire:
        for number in range(PUTS):
            name = f"torn-{number}"
            data = content(name, rng.randint(1, 40_000))
            ledger.offered[name] = Promise.of(data)
            wire.put(name, data)
            acknowledged[name] = recorder.position
            for url in (pool.small[number], *pool.large[number // 8 : number // 8 + 1]):
                ledger.asked.add(url)
                wire.get(url)
            if number % 5 == 4:
                # Something must be written without anybody asking for it, as the kernel does by and by.
                os.sync() if number % 2 else time.sleep(0.25)
    agent.kill()
    recorder.stop()
    return ready, acknowledged


def _cuts(events: list[Event], ready: int, count: int, rng: random.Random) -> Iterator[int]:
    first = next(number for number, event in enumerate(events) if event.position >= ready)
    for number in range(count):
        # Some cuts come while the directory is being made.
        yield rng.randrange(1, first) if number % 8 == 0 else rng.randrange(first, len(events))


def _violations(
    agent: Agent,
    nginx: Nginx,
    recorder: Recorder,
    image: Image,
    count: int,
    *plants: str,
    stop_early: bool = False,
) -> list[str]:
    ledger = Ledger()
    ready, acknowledged = _record(agent, nginx, recorder, ledger, *plants)
    events = recorder.events()
    rng = random.Random("images")
    promises = dict(ledger.offered)
    found: list[str] = []
    agent.cache = image.point / "cache"
    for cut in _cuts(events, ready, count, rng):
        crash_image(recorder.start, image.path, events, cut, rng)
        try:
            image.mount()
        except OSError:
            # The file system's own superblock was torn: half of it is new.
            image.repair()
            image.mount()
        position = events[cut].position
        ledger.acknowledged = {name: promises[name] for name, at in acknowledged.items() if at <= position}
        ledger.offered = {
            name: promise for name, promise in promises.items() if name not in ledger.acknowledged
        }
        agent.reboot()
        try:
            agent.start(*plants)
        except NotReady as error:
            return [*found, f"cut after {cut} of {len(events)} events: does not start again: {error}"]
        with agent.wire() as wire:
            found += [f"cut after {cut} of {len(events)} events: {line}" for line in ledger.violations(wire)]
        agent.kill()
        image.unmount()
        if found and stop_early:
            break
    return found


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[Image]:
    made = Image(tmp_path / "replay", "ext4", 48)
    yield made
    made.close()


@pytest.mark.timeout(budget_s(50))
def test_no_acknowledged_result_is_lost(
    agent: Agent, nginx: Nginx, recorder: Recorder, replay: Image
) -> None:
    assert _violations(agent, nginx, recorder, replay, trials("torn blocks")) == []


@pytest.mark.timeout(budget_s(30))
@pytest.mark.parametrize("plant", ["durability.no_fsync", "durability.no_directory_fsync"])
def test_a_missing_fsync_is_noticed(
    plant: str, recorder: Recorder, replay: Image, agent: Agent, nginx: Nginx
) -> None:
    count = trials("torn blocks, planted")
    assert _violations(agent, nginx, recorder, replay, count, plant, stop_early=True)
