"""The token bucket keeps the mean rate, allows the burst and pays its debt."""

from __future__ import annotations

import random

import pytest

from p2pstore.swarm.limits import TokenBucket


def test_no_rate_is_no_limit() -> None:
    bucket = TokenBucket(0, 10, now=5.0)
    assert bucket.take(10**12, now=5.0) == 0.0


def test_the_burst_is_free_and_the_rest_is_waited_for() -> None:
    bucket = TokenBucket(100, 50, now=0.0)
    assert bucket.take(50, now=0.0) == 0.0
    assert bucket.take(25, now=0.0) == pytest.approx(0.25)
    assert bucket.take(25, now=0.0) == pytest.approx(0.5)


def test_waiting_pays_the_debt() -> None:
    bucket = TokenBucket(100, 0, now=0.0)
    assert bucket.take(200, now=0.0) == pytest.approx(2.0)
    assert bucket.take(0, now=1.5) == pytest.approx(0.5)
    assert bucket.take(0, now=2.0) == 0.0


def test_idle_time_saves_no_more_than_the_burst() -> None:
    bucket = TokenBucket(100, 50, now=0.0)
    bucket.take(50, now=0.0)
    assert bucket.take(50, now=1000.0) == 0.0
    assert bucket.take(1, now=1000.0) == pytest.approx(0.01)


def test_a_clock_that_goes_back_adds_nothing() -> None:
    bucket = TokenBucket(100, 10, now=100.0)
    bucket.take(10, now=100.0)
    assert bucket.take(0, now=50.0) == 0.0
    assert bucket.take(10, now=50.0) == pytest.approx(0.1)
    assert bucket.take(0, now=50.1) == pytest.approx(0.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_rate_is_kept(seed: int) -> None:
    rng = random.Random(seed)
    bucket, now, total = TokenBucket(1000, 200, now=0.0), 0.0, 0
    for _ in range(500):
        size = rng.randrange(1, 300)
        total += size
        now += bucket.take(size, now)
        assert total <= 200 + 1000 * now + 1e-6
    assert total == pytest.approx(200 + 1000 * now, rel=0.01)


def test_a_new_rate_keeps_what_is_owed() -> None:
    bucket = TokenBucket(100, 0, now=0.0)
    bucket.take(100, now=0.0)
    bucket.set_rate(50, now=0.5)
    assert bucket.rate_bytes_per_s == 50
    assert bucket.take(0, now=0.5) == pytest.approx(1.0)


def test_lifting_and_setting_a_limit() -> None:
    bucket = TokenBucket(100, 50, now=0.0)
    bucket.take(1000, now=0.0)
    bucket.set_rate(0, now=0.0)
    assert bucket.take(1000, now=0.0) == 0.0
    bucket.set_rate(10, now=7.0)
    assert bucket.take(50, now=7.0) == 0.0
    assert bucket.take(10, now=7.0) == pytest.approx(1.0)


def test_negative_values_are_none() -> None:
    bucket = TokenBucket(-1, -1, now=0.0)
    assert (bucket.rate_bytes_per_s, bucket.burst_bytes) == (0.0, 0.0)
    bucket.set_rate(-5, now=0.0)
    assert bucket.take(5, now=0.0) == 0.0
