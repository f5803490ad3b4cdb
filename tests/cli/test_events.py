"""`p2pstore events`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from p2pstore.cli import events
from p2pstore.cli.main import outcome
from tests.cli.conftest import ScriptedClient

READY: dict[str, Any] = {
    "event": "ready",
    "url": "https://h/x",
    "key": "k",
    "at": 0.0,
    "size": 4 << 30,
    "root": "r",
}


def test_people_get_lines() -> None:
    line = events.line_of(READY)
    assert line[8:] == "  ready         https://h/x  size 4.0 GiB  root r"
    failed = {
        "event": "failed",
        "url": "u",
        "at": 0.0,
        "error": {"code": "not_found", "message": "404"},
        "x": None,
    }
    assert events.line_of(failed)[8:] == "  failed        u  error 404"


def test_scripts_get_objects_until_they_have_enough(
    client: ScriptedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.answers["events"] = iter([READY, READY, READY])
    assert outcome(["events", "--json", "-k", "ready", "-n", "2"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [READY, READY]
    assert client.asked == [("events", (("ready",),), {})]
