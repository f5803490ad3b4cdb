"""`p2pstore put`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2pstore.cli.main import outcome
from p2pstore.errors import NameTaken
from tests.cli.conftest import ScriptedClient

STORED = {"name": "run7.h5", "key": "k", "ver": "v", "root": "r", "size": 2048, "durable": 1, "seconds": 0.5}


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "run7.h5").write_bytes(b"x" * 2048)
    return str(tmp_path / "run7.h5")


def test_the_name_is_told_where_scripts_look(
    client: ScriptedClient, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client.answers["put"] = STORED
    assert outcome(["put", file]) == 0
    out, err = capsys.readouterr()
    assert out == "put:run7.h5\n"
    assert err == "put:run7.h5  2.0 KiB  stored  4.0 KiB/s  0.50 s\n"
    assert client.asked == [("put", ("run7.h5", file), {"replace": False})]


@pytest.mark.parametrize("name", ["results/run7.h5", "put:results/run7.h5"])
def test_a_name_of_ones_choice(
    client: ScriptedClient, file: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client.answers["put"] = STORED | {"name": "results/run7.h5"}
    assert outcome(["put", "--replace", "--json", file, name]) == 0
    assert client.asked == [("put", ("results/run7.h5", file), {"replace": True})]
    assert json.loads(capsys.readouterr().out)["url"] == "put:results/run7.h5"


def test_a_name_that_is_taken(client: ScriptedClient, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["put"] = NameTaken("put:run7.h5 is there", hint="use --replace")
    assert outcome(["put", file]) == 2
    assert capsys.readouterr() == ("", "p2pstore: put:run7.h5 is there (use --replace)\n")
