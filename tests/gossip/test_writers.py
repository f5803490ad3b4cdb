"""Whose word counts: members only, one generation of each, hidden while away."""

from __future__ import annotations

import pytest

from p2pstore.gossip import writers as writers_module
from p2pstore.gossip.writers import ASK_S, HIDDEN_S, WARM_S, Writers
from p2pstore.types import NodeId

A, B = NodeId("aa" * 32), NodeId("bb" * 32)


def made(*members: tuple[NodeId, int]) -> Writers:
    writers = Writers()
    writers.set_members({node: (gen, False) for node, gen in members}, 0.0)
    return writers


def test_strangers_and_older_generations_write_nothing() -> None:
    writers = made((A, 2))
    assert writers.of(B, 1, 0.0) is None
    assert writers.of(A, 1, 0.0) is None
    assert writers.of(A, 2, 0.0) is not None
    assert writers.of(A, 3, 0.0) is not None
    assert writers.of(A, 2, 0.0) is None
    writers.check()


@pytest.mark.parametrize("by_membership", [True, False])
def test_a_newer_generation_ends_the_older_one(by_membership: bool) -> None:
    writers = made((A, 1))
    old = writers.of(A, 1, 0.0)
    assert old is not None
    old.packed = 2
    if by_membership:
        writers.set_members({A: (2, False)}, 1.0)
    new = writers.of(A, 2, 1.0)
    assert new is not None
    assert (writers.is_visible(old), writers.is_visible(new), writers.retired) == (False, True, 1)
    writers.swept(old)
    assert writers.by_index(old.index) is old
    writers.swept(old)
    assert writers.retired == 0
    writers.check()


def test_who_is_away_is_hidden_kept_and_forgotten() -> None:
    writers = made((A, 1))
    writer = writers.of(A, 1, 0.0)
    assert writer is not None
    writer.confirmed = True
    writers.set_members({}, 10.0)
    assert not writers.is_visible(writer)
    writers.set_members({A: (1, False)}, 20.0)
    assert writers.is_visible(writer)
    assert not writer.confirmed
    writers.set_members({}, 30.0)
    assert writers.hidden_until() == 30.0 + HIDDEN_S
    writers.expire_hidden(30.0 + HIDDEN_S)
    assert writers.current(A) is None
    writers.check()


def test_a_home_is_warm_when_all_confirmed_or_had_their_time() -> None:
    writers = made((A, 1), (B, 1))
    assert not writers.is_warm(0.0)
    for node in (A, B):
        writer = writers.of(node, 1, 0.0)
        assert writer is not None
        writer.confirmed = True
    assert writer is not None
    assert writers.is_warm(0.0)
    writer.overfull = True
    assert not writers.is_warm(0.0)
    assert made((A, 1)).is_warm(WARM_S)
    writer.overfull = False
    writers.start_over(writer, 50.0)
    assert not writers.is_warm(50.0)


def test_the_silent_are_asked_now_and_then() -> None:
    writers = made((A, 1), (B, 1))
    assert writers.to_ask(ASK_S - 0.1) == []
    assert writers.to_ask(ASK_S) == [A, B]
    assert writers.to_ask(ASK_S) == []
    writer = writers.of(A, 1, 3.0)
    assert writer is not None
    assert writers.to_ask(2 * ASK_S) == [B]
    assert writers.ask_at() == 3.0 + ASK_S
    writer.confirmed = True
    assert writers.to_ask(3 * ASK_S) == [B]


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers_module, "MAX_WRITERS", 2)
    monkeypatch.setattr(writers_module, "MAX_ASKED", 1)
    writers = made((A, 1), (B, 1))
    first, second = writers.of(A, 1, 0.0), writers.of(B, 1, 0.0)
    assert first is not None
    assert second is not None
    first.packed = 1
    assert writers.of(A, 2, 0.0) is None
    writers.swept(first)
    third = writers.of(A, 2, 0.0)
    assert third is not None
    assert third.index == first.index
    assert len(writers.to_ask(100.0)) == 1
    writers.check()


def test_suspects() -> None:
    writers = Writers()
    writers.set_members({A: (1, True), B: (1, False)}, 0.0)
    assert [writers.is_suspect(node) for node in (A, B, NodeId("cc" * 32))] == [True, False, False]
