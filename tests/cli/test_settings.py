"""Options over environment over file over defaults, and messages that help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from p2pstore.cli.settings import SETTINGS, Effective, Setting, load
from p2pstore.config import GIB, MIB
from p2pstore.errors import BadConfig


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def the(place: str) -> Setting:
    return next(one for one in SETTINGS if f"{one.table}.{one.name}".lstrip(".") == place)


def test_with_nothing_said_every_value_is_a_default() -> None:
    effective = load(environ={"HOME": "/nowhere"})
    assert set(effective.came_from.values()) == {"default"}
    assert effective.file == ""
    assert effective.config.cache.high_ratio == 0.95


def test_option_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", '[cache]\nsize_bytes = "1G"\ndir = "/from/file"\nhigh_ratio = 0.9\n')
    effective = load(
        file,
        {("cache", "size_bytes"): "3G"},
        {"P2PSTORE_CACHE_SIZE": "2G", "P2PSTORE_CACHE_DIR": "/from/environment"},
    )
    assert effective.config.cache.size_bytes == 3 * GIB
    assert effective.config.cache.dir == "/from/environment"
    assert effective.config.cache.high_ratio == 0.9
    assert effective.config.cache.low_ratio == 0.85
    came_from = effective.came_from
    assert came_from["cache", "size_bytes"] == "--cache-size"
    assert came_from["cache", "dir"] == "P2PSTORE_CACHE_DIR"
    assert came_from["cache", "high_ratio"] == file
    assert came_from["cache", "low_ratio"] == "default"


def test_the_file_takes_units_and_plain_numbers_and_lists(tmp_path: Path) -> None:
    text = """
idle_exit_s = "1h30m"
log_level = "debug"
[cache]
size_bytes = 4096
allow_network_fs = true
[origin]
limit_rate_bytes_per_s = "50M"
stall_timeout_s = 5
allow = ["10.0.0.0/8", "data.example.org"]
deny = "192.0.2.1, 192.0.2.2"
"""
    config = load(write(tmp_path / "c.toml", text), environ={}).config
    assert config.idle_exit_s == 5400.0
    assert config.log_level == "debug"
    assert config.cache.size_bytes == 4096
    assert config.cache.allow_network_fs is True
    assert config.origin.limit_rate_bytes_per_s == 50 * MIB
    assert config.origin.stall_timeout_s == 5.0
    assert config.origin.allow == ("10.0.0.0/8", "data.example.org")
    assert config.origin.deny == ("192.0.2.1", "192.0.2.2")


def test_the_variable_that_names_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", "max_runtime_s = 7")
    effective = load(environ={"P2PSTORE_CONFIG": file})
    assert (effective.config.max_runtime_s, effective.file) == (7.0, file)
    assert effective.warnings == ()


def test_the_usual_file_is_read_when_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert load(environ={"XDG_CONFIG_HOME": str(tmp_path)}).file == ""
    (tmp_path / "p2pstore").mkdir()
    file = write(tmp_path / "p2pstore" / "config.toml", "[origin]\nstreams = 2")
    effective = load(environ={"XDG_CONFIG_HOME": str(tmp_path)})
    assert (effective.file, effective.config.origin.streams) == (file, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cache]\nsize_byte = 1", "did you mean [cache] size_bytes?"),
        ("[cahce]\nsize_bytes = 1", "did you mean [cache]?"),
        ("size_bytes = 1", "did you mean [cache] size_bytes?"),
        ("[cache]\nsocket = 'x'", "did you mean socket?"),
        ("wholly_unlike = 1", "p2pstore config lists all fields"),
        ("[cache]\nsize_bytes = 'much'", "not a size"),
        ("[cache]\nsize_bytes = 1.5", "size_bytes"),
        ("[cache]\nallow_network_fs = 'perhaps'", "allow_network_fs"),
        ("[origin]\nstreams = 1000", "between 1 and 64"),
        ("[origin]\nstall_timeout_s = 'soon'", "not a duration"),
        ("[cache]\nlow_ratio = 0.99", "low_ratio must be below"),
        ("cache = 3", "write [cache] above its fields"),
        ("log_level = 'loud'", "debug, info, warning or error"),
        ("= 3", "c.toml"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadConfig) as wrong:
        load(write(tmp_path / "c.toml", text), environ={})
    assert message in str(wrong.value)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="no configuration file"):
        load(str(tmp_path / "none.toml"), environ={})
    with pytest.raises(BadConfig, match="no configuration file"):
        load(environ={"P2PSTORE_CONFIG": str(tmp_path / "none.toml")})


def test_a_variable_that_means_nothing_is_said_with_the_nearest() -> None:
    warnings = load(environ={"HOME": "/nowhere", "P2PSTORE_CACHE_SIZES": "1G"}).warnings
    assert warnings == ("P2PSTORE_CACHE_SIZES means nothing here; did you mean P2PSTORE_CACHE_SIZE?",)


@pytest.mark.parametrize(
    ("place", "text", "value"),
    [
        ("cache.allow_network_fs", "true", True),
        ("cache.allow_network_fs", "0", False),
        ("cache.high_ratio", "0.5", 0.5),
        ("origin.streams", "8", 8),
        ("origin.allow", "", ()),
        ("jobs.admin_groups", "a, b", ("a", "b")),
        ("cache.partial_age_s", "2d", 172800.0),
        ("socket", "/run/x", "/run/x"),
    ],
)
def test_text_becomes_a_value(place: str, text: str, value: Any) -> None:
    assert the(place).from_text(text) == value


@pytest.mark.parametrize(
    ("place", "text"),
    [("origin.streams", "many"), ("cache.allow_network_fs", "2"), ("cache.high_ratio", "x")],
)
def test_text_that_can_not_be_a_value_is_refused(place: str, text: str) -> None:
    with pytest.raises(BadConfig):
        the(place).from_text(text)


def test_options_and_variables_are_distinct() -> None:
    assert len({one.option for one in SETTINGS}) == len(SETTINGS) == len({one.variable for one in SETTINGS})


def test_values_are_found_by_setting() -> None:
    effective: Effective = load(
        options={("cache", "dir"): "/x", ("cache", "allow_network_fs"): True}, environ={"HOME": "/"}
    )
    assert effective.value(the("cache.dir")) == "/x"
    assert effective.value(the("cache.allow_network_fs")) is True
    assert effective.value(the("log_level")) == "info"
