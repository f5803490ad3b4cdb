"""The formulas: suspicion by size and confirmations, transmissions, buckets, the pace of syncs."""

from __future__ import annotations

import pytest

from p2pstore.gossip import timing


@pytest.mark.parametrize(
    ("live", "shortest_s"), [(1, 4.0), (3, 4.0), (10, 4.0), (100, 8.0), (1_000, 12.0), (10_000, 16.0)]
)
def test_a_suspicion_grows_with_the_logarithm_of_the_cluster(live: int, shortest_s: float) -> None:
    assert timing.suspicion_s(live, timing.MAX_CONFIRMATIONS) == pytest.approx(shortest_s)


@pytest.mark.parametrize(("live", "wanted"), [(2, 0), (3, 0), (4, 1), (5, 2), (1_000, 2)])
def test_confirmations_are_only_waited_for_where_there_are_others(live: int, wanted: int) -> None:
    assert timing.confirmations(live) == wanted
    expected = 4.0 if wanted == 0 else 6 * timing.suspicion_s(live, wanted)
    assert timing.suspicion_s(live, 0) == pytest.approx(expected)


def test_each_confirmation_shortens_a_suspicion() -> None:
    lasts = [timing.suspicion_s(10, confirmed) for confirmed in range(4)]
    assert lasts[0] == 24.0 and lasts[2] == lasts[3] == 4.0
    assert lasts[0] > lasts[1] > lasts[2]


@pytest.mark.parametrize(("live", "times"), [(9, 4), (10, 8), (100, 12), (1_000, 16), (10_000, 20)])
def test_transmissions(live: int, times: int) -> None:
    assert timing.transmissions(live) == times


@pytest.mark.parametrize(
    ("live", "count"), [(1, 16), (100, 16), (1_000, 128), (10_000, 1024), (20_000, 1024)]
)
def test_a_bucket_holds_about_eight_members(live: int, count: int) -> None:
    assert timing.buckets(live) == count


@pytest.mark.parametrize(
    ("differences", "low", "high"), [(0, 22.5, 37.5), (3, 22.5, 37.5), (4, 3, 7), (32, 3, 7), (33, 0.5, 1.5)]
)
def test_a_sync_that_found_much_is_followed_by_another(differences: int, low: float, high: float) -> None:
    assert timing.sync_delay_s(differences, 0.0) == low
    assert timing.sync_delay_s(differences, 1.0) == high


def test_small_clusters_call_their_dead_more_often() -> None:
    assert (timing.dead_contact_s(100), timing.dead_contact_s(101)) == (2.0, 10.0)
