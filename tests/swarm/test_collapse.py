"""Small objects: holders in turn, few takers each, growing numbers, nobody forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.swarm.collapse import PER_HOLDER, TAKE_S, Collapse
from p2pstore.swarm.shape import INLINE_BYTES
from p2pstore.types import NodeId

NODES = [NodeId(f"{number:02x}") for number in range(40)]


def waiting(count: int) -> Collapse:
    collapse = Collapse()
    collapse.has(NODES[0])
    for node in NODES[1 : count + 1]:
        collapse.want(node)
    return collapse


def test_only_what_fits_is_kept_inline() -> None:
    collapse = Collapse()
    assert not collapse.keep(bytes(INLINE_BYTES + 1))
    assert collapse.body is None
    assert collapse.keep(bytes(INLINE_BYTES))
    assert collapse.body == bytes(INLINE_BYTES)


def test_nobody_is_sent_anywhere_before_there_is_a_holder() -> None:
    collapse = Collapse()
    collapse.want(NODES[1])
    assert collapse.deal(0.0) == []
    collapse.has(NODES[0])
    assert collapse.deal(0.0) == [(NODES[1], NODES[0])]


def test_a_holder_serves_few_at_a_time() -> None:
    collapse = waiting(10)
    assert [holder for _, holder in collapse.deal(0.0)] == [NODES[0]] * PER_HOLDER
    assert collapse.deal(0.0) == []


def test_numbers_multiply_each_round() -> None:
    collapse = waiting(39)
    rounds = []
    while dealt := collapse.deal(0.0):
        rounds.append(len(dealt))
        for taker, _ in dealt:
            collapse.has(taker)
        collapse.check()
    assert rounds == [4, 20, 15]
    assert not collapse.busy


def test_holders_take_turns() -> None:
    collapse = waiting(4)
    collapse.has(NODES[9])
    assert [holder for _, holder in collapse.deal(0.0)] == [NODES[0], NODES[9]] * 2


def test_who_does_not_finish_is_sent_elsewhere_and_its_place_is_free() -> None:
    collapse = waiting(6)
    first = collapse.deal(0.0)
    assert collapse.deal(TAKE_S * 0.9) == []
    second = collapse.deal(TAKE_S)
    assert len(first) == len(second) == PER_HOLDER
    assert {NODES[5], NODES[6]} <= {taker for taker, _ in second}, "others come first now"
    collapse.check()


def test_the_takers_of_a_dead_holder_are_sent_to_another_first() -> None:
    collapse = waiting(6)
    takers = [taker for taker, _ in collapse.deal(0.0)]
    collapse.lost(NODES[0])
    collapse.has(NODES[9])
    assert [taker for taker, _ in collapse.deal(0.0)] == takers
    collapse.check()


def test_a_dead_taker_frees_its_place() -> None:
    collapse = waiting(5)
    collapse.deal(0.0)
    collapse.lost(NODES[1])
    assert collapse.deal(0.0) == [(NODES[5], NODES[0])]


STEPS = st.lists(
    st.tuples(st.sampled_from(["want", "has", "lost", "deal", "late"]), st.sampled_from(NODES[:8])),
    max_size=60,
)


def history(steps: list[tuple[str, NodeId]]) -> None:
    """Whatever happens the bounds hold, and in the end everybody who wants it has a place."""
    collapse, now, wanting = Collapse(), 0.0, set()
    for step, node in steps:
        if step == "want":
            collapse.want(node)
            wanting.add(node)
        elif step == "has":
            collapse.has(node)
            wanting.discard(node)
        elif step == "lost":
            collapse.lost(node)
            wanting.discard(node)
        else:
            now += TAKE_S if step == "late" else 0.1
            collapse.deal(now)
        collapse.check()
    collapse.has(NODES[9])
    for _ in range(8):
        for taker, _holder in collapse.deal(now):
            collapse.has(taker)
            wanting.discard(taker)
        now += TAKE_S
    assert not wanting - set(collapse._serving), "somebody waits for ever"


@given(STEPS)
def test_any_history(steps: list[tuple[str, NodeId]]) -> None:
    history(steps)


def test_a_planted_leak_of_places_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaks(self: Collapse, taker: NodeId) -> None:
        self._taking.pop(taker, None)

    monkeypatch.setattr(Collapse, "_free", leaks)
    with pytest.raises(AssertionError):
        history([("has", NODES[0]), ("want", NODES[1]), ("deal", NODES[0]), ("has", NODES[1])])
