"""When a transfer counts as stalled."""

from __future__ import annotations

import pytest

from p2pstore.sources.stall import Stall, tick_s


def drive(stall: Stall, arrivals: dict[float, int], until_s: float, paused: bool = False) -> float | None:
    """When the stall is noticed, looking four times a second."""
    received, step = 0, 0.25
    stall.start(0.0, 0)
    for turn in range(1, int(until_s / step) + 1):
        now = turn * step
        received += arrivals.get(now, 0)
        if stall.stalled(now, received, paused):
            return now
    return None


def test_silence_is_noticed_after_the_timeout() -> None:
    assert drive(Stall(2.0, 1000), {}, 10.0) == 2.0
    assert drive(Stall(2.0, 0), {}, 10.0) == 2.0


def test_silence_after_bytes_is_noticed_after_the_last_good_window() -> None:
    assert drive(Stall(2.0, 1000), {1.0: 1 << 20}, 10.0) == 3.0


def test_a_drip_below_the_rate_is_a_stall() -> None:
    drip = {turn * 0.25: 100 for turn in range(100)}  # 400 bytes/s
    assert drive(Stall(2.0, 1000), drip, 20.0) == 2.0
    assert drive(Stall(2.0, 300), drip, 20.0) is None


def test_a_pause_of_ours_does_not_count() -> None:
    assert drive(Stall(2.0, 1000), {}, 10.0, paused=True) is None


@pytest.mark.parametrize(("timeouts", "wanted"), [((30.0, 30.0), 0.25), ((0.2, 30.0), 0.05)])
def test_looks_often_enough(timeouts: tuple[float, ...], wanted: float) -> None:
    assert tick_s(*timeouts) == pytest.approx(wanted)
