"""`p2pstore ls`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from p2pstore.cli import ls
from p2pstore.cli.main import outcome
from tests.cli.conftest import ScriptedClient

ENTRY: dict[str, Any] = {
    "url": "https://h/x",
    "ver": "v1",
    "size": 4 << 30,
    "stored_at": 1000.0,
    "private": False,
    "current": True,
}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "   4.0 GiB    2 min 00 s ago  -  https://h/x"),
        ({"private": True, "current": False}, "   4.0 GiB    2 min 00 s ago  p  https://h/x  (version v1)"),
    ],
)
def test_a_row(changes: dict[str, Any], line: str) -> None:
    assert ls.row(ENTRY | changes, 1120.0) == line


def test_a_list_for_people(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["ls"] = [ENTRY, ENTRY | {"url": "https://h/y"}]
    assert outcome(["ls", "-s", "size", "-r", "-n", "5", "https://h/"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[-1] for line in out.splitlines()] == ["https://h/x", "https://h/y"]
    assert err == "2 entries, 8.0 GiB\n"
    how = {"sort": "size", "descending": True, "limit": 5, "versions": False}
    assert client.asked == [("ls", ("https://h/",), how)]


def test_a_list_for_scripts(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["ls"] = [ENTRY]
    assert outcome(["ls", "--json"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert json.loads(first) == ENTRY
    assert json.loads(last) == {"summary": {"entries": 1, "size": 4 << 30}}
