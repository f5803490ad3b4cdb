"""Five times the quota flows through: blocks on disk stay below it, but for unlinked files that readers still hold."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.faults.agents import Agent
from tests.faults.disks import Image, blocks_bytes
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s
from tests.faults.wire import Result

FILE_BYTES: Final = 64 << 20
FILES: Final = 80
QUOTA_BYTES: Final = 1 << 30
HELD: Final = 6
"""Descriptors of evicted files held open at once."""
SLACK_BYTES: Final = 4 << 20
"""The index's write-ahead log and the directories, which the quota does not count."""


def _held_bytes(agent: Agent, held: list[Result]) -> int:
    """Blocks of files below the cache that are open and have no name, in the agent or here."""
    seen: dict[int, int] = {}
    for pid in (agent.pid, os.getpid()):
        for name in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{name}"
            try:
                target, status = os.readlink(path), os.stat(path)
            except FileNotFoundError:
                continue
            if target.startswith(str(agent.cache)) and status.st_nlink == 0:
                seen[status.st_ino] = status.st_blocks * 512
    del held
    return sum(seen.values())


class Sampler(threading.Thread):
    """Compares what is on disk with what may be, again and again."""

    def __init__(self, agent: Agent, held: list[Result]) -> None:
        super().__init__(daemon=True)
        self._agent = agent
        self._held = held
        self.over: list[int] = []
        self.samples = 0
        self.peak = 0
        self.done = threading.Event()

    def run(self) -> None:
        """The thread."""
        while not self.done.wait(0.05):
            on_disk = blocks_bytes(self._agent.cache)
            self.samples += 1
            self.peak = max(self.peak, on_disk)
            if on_disk > QUOTA_BYTES + SLACK_BYTES:
                self.over.append(on_disk)


def _flow(agent: Agent, nginx: Nginx, files: int, *plants: str) -> tuple[Sampler, int, list[Result]]:
    urls = [nginx.sparse(f"f{number}", FILE_BYTES, b"stamp %d" % number) for number in range(files)]
    agent.options = ["--cache-size", "1G"]
    agent.start(*plants)
    held: list[Result] = []
    sampler = Sampler(agent, held)
    sampler.start()
    used_over = 0
    try:
        with agent.wire() as wire:
            for number, url in enumerate(urls):
                result = wire.call("get", {"url": url})
                assert result.body["size"] == FILE_BYTES
                if number % (files // HELD) == 0:
                    held.append(result)
                else:
                    result.close()
                used = _used_bytes(agent.cache) - _held_bytes(agent, held)
                used_over = max(used_over, used - QUOTA_BYTES - SLACK_BYTES)
    finally:
        sampler.done.set()
        sampler.join()
    return sampler, used_over, held


def _used_bytes(path: Path) -> int:
    status = os.statvfs(path)
    return (status.f_blocks - status.f_bfree) * status.f_frsize - BASE[path]


BASE: dict[Path, int] = {}


def _on_own_disk(agent: Agent, images: Callable[..., Image]) -> None:
    image = images("ext4", 6 << 10)
    image.mount()
    agent.cache = image.point / "cache"
    agent.cache.mkdir()
    BASE[agent.cache] = 0
    BASE[agent.cache] = _used_bytes(agent.cache)


@pytest.mark.timeout(budget_s(60))
def test_blocks_stay_within_the_quota(agent: Agent, nginx: Nginx, images: Callable[..., Image]) -> None:
    _on_own_disk(agent, images)
    sampler, used_over, held = _flow(agent, nginx, FILES)
    assert sampler.samples > 20
    assert sampler.over == []
    assert used_over <= 0
    assert sampler.peak > QUOTA_BYTES // 2, "the cache never filled: the test shows nothing"
    for result in held:
        stamp = os.pread(result.fd, 6, 0)
        assert stamp == b"stamp "
        result.close()
    time.sleep(1.0)
    assert _held_bytes(agent, held) == 0
    assert _used_bytes(agent.cache) <= QUOTA_BYTES + SLACK_BYTES


@pytest.mark.timeout(budget_s(60))
def test_no_eviction_is_noticed(agent: Agent, nginx: Nginx, images: Callable[..., Image]) -> None:
    _on_own_disk(agent, images)
    sampler, used_over, held = _flow(agent, nginx, FILES // 4, "quota.no_eviction")
    for result in held:
        result.close()
    assert sampler.over and used_over > 0
