"""Bits flip on disk: `check` finds every damaged object, nothing damaged is served afterwards, the origin repairs it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.agents import Agent
from tests.faults.ledger import Ledger, Promise, content
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s, trials
from tests.faults.wire import AgentSaidNo, Wire, rebuilt

EXIT_INTEGRITY = 5
MOST_FLIPPED = 1000


def flip(path: Path, rng: random.Random, most: int = MOST_FLIPPED) -> int:
    """Change 1 to `most` bytes in place; modification time and length stay, as when a disk rots."""
    status = path.stat()
    flipped = rng.randint(1, most)
    with path.open("r+b") as file:
        for _ in range(flipped):
            offset = rng.randrange(status.st_size)
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ rng.randint(1, 255)]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return flipped


def _entries(wire: Wire) -> Iterator[dict[str, Any]]:
    after = None
    while True:
        page = wire.call("ls", {"limit": 500} | ({"after": after} if after else {})).body
        yield from page["entries"]
        after = page["next"]
        if not after:
            return


def _stocked(agent: Agent, nginx: Nginx, count: int, *plants: str) -> Ledger:
    ledger = Ledger()
    rng = random.Random("rot")
    agent.start(*plants)
    with agent.wire() as wire:
        for number in range(count):
            # One in ten has several pieces and a manifest of its own.
            data = content(
                f"rot-{number}",
                rng.randint(1_100_000, 2_000_000) if number % 10 == 0 else rng.randint(1, 9_000),
            )
            url = nginx.file(f"rot-{number}", data)
            url = nginx.url(f"fresh/rot-{number}")
            ledger.urls[url] = Promise.of(data)
            ledger.asked.add(url)
            assert wire.get(url) == data
    return ledger


def _object_paths(agent: Agent, wire: Wire, ledger: Ledger) -> dict[str, Path]:
    return {url: Path(wire.call("get", {"url": url, "want": "path"}).body["path"]) for url in ledger.urls}


@pytest.mark.timeout(budget_s(40))
def test_check_finds_every_damaged_object(agent: Agent, nginx: Nginx) -> None:
    count = trials("bit rot")
    ledger = _stocked(agent, nginx, count + 20)
    rng = random.Random("flip")
    with agent.wire() as wire:
        paths = _object_paths(agent, wire, ledger)
        damaged = set(rng.sample(sorted(paths), count))
        for url in damaged:
            flip(paths[url], rng)
        done = agent.command("check", "--json", timeout_s=300)
        assert done.returncode == EXIT_INTEGRITY, done.stderr
        assert {entry["url"] for entry in _entries(wire)} == set(paths) - damaged
        # Whatever is still cached is right; what was damaged comes from the origin again.
        assert ledger.violations(wire) == []
        for url in sorted(damaged):
            assert ledger.urls[url].broken_by(wire.get(url)) == ""
        again = wire.call("check").body
        assert (again["checked"], again["bad"]) == (count + 20, 0)


@pytest.mark.timeout(budget_s(20))
def test_not_comparing_is_noticed(agent: Agent, nginx: Nginx) -> None:
    ledger = _stocked(agent, nginx, 20, "integrity.every_digest_agrees")
    rng = random.Random("flip")
    with agent.wire() as wire:
        for path in _object_paths(agent, wire, ledger).values():
            flip(path, rng)
        assert wire.call("check").body["bad"] == 0
        assert ledger.violations(wire)


@pytest.mark.timeout(budget_s(20))
def test_a_damaged_put_is_a_loud_error(agent: Agent) -> None:
    rng = random.Random("put")
    agent.start()
    with agent.wire() as wire:
        for number in range(10):
            wire.put(f"result-{number}", content(f"result-{number}", 20_000))
        for entry in list(_entries(wire)):
            flip(next(agent.cache.glob(f"**/{entry['root']}")), rng)
        answer = wire.call("check").body
        assert answer["bad"] == 10
        for number in range(10):
            with pytest.raises(AgentSaidNo) as no:
                wire.get(f"put:result-{number}")
            assert no.value.code in {"not_found", "not_cached", "integrity"}


@pytest.mark.timeout(budget_s(20))
@pytest.mark.parametrize("plant", ["", "integrity.no_record_checksum"])
def test_damaged_records_are_not_believed(plant: str, agent: Agent, nginx: Nginx) -> None:
    """A record says what an entry is; with the index gone it is all there is. Damaged ones are dropped, never half believed."""
    ledger = _stocked(agent, nginx, trials("record rot"))
    with agent.wire() as wire:
        before = {entry["url"]: _told(entry) for entry in _entries(wire)}
    agent.kill()
    rng = random.Random("records")
    records = sorted((agent.cache / "meta").glob("*/*"))
    assert len(records) >= len(before)
    for path in records:
        flip(path, rng, most=3)
    for path in agent.cache.glob("index.sqlite*"):
        path.unlink()
    agent.start(*([plant] if plant else []))
    with agent.wire() as wire:
        found = [] if rebuilt(wire, 10.0) else ["the rebuild does not end"]
        found += [str(entry) for entry in _entries(wire) if before.get(entry["url"]) != _told(entry)]
        found += ledger.violations(wire)
    assert bool(found) == bool(plant), found[:5]


def _told(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in ("key", "ver", "root", "size"))
