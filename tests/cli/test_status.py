"""`p2pstore status`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from p2pstore.cli import status
from p2pstore.cli.main import outcome
from tests.cli.conftest import ScriptedClient

STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "pid": 7,
    "uid": 0,
    "uptime_s": 3.0,
    "loads": 1,
    "connections": 2,
    "socket": "/s",
    "cache_dir": "/c",
    "usage": {
        "used_bytes": 1 << 30,
        "quota_bytes": 10 << 30,
        "entries": 5,
        "partial_bytes": 0,
        "degraded": "",
        "rebuilding": False,
    },
    "counters": {
        "hits": 9,
        "misses": 1,
        "joined": 3,
        "stale_served": 0,
        "loads": 1,
        "loads_failed": 0,
        "cache_bytes": 4 << 30,
        "origin_bytes": 1 << 30,
    },
}


def test_the_bytes_spared_come_first() -> None:
    lines = status.describe(STATUS)
    assert lines[0] == "spared    4.0 GiB not asked of origins again, 1.0 GiB fetched"
    assert "cache     1.0 GiB of 10.0 GiB, 5 entries" in lines
    assert "socket    /s" in lines
    assert not any("DEGRADED" in line for line in lines)


def test_what_unfinished_files_take_is_said() -> None:
    lines = status.describe(STATUS | {"usage": STATUS["usage"] | {"partial_bytes": 3 << 20}})
    assert "cache     1.0 GiB of 10.0 GiB, 5 entries, 3.0 MiB of it for unfinished files" in lines


def test_a_degraded_cache_is_said_loudly() -> None:
    lines = status.describe(STATUS | {"usage": STATUS["usage"] | {"degraded": "read-only"}})
    assert lines[-1].startswith("DEGRADED  read-only")


def test_scripts_get_everything(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["status"] = STATUS
    assert outcome(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == STATUS
