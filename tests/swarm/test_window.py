"""The window: steps that pay are kept, complaints halve it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pstore.swarm.window import (
    HOLD_PERIODS,
    MAX_LEASES,
    MAX_PAUSE_S,
    PERIOD_S,
    START_LEASES,
    STEP_LEASES,
    Window,
)


def periods(window: Window, rates: list[int], now: float = 0.0, full: bool = True) -> float:
    window.brought(0, full, now)
    for rate in rates:
        now += PERIOD_S
        window.brought(int(rate * PERIOD_S), full, now)
    return now


def test_it_grows_while_that_brings_more() -> None:
    window = Window()
    periods(window, [100, 200, 400])
    assert window.leases == START_LEASES + 3 * STEP_LEASES


def test_it_never_grows_above_its_bound() -> None:
    window = Window()
    periods(window, [2**exponent for exponent in range(20)])
    assert window.leases == MAX_LEASES


def test_a_step_that_brings_nothing_is_taken_back_for_a_while() -> None:
    window = Window()
    now = periods(window, [100, 105])
    assert window.leases == START_LEASES
    now = periods(window, [105] * HOLD_PERIODS, now)
    assert window.leases == START_LEASES
    periods(window, [105], now)
    assert window.leases == START_LEASES + STEP_LEASES


def test_nothing_is_learnt_while_leases_are_left_over() -> None:
    window = Window()
    periods(window, [100, 200, 400], full=False)
    assert window.leases == START_LEASES


def test_a_complaint_halves_it_once_and_stops_it_for_as_long_as_asked() -> None:
    window = Window()
    window.complained(5.0, 10.0)
    window.complained(5.0, 10.1)
    assert window.leases == START_LEASES // 2
    assert window.paused(15.0) and not window.paused(15.2)


def test_a_pause_has_an_end_whatever_is_asked() -> None:
    window = Window()
    window.complained(1e9, 0.0)
    assert not window.paused(MAX_PAUSE_S)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.booleans(), st.floats(0, 3), st.booleans())))
def test_there_is_always_room_for_one(steps: list[tuple[int, bool, float, bool]]) -> None:
    window, now = Window(), 0.0
    for size, full, passed, complaint in steps:
        now += passed
        if complaint:
            window.complained(passed, now)
        else:
            window.brought(size, full, now)
        assert 1 <= window.leases <= MAX_LEASES
