"""Agents that are taken apart after each test, and must leave nothing open."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.agent.rig import Rig, config_of

Making = Callable[..., Awaitable[Rig]]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What must be on the disk when is for the tests of the storage."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)


@pytest.fixture(scope="session")
def folders() -> list[Path]:
    """Caches without a file in them: their thousand folders take longer to make than most tests take."""
    return []


@pytest.fixture(scope="session")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Certificates that are read faster than the system's; nobody presents one of them."""
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
async def make_rig(
    tmp_path_factory: pytest.TempPathFactory, folders: list[Path], ca_file: str, tmp_path: Path
) -> AsyncIterator[Making]:
    """Makes agents: `await make_rig(origin={"streams": 1})`, or `rig=` one to be started."""
    rigs: list[Rig] = []

    async def make(*, rig: Rig | None = None, **tables: dict[str, Any]) -> Rig:
        if rig is None:
            directory = folders.pop() if folders else tmp_path_factory.mktemp("cache") / "cache"
            tables["origin"] = {"ca_file": ca_file, **tables.get("origin", {})}
            rig = Rig(directory, config_of(**tables))
        rigs.append(await rig.start())
        return rig

    yield make
    for rig in rigs:
        await rig.aclose()
    assert [target for rig in rigs for target in _open_below(rig.directory)] == []
    for rig in rigs:
        if tmp_path not in rig.directory.parents:
            _empty(rig.directory)
            folders.append(rig.directory)


@pytest.fixture
async def rig(make_rig: Making) -> Rig:
    """An agent with the usual settings."""
    return await make_rig()


def _open_below(directory: Path) -> list[str]:
    targets = []
    for name in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue  # the listing's own
    return [target for target in targets if target.startswith((str(directory), "/memfd:p2pstore"))]


def _empty(directory: Path) -> None:
    for path, _, files in os.walk(directory):
        for name in files:
            os.unlink(os.path.join(path, name))
    for unfinished in (directory / "part").iterdir():
        shutil.rmtree(unfinished)
