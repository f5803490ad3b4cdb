"""Suspicion's own clock: half speed alone, none while the loop stood still; confirmations shorten."""

from __future__ import annotations

import pytest

from p2pstore.gossip import timing
from p2pstore.gossip.suspicion import Health, Suspicions
from tests.gossip.samples import ident

SUSPECT = ident(1)
ACCUSERS = [bytes([number]) * 8 for number in range(5)]


def suspect(live: int = 10, accusers: int = 1) -> Suspicions:
    suspicions = Suspicions(100.0)
    suspicions.start(SUSPECT, ACCUSERS[:accusers], live, 0.5)
    return suspicions


@pytest.mark.parametrize(("accusers", "lasts_s"), [(1, 24.0), (3, 4.0), (5, 4.0)])
def test_it_ends_after_its_time_and_jitter(accusers: int, lasts_s: float) -> None:
    suspicions = suspect(accusers=accusers)
    assert suspicions.next_at() == pytest.approx(100.5 + lasts_s)
    suspicions.advance(100.4 + lasts_s, isolated=False)
    assert suspicions.take_due(9) == []
    suspicions.advance(100.5 + lasts_s, isolated=False)
    assert suspicions.take_due(9) == [SUSPECT]
    assert suspicions.checking(SUSPECT)
    assert suspicions.take_due(9) == [] and suspicions.next_at() is None


def test_further_accusers_shorten_it_and_the_same_one_does_not() -> None:
    suspicions = suspect()
    suspicions.start(SUSPECT, ACCUSERS[:1], 10, 0.9)
    assert suspicions.next_at() == pytest.approx(124.5)
    suspicions.start(SUSPECT, ACCUSERS[1:3], 10, 0.9)
    assert suspicions.next_at() == pytest.approx(104.5)


def test_alone_it_runs_at_half_speed() -> None:
    suspicions = suspect(live=3)
    suspicions.advance(102.0, isolated=True)
    assert suspicions.next_at() == pytest.approx(107.0)
    suspicions.advance(104.0, isolated=False)
    assert suspicions.next_at() == pytest.approx(105.5)


def test_the_time_in_which_the_loop_stood_still_does_not_count() -> None:
    suspicions = suspect(live=3)
    suspicions.advance(110.0, isolated=False)
    suspicions.stalled(9.0)
    assert suspicions.take_due(9) == []
    assert suspicions.next_at() == pytest.approx(113.5)


def test_a_clock_that_goes_back_costs_nothing() -> None:
    suspicions = suspect(live=3)
    suspicions.advance(90.0, isolated=False)
    assert suspicions.next_at() == pytest.approx(104.5)


def test_whoever_answers_the_check_without_a_word_gets_its_time_again() -> None:
    suspicions = suspect(live=3)
    suspicions.advance(105.0, isolated=False)
    assert suspicions.take_due(9) == [SUSPECT]
    suspicions.restart(SUSPECT, 3, 0.0)
    assert not suspicions.checking(SUSPECT)
    assert suspicions.next_at() == pytest.approx(109.0)
    suspicions.restart(ident(2), 3, 0.0)
    assert len(suspicions) == 1


def test_only_so_many_are_taken_and_the_others_stay() -> None:
    suspicions = suspect(live=3)
    suspicions.start(ident(2), [], 3, 0.0)
    suspicions.advance(200.0, isolated=False)
    assert len(suspicions.take_due(1)) == 1 and len(suspicions.take_due(0)) == 0
    assert len(suspicions.take_due(5)) == 1


def test_a_stopped_one_is_forgotten() -> None:
    suspicions = suspect()
    suspicions.stop(SUSPECT)
    suspicions.stop(SUSPECT)
    assert SUSPECT not in suspicions and suspicions.next_at() is None


def test_health_is_bounded_on_both_sides() -> None:
    health = Health()
    health.better()
    assert health.score == 0
    for _ in range(20):
        health.worse()
    assert health.score == timing.MAX_HEALTH
    health.better()
    assert health.score == timing.MAX_HEALTH - 1
