"""Rankings: equal for equal views, stable under change, spread evenly."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.gossip import homes as homes_module
from p2pstore.gossip.homes import SLOTS, Homes, gained, mix64, score, slot_of
from p2pstore.types import Key, NodeId

NODES = [NodeId(random.Random(n).randbytes(32).hex()) for n in range(40)]
KEY = Key("beef" + 60 * "0")
views = st.lists(st.sampled_from(NODES), min_size=1, max_size=30, unique=True)
slots = st.integers(0, SLOTS - 1)


def test_a_slot_is_the_beginning_of_a_key() -> None:
    assert slot_of(KEY) == 0xBEEF


def test_scores_are_fixed_for_ever() -> None:
    """Nodes of different releases have to agree."""
    node = NodeId("0123456789abcdef" + 48 * "0")
    assert mix64(1) == 0x5692161D100B05E5
    assert score(0xBEEF, node) == mix64(mix64(0xBEF0) ^ 0x0123456789ABCDEF)


@given(views, slots, st.randoms(use_true_random=False))
def test_equal_views_have_equal_homes(view: list[NodeId], slot: int, rng: random.Random) -> None:
    other = [*view, view[0]]
    rng.shuffle(other)
    assert Homes(view).of_slot(slot) == Homes(other).of_slot(slot)


@given(views, slots)
def test_the_first_home_does_not_depend_on_the_number_of_homes(view: list[NodeId], slot: int) -> None:
    rankings = [
        Homes(view, copies=k, full_up_to=n).of_slot(slot) for k, n in ((1, 0), (3, 0), (3, 16), (3, 99))
    ]
    assert len({ranked[0] for ranked in rankings}) == 1
    assert all(rankings[-1][: len(ranked)] == ranked for ranked in rankings)


@given(views, slots)
def test_when_a_member_goes_the_others_keep_their_order(view: list[NodeId], slot: int) -> None:
    before = Homes(view, full_up_to=99).of_slot(slot)
    after = Homes(view[1:], full_up_to=99).of_slot(slot)
    assert tuple(node for node in before if node != view[0]) == after


@given(views, views, st.sets(slots, max_size=20))
def test_gained_names_all_new_homes_and_only_these(
    one: list[NodeId], two: list[NodeId], some: set[int]
) -> None:
    before, after = Homes(one, full_up_to=4), Homes(two, full_up_to=4)
    found = gained(before, after, some)
    for node in set(NODES):
        wanted = {s for s in some if after.is_home(node, s) and not before.is_home(node, s)}
        mine = found.get(node, frozenset())
        assert wanted == (some if mine is None else mine)


def test_a_join_of_a_small_cluster_concerns_all_slots_of_the_new_member() -> None:
    assert gained(Homes(NODES[:3]), Homes(NODES[:4]), iter(())) == {NODES[3]: None}


def test_all_members_are_homes_up_to_sixteen_and_three_beyond() -> None:
    small, large = Homes(NODES[:16]), Homes(NODES[:17])
    assert (small.everywhere, small.copies, len(small.of(KEY))) == (True, 16, 16)
    assert (large.everywhere, large.copies, len(large.of(KEY))) == (False, 3, 3)
    assert len(large.ranking(KEY)) == 17
    assert large.ranking(KEY)[:3] == large.of(KEY)


def test_nobody_is_home_of_anything_without_members() -> None:
    assert Homes(()).of(KEY) == ()
    assert not Homes(NODES[:2]).is_home(NODES[3], 1)
    assert NODES[0] in Homes(NODES[:2])


def test_slots_are_spread_evenly() -> None:
    homes = Homes(NODES[:20])
    load = dict.fromkeys(homes.members, 0)
    for slot in range(0, SLOTS, 16):
        for node in homes.of_slot(slot):
            load[node] += 1
    mean = sum(load.values()) / 20
    assert 0.8 * mean < min(load.values()) <= max(load.values()) < 1.2 * mean


def test_members_and_cached_rankings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes_module, "MAX_MEMBERS", 5)
    monkeypatch.setattr(homes_module, "MAX_CACHED_SLOTS", 3)
    homes = Homes(reversed(NODES))
    assert homes.members == tuple(sorted(NODES)[:5])
    wanted = [Homes(homes.members).of_slot(slot) for slot in range(10)]
    assert [homes.of_slot(slot) for slot in range(10)] == wanted
    assert len(homes._cached) <= 3
