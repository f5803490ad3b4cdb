"""`p2pstore stat`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from p2pstore.cli import stat
from p2pstore.cli.main import outcome
from p2pstore.errors import BadUrl
from tests.cli.conftest import ScriptedClient

FOUND: dict[str, Any] = {
    "url": "https://h/x",
    "cached": True,
    "complete": True,
    "loading": None,
    "size": 4 << 30,
    "fresh": True,
    "stale": False,
    "age_s": 10.0,
    "lifetime_s": 70.0,
    "stored_at": 1000.0,
    "ver": "v" * 32,
    "root": "r" * 64,
    "digests": {"sha256": "ab" * 32},
    "verified": "digest",
    "private": True,
    "versions": ["v" * 32, "w" * 32],
    "why": "fresh",
}


def test_people_get_lines() -> None:
    assert stat.describe("https://h/x", FOUND, 1065.0) == [
        "https://h/x",
        "  size       4.0 GiB (4294967296 bytes)",
        "  state      fresh for 60.0 s",
        "  stored     65.0 s ago",
        f"  version    {'v' * 32}",
        f"  object     {'r' * 64}",
        f"  sha256     {'ab' * 32}",
        "  verified   by digest, private",
        f"  also here  {'w' * 32}",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"fresh": False, "age_s": 80.0}, "  state      to be revalidated since 10.0 s"),
        ({"lifetime_s": None}, "  state      fresh"),
        ({"loading": {"bytes": 1 << 20, "total": 4 << 20}}, "  coming     1.0 MiB of 4.0 MiB"),
        ({"cached": False}, "  not in the cache"),
        ({"cached": False, "loading": {"bytes": 1 << 20, "total": None}}, "  coming     1.0 MiB"),
    ],
)
def test_every_state_has_its_words(changes: dict[str, Any], line: str) -> None:
    assert line in stat.describe("https://h/x", FOUND | changes, 1065.0)


def test_scripts_get_everything(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["stat"] = FOUND
    assert outcome(["stat", "--json", "--ver", "v" * 32, "--ignore-query", "s", "https://h/x?s=1"]) == 0
    assert json.loads(capsys.readouterr().out) == FOUND | {"url": "https://h/x?s=1"}
    assert client.asked == [("stat", ("https://h/x?s=1",), {"ver": "v" * 32, "ignore_query": ("s",)})]


def test_what_is_not_there_is_3(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["stat"] = {"cached": False, "loading": None}
    assert outcome(["stat", "https://h/x"]) == 3
    assert "not in the cache" in capsys.readouterr().out


def test_one_of_several_that_can_not_be_read(
    client: ScriptedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.answers["stat"] = lambda url, **_: BadUrl("no") if url == "x:" else FOUND
    assert outcome(["stat", "--json", "x:", "https://h/x"]) == 9
    assert json.loads(capsys.readouterr().out.splitlines()[0])["error"]["code"] == "bad_url"
