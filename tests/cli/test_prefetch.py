"""`p2pstore prefetch`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2pstore.cli.main import outcome
from tests.cli.conftest import ScriptedClient

SHA = "sha256:" + "ab" * 32


def test_a_list_with_digests(
    client: ScriptedClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "urls").write_text(f"https://h/b {SHA}\nhttps://h/c\n")
    client.answers["prefetch"] = lambda urls, **_: {"accepted": len(urls), "cached": 0}
    assert outcome(["prefetch", "--refresh", "https://h/a", "-i", str(tmp_path / "urls")]) == 0
    asked = [(args[0], how["digest"], how["refresh"]) for _, args, how in client.asked]
    assert asked == [
        (["https://h/a"], None, True),
        (["https://h/b"], [SHA], True),
        (["https://h/c"], None, True),
    ]
    assert capsys.readouterr() == ("", "3 to come, 0 in the cache already\n")


def test_numbers_for_scripts(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["prefetch"] = {"accepted": 0, "cached": 1}
    assert outcome(["prefetch", "--json", "https://h/a"]) == 0
    assert json.loads(capsys.readouterr().out) == {"accepted": 0, "cached": 1}
