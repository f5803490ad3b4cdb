"""A cached file is handed over without a byte of it being copied: strace watches the agent."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

import pytest

from tests.faults.agents import Agent
from tests.faults.ledger import content
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s

GETS: Final = 50
SIZE_BYTES: Final = 3_000_000
_MOVING: Final = "read,pread64,readv,preadv,preadv2,write,pwrite64,writev,pwritev,sendfile,splice,copy_file_range,mmap,sendmsg"
_LINE: Final = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")


def _watched(agent: Agent, url: str) -> list[str]:
    """The calls that moved bytes while a cached file was handed out again and again."""
    log = agent.directory / "strace"
    # -y names the file behind each descriptor.
    command = [
        "strace",
        "-f",
        "-y",
        "-s",
        "16",
        "-e",
        f"trace={_MOVING}",
        "-o",
        str(log),
        "-p",
        str(agent.pid),
    ]
    watcher = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert watcher.stderr is not None
    assert "attached" in watcher.stderr.readline()
    try:
        with agent.wire() as wire:
            for _ in range(GETS):
                result = wire.call("get", {"url": url})
                assert result.body["bytes"]["cache"] == SIZE_BYTES
                result.close()
        time.sleep(0.2)
    finally:
        watcher.send_signal(signal.SIGINT)
        watcher.wait(20)
        watcher.stderr.close()
    return log.read_text().splitlines()


def _copied(lines: list[str], cache: Path) -> tuple[list[str], int]:
    """Calls that touch a file of the cache, and the bytes that all the others moved."""
    # A descriptor that is passed on stands in a sendmsg too: there it moves nothing.
    touching = [line for line in lines if f"<{cache}/pub/" in line and "sendmsg(" not in line]
    moved = [int(match[3]) for line in lines if (match := _LINE.search(line)) and match[1] != "mmap"]
    return touching, sum(size for size in moved if size > 0)


def _prepared(agent: Agent, nginx: Nginx, *plants: str) -> str:
    nginx.file("cached", content("cached", SIZE_BYTES))
    url = nginx.url("fresh/cached")
    agent.start(*plants)
    with agent.wire() as wire:
        wire.call("get", {"url": url}).close()
    return url


@pytest.mark.timeout(budget_s(10))
def test_no_byte_is_copied(agent: Agent, nginx: Nginx) -> None:
    url = _prepared(agent, nginx)
    touching, moved = _copied(_watched(agent, url), agent.cache)
    assert touching == []
    # Requests, answers and wake-ups are all there is.
    assert moved < SIZE_BYTES // 10


@pytest.mark.timeout(budget_s(10))
def test_a_copy_is_noticed(agent: Agent, nginx: Nginx) -> None:
    url = _prepared(agent, nginx, "copying.reads_what_it_hands_out")
    touching, moved = _copied(_watched(agent, url), agent.cache)
    assert touching or moved >= SIZE_BYTES
