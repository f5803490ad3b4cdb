"""Comparing tables: what is exchanged, when, and with whom."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.gossip import timing
from p2pstore.gossip.beliefs import Beliefs
from p2pstore.gossip.members import Entry, State
from p2pstore.gossip.messages import Filled, Join, Joined, Sync, Synced, encode
from p2pstore.gossip.reconcile import Reconcile, bucket_fingerprints
from tests.gossip.samples import accusation, address, alive, entries, ident


class Node:
    def __init__(self, number: int, *known: Entry, seeds: int = 0) -> None:
        rng = random.Random(number)
        self.number = number
        self.beliefs = Beliefs(alive(number), 0.0, rng, [])
        self.beliefs.take(known, ident(9999), 0.0)
        self.core = Reconcile(self.beliefs, [address(1000 + seed) for seed in range(seeds)], 0.0, rng)

    def call(self, now: float, *, searching: bool = False) -> list[Sync | Join]:
        return [
            message
            for _, _, message in self.core.due(now, searching=searching)
            if isinstance(message, Sync | Join)
        ]

    def state(self, number: int) -> State | None:
        member = self.beliefs.table.get(ident(number))
        return None if member is None else member.state


def sync(one: Node, other: Node, now: float = 100.0) -> tuple[Synced, Filled]:
    """`one` compares with `other`, as if nothing were lost."""
    one.core.hurry(now)
    (question,) = [message for message in one.call(now) if isinstance(message, Sync)][:1]
    synced = other.core.answer(question, ident(one.number), now)
    assert isinstance(synced, Synced)
    filled = one.core.fill(synced, ident(other.number), now)
    assert isinstance(filled, Filled)
    other.core.filled(filled, ident(one.number), now)
    return synced, filled


def test_a_sync_makes_two_tables_equal() -> None:
    one, other = Node(1, alive(2), alive(3), alive(4, inc=1)), Node(2, alive(1), alive(4), alive(5))
    sync(one, other)
    assert one.beliefs.table.fingerprint == other.beliefs.table.fingerprint
    assert one.beliefs.table.live() == other.beliefs.table.live()


def test_only_what_differs_is_exchanged() -> None:
    known = [alive(number) for number in range(1, 300)]
    one, other = Node(1, *known), Node(2, *known, alive(300), alive(7, inc=1))
    synced, filled = sync(one, other)
    assert len(synced.differing) == 2 and len(synced.entries) < 20
    assert filled.entries == ()
    again, _ = sync(one, other)
    assert again.differing == () and again.entries == ()


def test_a_death_is_told_as_a_suspicion_both_ways() -> None:
    one, other = Node(1, alive(2), alive(3), accusation(3, State.DEAD)), Node(2, alive(1), alive(3))
    sync(one, other)
    assert (one.state(3), other.state(3)) == (State.DEAD, State.SUSPECT)
    one, other = Node(1, alive(2), alive(3)), Node(2, alive(1), alive(3), accusation(3, State.DEAD))
    sync(one, other)
    assert (one.state(3), other.state(3)) == (State.SUSPECT, State.DEAD)


def test_whoever_calls_the_dead_is_called_dead_and_answers() -> None:
    one = Node(1, alive(2), accusation(2, State.DEAD))
    other = Node(2, alive(1), accusation(1, State.DEAD))
    one.core.seed_at = one.core.sync_at = 1e9
    (question,) = one.call(50.0)
    assert isinstance(question, Sync)
    synced = other.core.answer(question, ident(1), 50.0)
    assert isinstance(synced, Synced)
    filled = one.core.fill(synced, ident(2), 50.0)
    assert one.beliefs.me.stamp.inc == 1
    assert filled is not None and one.beliefs.me in filled.entries
    other.core.filled(filled, ident(1), 50.0)
    assert other.state(1) == State.ALIVE and other.beliefs.me.stamp.inc == 1


def test_the_departed_and_the_long_dead_are_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(1, alive(2), accusation(2, State.LEFT), accusation(3, State.DEAD))
    node.core.seed_at = node.core.sync_at = 1e9
    assert all(node.call(float(now)) == [] for now in range(1, 100))


def test_tombstones_are_told_for_an_hour() -> None:
    other = Node(2, accusation(3, State.DEAD))
    for now, told in ((timing.TOMBSTONE_S - 1, 1), (timing.TOMBSTONE_S + 1, 0)):
        joined = other.core.answer(Join(b"12345678", alive(1)), ident(1), now)
        assert isinstance(joined, Joined)
        assert sum(entry == accusation(3, State.DEAD) for entry in joined.entries) == told


def test_joining_brings_all_members_and_makes_the_newcomer_known() -> None:
    one, other = Node(1, seeds=1), Node(2, alive(3), alive(4))
    (question,) = one.call(0.0, searching=True)
    joined = other.core.answer(question, ident(1), 0.0)
    assert isinstance(joined, Joined) and other.state(1) == State.ALIVE
    assert one.core.joined(joined, ident(2), 0.0)
    assert one.beliefs.table.live() == other.beliefs.table.live()
    assert not one.core.joined(joined, ident(2), 0.0), "an answer counts once"


def test_answers_that_nobody_asked_for_change_nothing() -> None:
    node = Node(1)
    assert not node.core.joined(Joined(b"12345678", (alive(2),)), ident(2), 0.0)
    assert node.core.fill(Synced(b"12345678", 16, (), (alive(2),)), ident(2), 0.0) is None
    assert node.state(2) is None


def test_nobody_joins_in_the_name_of_another() -> None:
    node = Node(1)
    assert node.core.answer(Join(b"12345678", alive(2)), ident(3), 0.0) is None
    assert node.state(2) is None


def test_what_is_served_is_capped_by_the_number_of_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MAX_SERVED_PER_S", 200)
    node = Node(1, alive(2), alive(3), alive(4), alive(5))
    answers = [node.core.answer(Join(b"12345678", alive(2)), ident(2), 0.0) for _ in range(100)]
    assert sum(answer is not None for answer in answers) == 20


def test_a_join_is_tried_again_with_growing_patience_and_never_given_up() -> None:
    node, times, now = Node(1, seeds=3), [], 0.0
    while now < 300.0:
        now = node.core.seed_at
        if node.call(now, searching=True):
            times.append(now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] <= timing.JOIN_RETRY_S and max(gaps) <= timing.JOIN_RETRY_MAX_S
    assert min(gaps[8:]) >= timing.JOIN_RETRY_MAX_S / 2


def test_this_node_is_no_seed_and_seeds_are_bounded() -> None:
    node = Node(1)
    node.core.set_seeds([address(1), *(address(number) for number in range(2, 500)), address(2)])
    assert address(1) not in node.core.seeds and len(node.core.seeds) == timing.MAX_SEEDS


def test_equal_fingerprints_spare_a_sync_and_different_ones_hasten_it() -> None:
    node = Node(1, alive(2), alive(3))
    node.beliefs.news.retain([])
    node.core.dead_at = node.core.seed_at = 1e9
    node.core.compare(ident(2), node.beliefs.table.fingerprint, 1.0)
    at = node.core.sync_at
    assert at > 20 and node.call(at) == []
    node.core.compare(ident(3), 12345, at + 1)
    assert at + 1 + 3 <= node.core.sync_at <= at + 1 + 7
    ((partner, _, _),) = node.core.due(node.core.sync_at, searching=False)
    assert partner == ident(3)


def test_differences_while_news_are_under_way_are_no_reason_for_haste() -> None:
    node = Node(1, alive(2), alive(3))
    assert len(node.beliefs.news)
    at = node.core.sync_at
    node.core.compare(ident(3), 12345, 1.0)
    assert node.core.sync_at == at


@pytest.mark.parametrize(("strangers", "low", "high"), [(2, 22, 38), (10, 3, 7), (50, 0.5, 1.5)])
def test_the_next_sync_comes_sooner_the_more_this_one_found(strangers: int, low: float, high: float) -> None:
    one = Node(1, alive(2))
    other = Node(2, alive(1), *(alive(number) for number in range(10, 10 + strangers)))
    sync(one, other)
    assert 100 + low <= one.core.sync_at <= 100 + high


def test_more_than_fits_is_left_for_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MAX_BULK_ENTRIES", 60)
    one = Node(1, alive(2))
    other = Node(2, alive(1), *(alive(number) for number in range(10, 210)))
    for at in range(10):
        synced, filled = sync(one, other, 100.0 + at)
        assert max(len(synced.entries), len(filled.entries)) <= 60
    assert one.beliefs.table.live() == other.beliefs.table.live()


def test_the_largest_sync_fits_into_a_message() -> None:
    node = Node(1)
    everybody = tuple(alive(number) for number in range(timing.MAX_BULK_ENTRIES))
    fingerprints = bucket_fingerprints(node.beliefs.table, timing.MAX_BUCKETS)
    assert len(encode(Sync(b"12345678", alive(1), fingerprints))) < timing.MAX_STREAM_BYTES
    full = Synced(b"12345678", timing.MAX_BUCKETS, tuple(range(timing.MAX_BUCKETS)), everybody)
    assert len(encode(full)) < timing.MAX_STREAM_BYTES


facts = st.lists(entries(st.integers(10, 16)), max_size=15)


@given(facts, facts)
def test_after_a_sync_both_hold_the_same_of_the_living(
    told_one: list[Entry], told_other: list[Entry]
) -> None:
    one, other = Node(1, alive(2), *told_one), Node(2, alive(1), *told_other)
    sync(one, other)
    for member in one.beliefs.table:
        twin = other.beliefs.table.get(member.node)
        if member.live and twin is not None and twin.live:
            assert member.stamp == twin.stamp
