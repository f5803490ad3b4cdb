"""No space, no inodes: getting goes on by streaming, putting fails clean, and both recover when there is room again."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.agents import Agent
from tests.faults.disks import Tmpfs
from tests.faults.ledger import content
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s, trials

EXIT_NO_SPACE = 8
MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int, int], Tmpfs]]:
    made: list[Tmpfs] = []

    def make(size_mib: int, inodes: int) -> Tmpfs:
        made.append(Tmpfs(tmp_path / f"small{len(made)}", size_mib, inodes))
        return made[-1]

    yield make
    for disk in made:
        disk.close()


def _fill_bytes(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(64 << 10))
        except OSError:
            return


def _fill_inodes(directory: Path) -> None:
    directory.mkdir()
    number = 0
    try:
        while True:
            (directory / str(number)).touch()
            number += 1
    except OSError:
        return


def _get(agent: Agent, url: str, out: Path) -> tuple[int, str]:
    done = agent.command("get", url, "-o", str(out), "--json")
    return done.returncode, done.stderr


def _put(agent: Agent, name: str, data: bytes) -> tuple[int, str]:
    source = agent.directory / "source"
    source.write_bytes(data)
    done = agent.command("put", str(source), name)
    return done.returncode, done.stderr


def _violations(
    agent: Agent, nginx: Nginx, disk: Tmpfs, rounds: int, inodes: bool, *plants: str
) -> list[str]:
    agent.cache = disk.point / "cache"
    agent.options = ["--cache-size", "1G"]
    agent.start(*plants)
    rng = random.Random("full")
    found: list[str] = []
    junk = disk.point / "junk"
    with agent.wire() as wire:
        for number in range(rounds):
            data = content(f"full-{number}", rng.choice([1, 5000, 3 * MIB, 20 * MIB]))
            url = nginx.file(f"full-{number}", data)
            wire.put(f"before-{number}", b"x" * 5000)
            (_fill_inodes if inodes else _fill_bytes)(junk)
            out = agent.directory / "out"
            code, said = _get(agent, url, out)
            if code != 0 or out.read_bytes() != data:
                found.append(f"round {number}: get of {len(data)} bytes on a full disk: exit {code} {said}")
            out.unlink(missing_ok=True)
            code, said = _put(agent, f"during-{number}", content("put", 8 * MIB))
            if code not in (0, EXIT_NO_SPACE):
                found.append(f"round {number}: put on a full disk: exit {code} {said}")
            acknowledged = code == 0
            if wire.get(f"put:before-{number}") != b"x" * 5000:
                found.append(f"round {number}: an earlier result is wrong")
            _empty(junk)
            if acknowledged and wire.get(f"put:during-{number}") != content("put", 8 * MIB):
                found.append(f"round {number}: an acknowledged result is wrong")
            code, said = _put(agent, f"after-{number}", content(f"after-{number}", MIB))
            if code != 0:
                found.append(f"round {number}: put after room was made: exit {code} {said}")
            if wire.get(url) != data:
                found.append(f"round {number}: get after room was made is wrong")
            for name in ("before", "during", "after"):
                if name != "during" or acknowledged:
                    wire.call("rm", {"name": f"{name}-{number}"})
    return found


def _empty(junk: Path) -> None:
    if junk.is_dir():
        for child in junk.iterdir():
            child.unlink()
        junk.rmdir()
    else:
        junk.unlink()


@pytest.mark.timeout(budget_s(30))
@pytest.mark.parametrize("inodes", [False, True], ids=["bytes", "inodes"])
def test_get_streams_and_put_fails_clean(
    inodes: bool, agent: Agent, nginx: Nginx, small_disk: Callable[[int, int], Tmpfs]
) -> None:
    disk = small_disk(64, 2000)
    assert _violations(agent, nginx, disk, max(1, trials("disk full") // 2), inodes) == []


@pytest.mark.timeout(budget_s(15))
def test_not_streaming_is_noticed(
    agent: Agent, nginx: Nginx, small_disk: Callable[[int, int], Tmpfs]
) -> None:
    found = _violations(agent, nginx, small_disk(64, 2000), 3, False, "space.no_streaming")
    assert any("get of" in line for line in found)


@pytest.mark.timeout(budget_s(15))
def test_a_file_larger_than_the_disk_is_streamed(
    agent: Agent, nginx: Nginx, small_disk: Callable[[int, int], Tmpfs]
) -> None:
    disk = small_disk(32, 2000)
    agent.cache = disk.point / "cache"
    agent.start()
    data = content("larger", 48 * MIB)
    out = agent.directory / "out"
    assert _get(agent, nginx.file("larger", data), out)[0] == 0
    assert out.read_bytes() == data
    assert os.listdir(agent.cache / "tmp") == []
