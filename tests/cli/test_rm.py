"""`p2pstore rm`."""

from __future__ import annotations

import json

import pytest

from p2pstore.cli.main import outcome
from p2pstore.errors import NotFound
from tests.cli.conftest import ScriptedClient


def test_urls_and_a_prefix(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["rm"] = {"removed": 2, "bytes": 4096}
    assert outcome(["rm", "https://h/x", "--prefix", "https://h/old/", "--versions"]) == 0
    assert client.asked == [
        ("rm", (), {"url": "https://h/x"}),
        ("rm", (), {"prefix": "https://h/old/", "versions": True}),
    ]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "https://h/x  2 removed, 4.0 KiB"


def test_what_is_not_there_is_told(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["rm"] = lambda url: NotFound("no") if url.endswith("y") else {"removed": 1, "bytes": 1}
    assert outcome(["rm", "--json", "https://h/x", "https://h/y"]) == 9
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == {"url": "https://h/x", "removed": 1, "bytes": 1}
    assert second["error"]["code"] == "not_found"


def test_nothing_is_never_everything(client: ScriptedClient) -> None:
    assert outcome(["rm"]) == 2
    assert client.asked == []
