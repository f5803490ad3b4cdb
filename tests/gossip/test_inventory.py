"""Merged listings: exact, in order, of bounded memory, and honest about what is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.gossip import inventory as inventory_module
from p2pstore.gossip.inventory import MAX_ASKED, Ask, Completeness, Held, Merge, Missing
from p2pstore.types import NodeId

NODES = [NodeId(f"{n:064x}") for n in range(100)]
caches = st.lists(st.sets(st.integers(1, 30)), min_size=1, max_size=6)


def name(row: int) -> bytes:
    return row.to_bytes(2, "big")


def page(cache: set[int], ask: Ask) -> tuple[list[int], bool]:
    behind = sorted(row for row in cache if name(row) > ask.after)
    return behind[: ask.limit], len(behind) <= ask.limit


def drained(merge: Merge[int], held: dict[NodeId, set[int]], dies: NodeId | None = None) -> list[Held[int]]:
    merged: list[Held[int]] = []
    rounds = 0
    while not merge.done:
        rounds += 1
        for ask in merge.asks():
            if ask.node == dies and rounds > 1:
                merge.failed(ask.node, "died")
                continue
            rows, last = page(held[ask.node], ask)
            merge.page(ask.node, rows, last=last, now=float(rounds))
        merge.check()
        merged += merge.take(3)
    return merged


def merge_of(count: int, page_rows: int) -> Merge[int]:
    merge: Merge[int] = Merge(NODES[:count], name)
    merge.page_rows = page_rows
    return merge


@given(caches, st.integers(1, 4))
def test_the_listing_is_the_union_in_order(cached: list[set[int]], page_rows: int) -> None:
    held = dict(zip(NODES, cached, strict=False))
    merge = merge_of(len(cached), page_rows)
    merged = drained(merge, held)
    assert [one.name for one in merged] == sorted({name(row) for cache in cached for row in cache})
    for one in merged:
        assert [node for node, _ in one.rows] == [
            node for node in held if int.from_bytes(one.name) in held[node]
        ]
    told = merge.completeness(100.0)
    assert (told.complete, told.members, told.answered) == (True, len(cached), len(cached))
    assert told.oldest_age_s == 99.0


@given(st.sets(st.integers(1, 30), min_size=3), st.integers(1, 2))
def test_who_dies_midway_is_named_and_what_it_told_stays(cache: set[int], page_rows: int) -> None:
    merge = merge_of(2, page_rows)
    merged = drained(merge, {NODES[0]: cache, NODES[1]: cache}, dies=NODES[1])
    assert len(merged) == len(cache)
    assert sum(len(one.rows) for one in merged) == len(cache) + page_rows
    told = merge.completeness(10.0)
    assert not told.complete
    assert told.missing == (Missing(NODES[1], "died"),)


def test_before_everybody_answered_nothing_is_told() -> None:
    merge = merge_of(2, 5)
    merge.asks()
    merge.page(NODES[0], [1], last=True, now=0.0)
    assert merge.take(9) == []
    assert merge.completeness(0.0) == Completeness(2, 1, (Missing(NODES[1], "did not answer yet"),), 0.0)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [([2, 1], "order"), ([1, 1], "order"), ([1, 2, 3, 4, 5, 6], "size"), ([], "size")],
)
def test_a_member_that_breaks_the_rules_counts_as_failed(rows: list[int], reason: str) -> None:
    merge = merge_of(1, 5)
    merge.asks()
    merge.page(NODES[0], rows, last=False, now=0.0)
    (missing,) = merge.completeness(0.0).missing
    assert reason in missing.reason
    assert merge.asks() == []


def test_pages_that_nobody_asked_for_change_nothing() -> None:
    merge = merge_of(1, 5)
    merge.page(NODES[0], [1], last=True, now=0.0)
    merge.page(NODES[5], [1], last=True, now=0.0)
    merge.failed(NODES[5], "died")
    assert not merge.done
    merge.asks()
    merge.page(NODES[0], [1], last=True, now=0.0)
    merge.failed(NODES[0], "died afterwards")
    merge.page(NODES[0], [2], last=True, now=0.0)
    assert len(merge.take(9)) == 1
    assert merge.completeness(0.0).complete


def test_few_are_asked_at_once_and_pages_shrink_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory_module, "MAX_BUFFERED_ROWS", 1000)
    merge: Merge[int] = Merge(NODES, name)
    assert merge.page_rows == 10
    assert len(merge.asks()) == MAX_ASKED
    assert merge.asks() == []


def test_nobody_holds_nothing() -> None:
    merge: Merge[int] = Merge([], name)
    assert merge.done
    assert merge.take(1) == []
    assert merge.completeness(5.0) == Completeness(0, 0, (), 0.0)
