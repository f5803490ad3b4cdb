"""`p2pstore config`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from p2pstore.cli.main import outcome
from p2pstore.cli.settings import SETTINGS, load


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "c.toml").write_text('[cache]\nsize_bytes = "10G"\n[origin]\nallow = ["10.0.0.0/8"]\n')
    return str(tmp_path / "c.toml")


def test_every_setting_with_its_source(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("P2PSTORE_ORIGIN_STREAMS", "8")
    assert outcome(["--config", file, "--socket", "/s", "config", "--json"]) == 0
    found = {one["field"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert len(found) == len(SETTINGS)
    assert found["cache.size_bytes"] == {
        "field": "cache.size_bytes",
        "value": 10 << 30,
        "from": file,
        "option": "--cache-size",
        "variable": "P2PSTORE_CACHE_SIZE",
    }
    assert (found["origin.streams"]["value"], found["origin.streams"]["from"]) == (
        8,
        "P2PSTORE_ORIGIN_STREAMS",
    )
    assert (found["socket"]["value"], found["socket"]["from"]) == ("/s", "--socket")
    assert found["origin.allow"]["value"] == ["10.0.0.0/8"]
    assert found["cache.high_ratio"]["from"] == "default"


def test_only_what_changed(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["--config", file, "config", "--changed"]) == 0
    out, err = capsys.readouterr()
    assert [line.split("  #")[0].rstrip() for line in out.splitlines()] == [
        '[cache] size_bytes = "10G"',
        '[origin] allow = ["10.0.0.0/8"]',
    ]
    assert err == f"file: {file}\n"


def test_what_is_shown_can_be_written_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["--config", "/dev/null", "config"]) == 0
    tables: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        place, _, rest = line.partition(" = ")
        table, _, name = place.rpartition(" ")
        tables.setdefault(table, []).append(f"{name} = {rest.partition('  #')[0]}")
    text = "\n".join("\n".join([table, *lines]) for table, lines in tables.items())
    assert tomllib.loads(text)
    (tmp_path / "all.toml").write_text(text)
    assert load(str(tmp_path / "all.toml"), environ={}).config == load("/dev/null", environ={}).config


def test_variables_that_mean_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("P2PSTORE_CACHE_DRI", "/x")
    assert outcome(["--config", "/dev/null", "config"]) == 0
    assert "did you mean P2PSTORE_CACHE_DIR?" in capsys.readouterr().err
