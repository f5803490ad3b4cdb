"""Every setting has a default that holds, bounds that are kept, a sentence, and one spelling everywhere."""

from __future__ import annotations

import math
from dataclasses import Field, fields, replace
from typing import Any

import pytest

from p2pstore import config
from p2pstore.config import TABLES, CacheConfig, Config, JobsConfig, OriginConfig, option_of, variable_of
from p2pstore.errors import BadConfig

SECTIONS: dict[str, Any] = {"": Config, **TABLES}
SETTINGS: list[tuple[str, Field[Any]]] = [
    (table, one)
    for table, section in SECTIONS.items()
    for one in fields(section)
    if not (table == "" and one.name in TABLES)
]
BOUNDED = [
    (table, one.name, bound, step)
    for table, one in SETTINGS
    for bound, step in ((one.metadata["low"], -1), (one.metadata["high"], 1))
    if bound is not None
]


def names(setting: tuple[str, Field[Any]]) -> str:
    return f"{setting[0]}.{setting[1].name}"


def test_the_defaults_stand() -> None:
    assert Config() == Config()
    assert Config().cache == CacheConfig()


def test_the_tables_are_the_tables() -> None:
    assert {name for name, _ in SETTINGS} == {"", *TABLES}
    assert all(type(getattr(Config(), name)) is section for name, section in TABLES.items())


@pytest.mark.parametrize("setting", SETTINGS, ids=names)
def test_every_setting_is_documented_in_a_sentence(setting: tuple[str, Field[Any]]) -> None:
    doc = setting[1].metadata["doc"]
    assert doc[0].isupper() or not doc[0].isalpha() or doc.startswith("debug")
    assert doc.endswith(".")


@pytest.mark.parametrize(("table", "name", "bound", "step"), BOUNDED)
def test_a_bound_is_allowed_and_one_beyond_it_is_not(table: str, name: str, bound: float, step: int) -> None:
    section = SECTIONS[table]
    if name in ("high_ratio", "low_ratio"):
        replace_with: dict[str, float] = {"high_ratio": 1.0, "low_ratio": 0.0, name: bound}
        if replace_with["low_ratio"] < replace_with["high_ratio"]:
            section(**replace_with)
    else:
        section(**{name: bound})
    beyond = bound + step if isinstance(bound, int) else math.nextafter(bound, step * math.inf)
    with pytest.raises(BadConfig, match=name) as caught:
        section(**{name: beyond})
    assert f"[{table or 'config'}]" in caught.value.message


def test_marks_that_cross_are_refused() -> None:
    with pytest.raises(BadConfig, match="low_ratio must be below"):
        CacheConfig(low_ratio=0.5, high_ratio=0.5)


def test_an_unknown_log_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadConfig, match="debug, info, warning or error"):
        Config(log_level="loud")


@pytest.mark.parametrize(
    ("table", "name", "option", "variable"),
    [
        ("", "socket", "--socket", "P2PSTORE_SOCKET"),
        ("", "idle_exit_s", "--idle-exit", "P2PSTORE_IDLE_EXIT"),
        ("cache", "dir", "--cache-dir", "P2PSTORE_CACHE_DIR"),
        ("cache", "size_bytes", "--cache-size", "P2PSTORE_CACHE_SIZE"),
        ("origin", "min_rate_bytes_per_s", "--origin-min-rate", "P2PSTORE_ORIGIN_MIN_RATE"),
        ("jobs", "wait_timeout_s", "--jobs-wait-timeout", "P2PSTORE_JOBS_WAIT_TIMEOUT"),
    ],
)
def test_options_and_variables_drop_the_unit(table: str, name: str, option: str, variable: str) -> None:
    assert option_of(table, name) == option
    assert variable_of(table, name) == variable


@pytest.mark.parametrize("spell", [option_of, variable_of])
def test_no_two_settings_share_a_spelling(spell: Any) -> None:
    spelled = [spell(table, one.name) for table, one in SETTINGS]
    assert len(set(spelled)) == len(spelled)


def test_a_section_can_not_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        Config().cache.size_bytes = 1  # type: ignore[misc]
    assert replace(OriginConfig(), streams=1).streams == 1
    assert config.KIB * config.KIB == config.MIB


def test_who_waits_is_bounded() -> None:
    jobs = JobsConfig()
    assert math.isfinite(jobs.wait_timeout_s)
    assert math.isfinite(jobs.max_waiting)
