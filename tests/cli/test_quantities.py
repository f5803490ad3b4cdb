"""Sizes and durations, read and shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.cli.quantities import (
    parse_duration,
    parse_size,
    parse_wait,
    show_rate,
    show_seconds,
    show_size,
    write_duration,
    write_size,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("17B", None),
        ("1k", 1024),
        ("10G", 10 << 30),
        ("10 GiB", 10 << 30),
        ("300MB", 300_000_000),
        ("1.5T", 3 << 39),
        ("50M/s", 50 << 20),
        ("-1", None),
        ("ten", None),
        ("10X", None),
        ("", None),
        ("1iB", None),
    ],
)
def test_sizes_are_read(text: str, size_bytes: int | None) -> None:
    if text == "17B":
        assert parse_size(text) == 17
    elif size_bytes is None:
        with pytest.raises(ValueError, match="not a size"):
            parse_size(text)
    else:
        assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45", 45.0),
        ("30s", 30.0),
        ("500ms", 0.5),
        ("1h30m", 5400.0),
        ("2d", 172800.0),
        ("1 min", 60.0),
        ("1w", 604800.0),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3s", "5 parsecs", "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (4 << 30, "4.0 GiB"),
        (310 << 20, "310 MiB"),
        (1 << 60, "1024 PiB"),
    ],
)
def test_sizes_are_shown(size_bytes: int, text: str) -> None:
    assert show_size(size_bytes) == text


def test_rates_are_shown_even_for_no_time_at_all() -> None:
    assert show_rate(620 << 20, 2.0) == "310 MiB/s"
    assert show_rate(1 << 20, 0.0).endswith("/s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0004, "0.4 ms"),
        (0.25, "0.25 s"),
        (9.999, "10.0 s"),
        (13.0, "13.0 s"),
        (133, "2 min 13 s"),
        (18120, "5 h 02 min"),
        (273600, "3 d 04 h"),
    ],
)
def test_seconds_are_shown(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text


@given(st.integers(min_value=0, max_value=1 << 60))
def test_a_shown_size_reads_as_nearly_the_same(size_bytes: int) -> None:
    assert parse_size(show_size(size_bytes)) == pytest.approx(size_bytes, rel=0.06, abs=1)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0"), (1000, "1000"), (1 << 28, "256M"), (10 << 30, "10G"), (1 << 60, "1024P")],
)
def test_sizes_are_written(size_bytes: int, text: str) -> None:
    assert write_size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0"), (0.2, "200ms"), (30, "30s"), (90.5, "90.5s"), (300, "5m"), (86400, "1d"), (604800, "1w")],
)
def test_durations_are_written(seconds: float, text: str) -> None:
    assert write_duration(seconds) == text


@given(st.integers(min_value=0, max_value=1 << 60))
def test_a_written_size_is_read_as_it_was(size_bytes: int) -> None:
    assert parse_size(write_size(size_bytes)) == size_bytes


@given(st.integers(min_value=0, max_value=10**10))
def test_a_written_duration_is_read_as_it_was(milliseconds: int) -> None:
    assert parse_duration(write_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, rel=1e-9)


def test_nobody_waits_for_no_time_at_all() -> None:
    assert parse_wait("1ms") == 0.001
    with pytest.raises(ValueError, match="leave the option out"):
        parse_wait("0")
