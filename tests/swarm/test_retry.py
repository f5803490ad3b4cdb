"""Backoff: doubling with jitter, the cap, the origin's own wait, and when to give up."""

from __future__ import annotations

import random

import pytest

from p2pstore.swarm.retry import MAX_WAIT_S, RETRY_AFTER_SPREAD, Backoff, RetryRules, decide

RULES = RetryRules(retries=5, wait_s=0.5, retry_after_max_s=120.0)


def test_what_is_not_retryable_is_not_retried() -> None:
    assert decide(False, 0, None, RULES, random.Random(0)) is None
    assert decide(False, 0, 1.0, RULES, random.Random(0)) is None


def test_tries_are_bounded() -> None:
    waits = [decide(True, attempt, None, RULES, random.Random(0)) for attempt in range(8)]
    assert [wait is None for wait in waits] == [False] * 5 + [True] * 3


@pytest.mark.parametrize("seed", range(20))
def test_waits_double_between_half_and_all(seed: int) -> None:
    rng, rules = random.Random(seed), RetryRules(retries=100, wait_s=0.5)
    for attempt in range(100):
        wait_s = decide(True, attempt, None, rules, rng)
        most_s = min(0.5 * 2.0**attempt, MAX_WAIT_S)
        assert wait_s is not None
        assert most_s / 2 <= wait_s <= most_s


def test_waits_are_spread() -> None:
    assert len({decide(True, 3, None, RULES, random.Random(seed)) for seed in range(50)}) == 50


def test_many_retries_do_not_overflow() -> None:
    assert decide(True, 5000, None, RetryRules(retries=10_000), random.Random(1)) is not None


@pytest.mark.parametrize("seed", range(20))
def test_retry_after_is_never_undercut(seed: int) -> None:
    wait_s = decide(True, 0, 60.0, RULES, random.Random(seed))
    assert wait_s is not None
    assert 60.0 <= wait_s <= 60.0 * (1 + RETRY_AFTER_SPREAD)


def test_a_short_retry_after_does_not_shorten_our_own_wait() -> None:
    wait_s = decide(True, 4, 0.0, RULES, random.Random(0))
    assert wait_s is not None
    assert wait_s >= 4.0


def test_too_long_a_retry_after_ends_it() -> None:
    assert decide(True, 0, 120.5, RULES, random.Random(0)) is None
    assert decide(True, 0, 120.0, RULES, random.Random(0)) is not None


def test_progress_makes_the_next_failure_a_first_one() -> None:
    backoff = Backoff(RULES, random.Random(3))
    assert [backoff.failed(True) is None for _ in range(5)] == [False] * 5
    assert backoff.attempts == 5
    backoff.progressed()
    assert backoff.attempts == 0
    first = backoff.failed(True)
    assert first is not None and first <= RULES.wait_s
    assert [backoff.failed(True) is None for _ in range(5)] == [False] * 4 + [True]


def test_backoff_passes_the_origins_wait_on() -> None:
    wait_s = Backoff(RULES, random.Random(0)).failed(True, 10.0)
    assert wait_s is not None and wait_s >= 10.0
    assert Backoff(RULES, random.Random(0)).failed(True, 1000.0) is None
    assert Backoff(RULES, random.Random(0)).failed(False) is None
