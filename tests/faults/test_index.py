"""The index is derived: deleted, cut short or overwritten, the answers are the same after the rebuild, and serving goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.agents import Agent
from tests.faults.disks import Image
from tests.faults.ledger import Ledger, Promise, content
from tests.faults.nginx import Nginx
from tests.faults.stocking import stock
from tests.faults.trials import budget_s, trials
from tests.faults.wire import Wire, rebuilt

MANY_ENTRIES = 100_000


def listing(wire: Wire) -> list[tuple[Any, ...]]:
    """Everything that `ls` tells of every entry, but for how recently it was used."""
    found = []
    after = None
    while True:
        page = wire.call("ls", {"limit": 1000} | ({"after": after} if after else {})).body
        found += [
            tuple(entry[name] for name in ("url", "key", "ver", "root", "size", "current"))
            for entry in page["entries"]
        ]
        after = page["next"]
        if not after:
            return found


def _index_files(agent: Agent) -> list[Path]:
    return sorted(agent.cache.glob("index.sqlite*"))


def delete(agent: Agent, rng: random.Random) -> None:
    """All of it is gone."""
    del rng
    for path in _index_files(agent):
        path.unlink()


def truncate(agent: Agent, rng: random.Random) -> None:
    """Each file ends early."""
    for path in _index_files(agent):
        with path.open("r+b") as file:
            file.truncate(rng.randint(0, path.stat().st_size))


def overwrite(agent: Agent, rng: random.Random) -> None:
    """Noise in the middle of each file."""
    for path in _index_files(agent):
        size = path.stat().st_size
        if size:
            with path.open("r+b") as file:
                file.seek(rng.randrange(size))
                file.write(rng.randbytes(rng.randint(1, min(size, 20_000))))


def another(agent: Agent, rng: random.Random) -> None:
    """It is not a database at all."""
    delete(agent, rng)
    (agent.cache / "index.sqlite").write_bytes(rng.randbytes(rng.choice([0, 1, 100, 8192, 100_000])))


def lose_log(agent: Agent, rng: random.Random) -> None:
    """The write-ahead log is gone, and with it whatever was only there."""
    del rng
    for path in _index_files(agent):
        if path.name != "index.sqlite":
            path.unlink()


DAMAGES: list[Callable[[Agent, random.Random], None]] = [delete, truncate, overwrite, another, lose_log]


def _stocked(agent: Agent, nginx: Nginx, ledger: Ledger) -> None:
    with agent.wire() as wire:
        for number in range(60):
            data = content(f"index-{number}", 1_200_000 if number == 0 else 700)
            nginx.file(f"index-{number}", data)
            url = nginx.url(f"fresh/index-{number}")
            ledger.urls[url] = Promise.of(data)
            ledger.asked.add(url)
            wire.get(url)
            if number % 3 == 0:
                wire.put(f"index-{number}", data)
                ledger.acknowledged[f"index-{number}"] = Promise.of(data)


def _rounds(agent: Agent, nginx: Nginx, rounds: int, *plants: str) -> tuple[list[str], list[float]]:
    ledger = Ledger()
    agent.start()
    _stocked(agent, nginx, ledger)
    with agent.wire() as wire:
        before = listing(wire)
    assert len(before) == len(ledger.urls) + len(ledger.acknowledged)
    rng = random.Random("index")
    found: list[str] = []
    ready_s: list[float] = []
    for number in range(rounds):
        agent.kill()
        damage = DAMAGES[number % len(DAMAGES)]
        damage(agent, rng)
        ready_s.append(agent.start("index.slow_rebuild", *plants))
        with agent.wire() as wire:
            # At once, before the rebuild can have ended: every answer is right.
            found += [f"{damage.__name__}: {line}" for line in _misses(wire, ledger)]
            if not rebuilt(wire, 10.0):
                found.append(f"{damage.__name__}: the rebuild does not end")
                break
            if listing(wire) != before:
                found.append(f"{damage.__name__}: another listing after the rebuild in round {number}")
    return found, ready_s


def _misses(wire: Wire, ledger: Ledger) -> list[str]:
    found = ledger.violations(wire)
    for url in ledger.asked:
        if not wire.call("stat", {"url": url}).body["cached"]:
            found.append(f"{url} is not found")
    return found


@pytest.mark.timeout(budget_s(40))
def test_the_same_answers_after_the_rebuild(agent: Agent, nginx: Nginx) -> None:
    found, ready_s = _rounds(agent, nginx, trials("index"))
    assert found == []
    assert sorted(ready_s)[len(ready_s) // 2] < 1.0


@pytest.mark.timeout(budget_s(15))
@pytest.mark.parametrize("plant", ["index.no_rebuild", "index.no_direct_lookup"])
def test_a_planted_bug_is_noticed(plant: str, agent: Agent, nginx: Nginx) -> None:
    found, _ = _rounds(agent, nginx, len(DAMAGES), plant)
    assert found


@pytest.mark.timeout(budget_s(100))
def test_a_hundred_thousand_entries(images: Callable[..., Image], agents: Callable[..., Agent]) -> None:
    # On a file system of its own, which goes away faster than so many files can be removed.
    image = images("ext4", 4 << 10, inodes=2 * MANY_ENTRIES + 20_000)
    image.mount()
    agent = agents(fresh=True, cache=image.point / "cache")
    agent.options = ["--cache-size", "3G"]
    stock(agent.cache, MANY_ENTRIES)
    agent.start()
    agent.kill()
    ready_s = [_restart(agent) for _ in range(3)]
    # The kernel starts Python and the imports as slowly as it likes; what counts is the best of three.
    assert min(ready_s) < 1.0, ready_s
    with agent.wire() as wire:
        before = listing(wire)
    assert len(before) == MANY_ENTRIES
    agent.kill()
    delete(agent, random.Random())
    without_s = agent.start()
    with agent.wire() as wire:
        rng = random.Random("many")
        rebuilding = bool(wire.call("status").body["usage"]["rebuilding"])
        for url, *_ in rng.sample(before, 200):
            assert wire.call("stat", {"url": url}).body["cached"], url
        assert rebuilt(wire, 180.0)
        assert listing(wire) == before
    assert rebuilding, "the rebuild had ended before anything was asked: nothing was served meanwhile"
    assert without_s < 1.5


def _restart(agent: Agent) -> float:
    if agent.pid:
        agent.kill()
    return agent.start()
