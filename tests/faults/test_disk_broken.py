"""A disk that turns read-only or fails: getting goes on by streaming, putting says no, a restart on a sound disk recovers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.agents import Agent
from tests.faults.disks import Image
from tests.faults.ledger import content
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s, trials
from tests.faults.wire import AgentSaidNo

NODE_ERRORS = {"cache_unusable", "no_space", "node_error"}


def read_only(image: Image) -> None:
    """As the kernel does when it meets a damaged block: everything written from now on gets EROFS."""
    loop = subprocess.run(
        ["findmnt", "-n", "-o", "SOURCE", str(image.point)], capture_output=True, text=True, check=True
    ).stdout.strip()
    Path(f"/sys/fs/ext4/{Path(loop).name}/trigger_fs_error").write_text("1")


def failing(image: Image) -> None:
    """Everything that touches the disk from now on gets EIO."""
    image.cut()


def _round(
    number: int, breaks: Callable[[Image], None], agent: Agent, nginx: Nginx, image: Image, *plants: str
) -> list[str]:
    found: list[str] = []
    agent.start(*plants)
    kept = content(f"kept-{number}", 40_000)
    with agent.wire() as wire:
        wire.put(f"kept-{number}", kept)
        breaks(image)
        for size in (700, 6 << 20):
            data = content(f"{number}-{size}", size)
            url = nginx.file(f"broken-{number}-{size}", data)
            out = agent.directory / "out"
            done = agent.command("get", url, "-o", str(out))
            if done.returncode != 0 or out.read_bytes() != data:
                found.append(f"round {number}: get of {size} bytes: exit {done.returncode} {done.stderr}")
            out.unlink(missing_ok=True)
        try:
            wire.put(f"lost-{number}", b"no disk")
            found.append(f"round {number}: a result was acknowledged without a disk")
        except AgentSaidNo as no:
            if no.code not in NODE_ERRORS:
                found.append(f"round {number}: put failed with {no}")
        if not wire.call("status").body["usage"]["degraded"]:
            found.append(f"round {number}: the agent does not say that it is degraded")
    agent.kill()
    image.unmount()
    image.repair()
    image.mount()
    agent.reboot()
    agent.start()
    with agent.wire() as wire:
        if wire.get(f"put:kept-{number}") != kept:
            found.append(f"round {number}: an acknowledged result is wrong")
        url = nginx.url(f"broken-{number}-700")
        if wire.get(url) != content(f"{number}-700", 700):
            found.append(f"round {number}: get on a sound disk is wrong")
    agent.kill()
    return found


@pytest.mark.timeout(budget_s(25))
@pytest.mark.parametrize("breaks", [read_only, failing])
def test_getting_goes_on(
    breaks: Callable[[Image], None], agent: Agent, nginx: Nginx, images: Callable[..., Image]
) -> None:
    image = images("ext4", 96)
    image.mount()
    agent.cache = image.point / "cache"
    found: list[str] = []
    for number in range(max(1, trials("disk broken") // 2)):
        found += _round(number, breaks, agent, nginx, image)
    assert found == []


@pytest.mark.timeout(budget_s(15))
def test_not_streaming_is_noticed(agent: Agent, nginx: Nginx, images: Callable[..., Image]) -> None:
    image = images("ext4", 96)
    image.mount()
    agent.cache = image.point / "cache"
    assert _round(0, failing, agent, nginx, image, "space.no_streaming")
