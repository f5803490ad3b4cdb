"""`p2pstore wait`."""

from __future__ import annotations

import json

import pytest

from p2pstore.cli.main import outcome
from p2pstore.errors import DeadlineExceeded
from tests.cli.conftest import ScriptedClient

OUTCOMES = [
    {"url": "https://h/a", "ok": True, "error": None},
    {
        "url": "https://h/b",
        "ok": False,
        "error": DeadlineExceeded("https://h/b: not there yet", hint="wait again"),
    },
]


def test_each_has_its_own_outcome(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["wait"] = OUTCOMES
    assert outcome(["wait", "-m", "10m", "https://h/a", "https://h/b"]) == 9
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "https://h/a  ready\np2pstore: https://h/b: not there yet (wait again)\n"
    assert client.asked[0][1] == (["https://h/a", "https://h/b"],)
    assert client.asked[0][2]["timeout_s"] == 600.0


def test_for_scripts(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["wait"] = OUTCOMES[1:]
    assert outcome(["wait", "-q", "--json", "https://h/b"]) == 6
    first, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["url"], first["ok"], first["error"]["code"]) == ("https://h/b", False, "deadline")
    assert last == {"summary": {"ok": 0, "failed": 1}}
