"""Agents that are taken apart after each test, and must leave nothing open."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agent.rig import Rig, config_of

Making = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def make_rig(tmp_path: Path) -> AsyncIterator[Making]:
    """Makes agents: `await make_rig(origin={"streams": 1})`, or `rig=` one to be started."""
    rigs: list[Rig] = []

    async def make(*, rig: Rig | None = None, **tables: dict[str, Any]) -> Rig:
        made = rig or Rig(tmp_path / f"cache{len(rigs)}", config_of(**tables))
        rigs.append(await made.start())
        return made

    yield make
    for rig in rigs:
        await rig.aclose()
    assert _open_below(tmp_path) == []


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
