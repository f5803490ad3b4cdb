"""A download that is killed ten times: right bytes, and no piece that was logged is asked for again."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.faults.agents import Agent
from tests.faults.nginx import Nginx, Request
from tests.faults.partials import logged_ranges
from tests.faults.trials import budget_s, trials
from tests.faults.wire import Result

SIZE_BYTES: Final = 1 << 30
STREAMS: Final = 4
RATE_BYTES_PER_S: Final = 200 << 20
"""Slow enough that each kill finds the transfer where it is wanted."""
REQUEST_BYTES: Final = 8 << 20
SLACK_BYTES: Final = 8 << 20
"""What a server may have handed to the kernel for each connection that dies."""


@dataclass
class Life:
    """From one start of the agent to its kill: what was logged before, what was asked during."""

    logged: list[tuple[int, int]]
    requests: list[Request]


def asked_again(lives: Iterable[Life], size_bytes: int) -> list[str]:
    """Ranges asked for although pieces in them were in the log when the agent started."""
    found = []
    for number, life in enumerate(lives):
        for request in life.requests:
            start, stop = request.range or (0, size_bytes)
            for first, end in life.logged:
                if start < end and first < stop:
                    found.append(f"life {number} asked for {start}-{stop} with {first}-{end} in the log")
    return found


def _large_file(path: Path, size_bytes: int) -> str:
    block = bytearray(random.Random(2).randbytes(16 << 20))
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for number in range(size_bytes // len(block)):
            block[:8] = number.to_bytes(8, "big")
            file.write(block)
            digest.update(block)
    then = time.time() - 86400
    os.utime(path, (then, then))
    return digest.hexdigest()


def _get_until(agent: Agent, url: str, stop_bytes: int) -> None:
    """Ask, and return once that many bytes came; the request goes on until the agent dies."""
    enough = threading.Event()

    def watch(event: dict[str, object]) -> None:
        came = event.get("bytes")
        if isinstance(came, int) and came >= stop_bytes:
            enough.set()

    def ask() -> None:
        try:
            with agent.wire() as wire:
                wire.call(
                    "get", {"url": url, "progress": True, "limit_rate": RATE_BYTES_PER_S}, on_event=watch
                ).close()
        except ConnectionError:
            pass
        finally:
            enough.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    if not enough.wait(60):
        raise AssertionError(f"no {stop_bytes} bytes within a minute")
    agent.kill()
    asking.join(10)


def _killed_download(
    agent: Agent, nginx: Nginx, size_bytes: int, kills: int, *plants: str
) -> tuple[list[Life], str, Result]:
    sha256 = _large_file(nginx.www / "large", size_bytes)
    url = nginx.url("large")
    agent.settings = {
        "JOBS_PROGRESS_INTERVAL": "0.01s",
        "ORIGIN_STREAMS": str(STREAMS),
        "ORIGIN_REQUEST": "8M",
    }
    lives: list[Life] = []
    logged: list[tuple[int, int]] = []
    before = 0
    for kill in range(kills):
        agent.start(*plants)
        _get_until(agent, url, size_bytes * (kill + 1) // (kills + 1))
        requests = nginx.settle()
        lives.append(Life(logged, requests[before:]))
        before = len(requests)
        logged = logged_ranges(agent.cache)
    agent.start(*plants)
    with agent.wire() as wire:
        done = wire.call("get", {"url": url})
    requests = nginx.settle()
    lives.append(Life(logged, requests[before:]))
    return lives, sha256, done


def _sha256(result: Result) -> str:
    with os.fdopen(result.fd, "rb") as file:
        result.fd = -1
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.timeout(budget_s(40))
def test_only_missing_pieces_are_asked_for(agent: Agent, nginx: Nginx) -> None:
    kills = trials("kills of one download")
    lives, sha256, done = _killed_download(agent, nginx, SIZE_BYTES, kills)
    assert done.body["size"] == SIZE_BYTES
    assert _sha256(done) == sha256
    assert asked_again(lives, SIZE_BYTES) == []
    assert all(life.logged for life in lives[1:]), "a kill found nothing in the log: the test shows nothing"
    sent = sum(request.sent_bytes for life in lives for request in life.requests)
    assert sent <= SIZE_BYTES + kills * STREAMS * (REQUEST_BYTES + SLACK_BYTES)


@pytest.mark.timeout(budget_s(20))
def test_forgetting_the_log_is_noticed(agent: Agent, nginx: Nginx) -> None:
    size = SIZE_BYTES // 4
    lives, _, done = _killed_download(agent, nginx, size, 2, "resuming.forget_the_log")
    done.close()
    assert asked_again(lives, size)


def test_the_check_sees_a_single_repeated_piece() -> None:
    request = Request("GET", "/large", (4096, 8192), "", 206, 4096, 4096)
    assert asked_again([Life([(0, 4096)], [request])], 1 << 20) == []
    assert len(asked_again([Life([(0, 4097)], [request])], 1 << 20)) == 1
    assert len(asked_again([Life([(8191, 9000)], [request])], 1 << 20)) == 1
