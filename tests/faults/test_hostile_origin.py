"""Origins that lie, stall and never end: a typed error in time, bounded memory, nothing wrong handed out or kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from tests.faults.agents import Agent
from tests.faults.hostile import BEHAVIOURS, HostileOrigin
from tests.faults.ledger import content
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s, trials
from tests.faults.wire import AgentSaidNo

MORE_RSS_BYTES: Final = 96 << 20
AT_ONCE: Final = 8


@pytest.fixture
def hostile() -> Iterator[HostileOrigin]:
    server = HostileOrigin()
    yield server
    server.close()


def _ready(agent: Agent, *plants: str) -> None:
    agent.settings = {
        # Redirects lead to loopback here, where otherwise none may.
        "ORIGIN_ALLOW": "127.0.0.0/8",
        "ORIGIN_HEADER_TIMEOUT": "2s",
        "ORIGIN_STALL_TIMEOUT": "2s",
        "ORIGIN_CONNECT_TIMEOUT": "2s",
        "ORIGIN_RETRIES": "1",
        "ORIGIN_RETRY_WAIT": "0.05s",
        "ORIGIN_RETRY_AFTER_MAX": "2s",
        "ORIGIN_MAX_OBJECT": "64M",
        "ORIGIN_REQUEST": "1M",
    }
    agent.start(*plants)


def _violations(
    name: str, serial: int, agent: Agent, hostile: HostileOrigin, *, deadline_s: float = 25.0
) -> list[str]:
    behaviour = BEHAVIOURS[name]
    url = hostile.url(name, serial)
    begin = time.monotonic()
    found = []
    with agent.wire(timeout_s=60) as wire:
        try:
            data = wire.get(url, deadline_s=deadline_s)
            if data not in behaviour.bodies:
                found.append(f"{name}: handed out {len(data)} bytes that it should not have")
        except AgentSaidNo as no:
            if no.code not in behaviour.allowed:
                found.append(f"{name}: ended with {no}")
        took = time.monotonic() - begin
        if took > behaviour.within_s:
            found.append(f"{name}: took {took:.1f} s")
        try:
            kept = wire.get(url, offline=True)
            if kept not in behaviour.bodies:
                found.append(f"{name}: kept {len(kept)} bytes that it should not have")
        except AgentSaidNo as no:
            if no.code not in {"not_cached", "not_found"}:
                found.append(f"{name}: the kept copy: {no}")
    return found


@pytest.mark.timeout(budget_s(90))
def test_each_behaviour_has_its_bounds(agent: Agent, hostile: HostileOrigin, nginx: Nginx) -> None:
    _ready(agent)
    good = nginx.file("good", content("good", 2_000_000))
    with agent.wire() as wire:
        assert wire.get(good) == content("good", 2_000_000)
    before = agent.rss_bytes()
    found: list[str] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [
            pool.submit(_violations, name, serial, agent, hostile)
            for serial in range(trials("hostile origins"))
            for name in BEHAVIOURS
        ]
        for job in jobs:
            found += job.result()
    assert found == []
    grown = agent.rss_bytes("VmHWM") - before
    assert grown < MORE_RSS_BYTES, f"grew by {grown >> 20} MiB"
    with agent.wire() as wire:
        assert wire.get(good, refresh=True) == content("good", 2_000_000)
        assert wire.call("status").body["usage"]["partial_bytes"] <= 64 << 20


@pytest.mark.timeout(budget_s(30))
@pytest.mark.parametrize(
    ("plant", "name"),
    [
        ("origins.no_size_limit", "endless_without_length"),
        ("origins.digests_agree", "lying_digest"),
        ("versions.no_guard", "new_version_ignoring_if_range"),
        ("origins.no_stall_timer", "dribbled_body"),
    ],
)
def test_a_missing_defence_is_noticed(plant: str, name: str, agent: Agent, hostile: HostileOrigin) -> None:
    _ready(agent, plant)
    assert _violations(name, 0, agent, hostile, deadline_s=8.0)
