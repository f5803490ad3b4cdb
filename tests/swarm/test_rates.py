"""The upload rate: measured while busy, and lowered only by what says something."""

from __future__ import annotations

import pytest

from p2pstore.swarm.rates import WINDOW_S, UploadRate


def fill(rate: UploadRate, bytes_per_s: float, windows: int, *, full: bool, start: float = 0.0) -> float:
    rate.begin(start)
    for number in range(1, windows + 1):
        rate.sent(int(bytes_per_s * WINDOW_S), start + number * WINDOW_S * 1.0001, full=full)
    return start + windows * WINDOW_S * 1.0001


def test_it_is_unknown_until_a_window_is_over() -> None:
    rate = UploadRate()
    rate.begin(0.0)
    rate.sent(1000, WINDOW_S / 2, full=True)
    assert rate.bytes_per_s == 0.0
    rate.sent(1000, WINDOW_S, full=True)
    assert rate.bytes_per_s == pytest.approx(2000 / WINDOW_S)


def test_it_follows_a_rise_and_a_fall_of_the_full_node() -> None:
    rate = UploadRate()
    now = fill(rate, 1e6, 1, full=True)
    now = fill(rate, 1e7, 20, full=True, start=now)
    assert rate.bytes_per_s == pytest.approx(1e7, rel=0.01)
    fill(rate, 1e6, 40, full=True, start=now)
    assert rate.bytes_per_s == pytest.approx(1e6, rel=0.1)


def test_a_slow_peer_alone_does_not_lower_it() -> None:
    rate = UploadRate()
    now = fill(rate, 1e7, 1, full=True)
    fill(rate, 1e3, 50, full=False, start=now)
    assert rate.bytes_per_s == pytest.approx(1e7, rel=0.01)


def test_idle_time_does_not_count() -> None:
    rate = UploadRate()
    fill(rate, 1e6, 1, full=True)
    rate.begin(1000.0)
    rate.sent(int(1e6 * WINDOW_S), 1000.0 + WINDOW_S * 1.0001, full=True)
    assert rate.bytes_per_s == pytest.approx(1e6, rel=0.01)


def test_the_cap_bounds_it_and_may_change() -> None:
    rate = UploadRate(cap=5e5)
    assert rate.bytes_per_s == 0.0
    fill(rate, 1e6, 1, full=True)
    assert rate.bytes_per_s == 5e5
    rate.cap = 0.0
    assert rate.bytes_per_s == pytest.approx(1e6, rel=0.01)
