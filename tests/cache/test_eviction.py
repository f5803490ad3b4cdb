"""Eviction: when it begins, how far it goes, and who is never touched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.cache.eviction import INODES_PER_ENTRY, Candidate, Goal, Marks, Usage, goal, plan
from p2pstore.types import Key, Version

MARKS = Marks(high_ratio=0.9, low_ratio=0.8, free_bytes=100, free_inodes_ratio=0.05)


def usage(used: int = 0, free: int = 10_000, inodes: int = 1000, total: int = 1000) -> Usage:
    return Usage(
        used_bytes=used, quota_bytes=1000, fs_free_bytes=free, fs_free_inodes=inodes, fs_total_inodes=total
    )


@pytest.mark.parametrize(
    ("now", "needed", "expected"),
    [
        (usage(), (0, 0), None),
        (usage(used=900), (0, 0), None),
        (usage(used=901), (0, 0), Goal(101, 0)),
        (usage(used=850), (51, 0), Goal(101, 0)),
        (usage(used=0), (5000, 0), Goal(4200, 0)),
        (usage(free=100), (0, 0), None),
        (usage(free=99), (0, 0), Goal(1, 0)),
        (usage(free=120), (50, 0), Goal(30, 0)),
        (usage(used=901, free=0), (0, 0), Goal(101, 0)),
        (usage(used=901, free=0), (30, 0), Goal(131, 0)),
        (usage(inodes=50), (0, 0), None),
        (usage(inodes=49), (0, 0), Goal(0, 1)),
        (usage(inodes=60), (0, 20), Goal(0, 10)),
        (usage(inodes=0, total=0), (0, 20), None),
        (usage(used=901, inodes=49), (0, 0), Goal(101, 1)),
    ],
)
def test_goal(now: Usage, needed: tuple[int, int], expected: Goal | None) -> None:
    assert goal(now, MARKS, *needed) == expected


def candidate(number: int, disk_bytes: int, protected: bool = False) -> Candidate:
    return Candidate(Key(f"{number:064x}"), Version("0" * 32), disk_bytes, number, protected)


def numbers(found: Iterator[Candidate]) -> list[int]:
    return [one.last_access for one in found]


def test_the_oldest_go_until_there_is_room() -> None:
    some = [candidate(number, 10) for number in range(5)]
    assert numbers(plan(some, Goal(25, 0))) == [0, 1, 2]
    assert numbers(plan(some, Goal(20, 0))) == [0, 1]
    assert numbers(plan(some, Goal(0, 2 * INODES_PER_ENTRY + 1))) == [0, 1, 2]
    assert numbers(plan(some, Goal(25, 1))) == [0, 1, 2]
    assert numbers(plan(some, Goal(1, 2 * INODES_PER_ENTRY))) == [0, 1]
    assert numbers(plan(some, Goal(1000, 0))) == [0, 1, 2, 3, 4]
    assert numbers(plan([], Goal(1, 1))) == []


def test_protected_entries_and_useless_victims_stay() -> None:
    some = [candidate(0, 10, protected=True), candidate(1, 0), candidate(2, 10), candidate(3, 10)]
    assert numbers(plan(some, Goal(10, 0))) == [2]
    assert numbers(plan(some, Goal(0, 1))) == [1]
    assert numbers(plan(some, Goal(10, 1))) == [1, 2]


def test_candidates_are_taken_one_by_one() -> None:
    """However many there are, no more are held than the shell has taken."""
    taken = []

    def endless() -> Iterator[Candidate]:
        number = 0
        while True:
            taken.append(number)
            yield candidate(number, 1)
            number += 1

    victims = plan(endless(), Goal(3, 0))
    assert next(victims).last_access == 0
    assert taken == [0]
    assert numbers(victims) == [1, 2]
    assert len(taken) <= 4


@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans())),
    st.integers(0, 200),
    st.integers(0, 20),
)
def test_the_goal_is_met_with_no_victim_too_many(
    entries: list[tuple[int, bool]], size: int, inodes: int
) -> None:
    some = [candidate(number, *entry) for number, entry in enumerate(entries)]
    victims = list(plan(some, Goal(size, inodes)))
    freed, freed_inodes = sum(one.disk_bytes for one in victims), len(victims) * INODES_PER_ENTRY
    assert not any(one.protected for one in victims)
    assert numbers(iter(victims)) == sorted(numbers(iter(victims)))
    if freed < size:
        assert freed == sum(one.disk_bytes for one in some if not one.protected)
    if freed_inodes < inodes:
        assert len(victims) == sum(not one.protected for one in some)
    if victims:
        last = victims[-1]
        assert freed - last.disk_bytes < size or freed_inodes - INODES_PER_ENTRY < inodes
