"""Caps by the second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pstore.gossip.pace import Pace


@given(st.integers(2, 30), st.lists(st.floats(0, 0.3), max_size=200))
def test_no_second_holds_more(per_s: int, gaps: list[float]) -> None:
    pace, now, admitted = Pace(per_s, 5.0), 5.0, []
    for gap in gaps:
        now += gap
        if pace.admit(now):
            admitted.append(now)
    for at in admitted:
        assert sum(at <= other < at + 1.0 - 1e-6 for other in admitted) <= per_s


def test_it_comes_back_with_time_and_not_with_a_clock_that_goes_back() -> None:
    pace = Pace(4, 10.0)
    assert [pace.admit(10.0) for _ in range(3)] == [True, True, False]
    assert not pace.admit(9.0)
    assert [pace.admit(11.0) for _ in range(3)] == [True, True, False]


def test_a_large_cost_waits_longer_and_one_beyond_the_cap_is_not_refused_for_ever() -> None:
    pace = Pace(20, 0.0)
    assert pace.admit(0.0, 8) and not pace.admit(0.0, 8)
    assert pace.admit(0.6, 8)
    assert not pace.admit(1.0, 1000) and pace.admit(2.0, 1000)
