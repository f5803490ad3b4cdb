"""One home as its holder sees it."""

from __future__ import annotations

import pytest

from p2pstore.gossip import links as links_module
from p2pstore.gossip.links import WINDOW, Batch, Link, take_back


def test_what_is_due_first() -> None:
    link = Link(1)
    link.check_at = 9.0
    assert link.next_at() == 9.0
    link.start_over(1, 7.0)
    assert link.next_at() == 7.0
    link.dirty[b"n"], link.ready_at = None, 5.0
    assert link.next_at() == 5.0
    link.flying = {n: Batch([], 6.0 + n) for n in range(WINDOW)}
    assert link.next_at() == 6.0


def test_after_a_failure_one_batch_at_a_time() -> None:
    link = Link(1)
    link.dirty[b"n"] = None
    link.flying = {1: Batch([], 8.0)}
    assert link.next_at() == 0.0
    link.fails = 1
    assert link.next_at() == 8.0


def test_starting_over_wholly_forgets_what_waited_and_partly_does_not() -> None:
    link = Link(1)
    link.dirty[b"n"] = None
    link.start_over(1, 0.0, frozenset({1}))
    link.start_over(1, 0.0, frozenset({2}))
    assert link.refill is not None
    assert (link.refill.slots, list(link.dirty)) == (frozenset({1, 2}), [b"n"])
    link.start_over(2, 0.0)
    link.start_over(2, 0.0, frozenset({2}))
    assert (link.refill.slots, list(link.dirty), link.gen) == (None, [], 2)


def test_names_that_were_not_acknowledged_wait_again_within_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links_module, "MAX_DIRTY", 3)
    link = Link(1)
    take_back(link, [Batch([b"a", b"b"], 1.0), Batch([], 1.0, check=True)])
    assert (list(link.dirty), link.refill, link.check_at) == ([b"a", b"b"], None, 0.0)
    take_back(link, [Batch([b"c", b"d"], 1.0)])
    assert not link.dirty
    assert link.refill is not None
