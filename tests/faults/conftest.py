"""Fixtures of the fault tests: real servers, real file systems, real processes. They need root and say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.agents import Agent, Zygote
from tests.faults.disks import Image
from tests.faults.nginx import Nginx

_PROGRAMS: Final = {
    "nginx": "nginx",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "strace": "strace",
    "setpriv": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Fail at once, with all that lacks, rather than in the middle."""
    lacking = []
    if os.geteuid() != 0:
        lacking.append("root (power cuts and real uids need it)")
    lacking += [
        f"{program} (package {package})"
        for program, package in _PROGRAMS.items()
        if not shutil.which(program)
    ]
    for device, what in (("/dev/loop-control", "loop devices"), ("/dev/fuse", "FUSE")):
        if not os.path.exists(device):
            lacking.append(f"{device} ({what})")
    if lacking:
        pytest.exit("the fault tests need: " + "; ".join(lacking), returncode=2)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """The process that forks agents."""
    process = Zygote()
    yield process
    process.close()


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Callable[..., Image]]:
    """Makes file systems; all are unmounted at the end."""
    made: list[Image] = []

    def make(fs: str, size_mib: int, inodes: int = 16384) -> Image:
        image = Image(tmp_path / f"disk{len(made)}", fs, size_mib, inodes)
        made.append(image)
        return image

    yield make
    for image in made:
        image.close()


@pytest.fixture
def agents(tmp_path: Path, zygote: Zygote, images: object) -> Iterator[Callable[..., Agent]]:
    """Makes agents, each in its own directory; all are killed at the end, by pid, before file systems go. `fresh=True` starts by exec, not fork."""
    del images
    made: list[Agent] = []

    def make(name: str = "agent", *, fresh: bool = False, cache: Path | None = None) -> Agent:
        agent = Agent(tmp_path / name, zygote=None if fresh else zygote, cache=cache)
        made.append(agent)
        return agent

    yield make
    for agent in made:
        agent.kill()


@pytest.fixture
def agent(agents: Callable[..., Agent]) -> Agent:
    """One agent, not started yet."""
    return agents()


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    """A running nginx."""
    server = Nginx(tmp_path / "nginx")
    yield server
    server.stop()
