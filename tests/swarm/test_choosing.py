"""The choice of neighbour and pieces."""

from __future__ import annotations

import random

import pytest

from p2pstore.swarm.choosing import askable, cost_s, least_waiting, most, pause_s, pick
from p2pstore.swarm.neighbours import Neighbour
from p2pstore.swarm.pieces import bits
from p2pstore.types import NodeId

PIECE = 1 << 20
RNG = random.Random(1)


def peer(name: str, **more: object) -> Neighbour:
    neighbour = Neighbour(NodeId(name), have=0b1111, rate=1e8)
    for field, value in more.items():
        setattr(neighbour, field, value)
    return neighbour


def names(neighbours: list[Neighbour]) -> list[str]:
    return [one.peer for one in neighbours]


@pytest.mark.parametrize(
    "no",
    [{"out": 2}, {"busy_until": 5.1}, {"have": 0b10000}, {"snubs": [1.0], "out": 1}, {"spoilt": 0b1111}],
)
def test_who_is_not_asked(no: dict[str, object]) -> None:
    assert names(askable([peer("no", **no), peer("yes")], 0b1111, 5.0)) == ["yes"]


def test_the_least_waiting_is_asked_counting_what_was_just_asked_of_it() -> None:
    soon, later = peer("soon", wait_s=0.1), peer("later", wait_s=0.12)
    assert least_waiting([later, soon], 1, PIECE, 5.0, RNG) is soon
    soon.out = 1
    assert cost_s(soon, PIECE) == pytest.approx(3 * PIECE / 1e8)
    assert least_waiting([later, soon], 1, PIECE, 5.0, RNG) is later
    assert least_waiting([later, soon], 1, PIECE, 5.0, RNG, but=later.peer) is soon


def test_the_snubbed_come_last() -> None:
    silent, slow = peer("silent", snubs=[1.0]), peer("slow", wait_s=30.0)
    assert least_waiting([silent, slow], 1, PIECE, 5.0, RNG) is slow
    assert least_waiting([silent], 1, PIECE, 5.0, RNG) is silent
    assert least_waiting([], 1, PIECE, 5.0, RNG) is None


def test_chance_breaks_ties() -> None:
    equals = [peer(name) for name in "abcd"]
    assert len({least_waiting(equals, 1, PIECE, 5.0, RNG).peer for _ in range(200)}) == 4  # type: ignore[union-attr]


@pytest.mark.parametrize(("rate", "pieces"), [(0.0, 1), (1e6, 1), (1e8, 3), (1e12, 8)])
def test_fast_neighbours_are_asked_for_more_at_once(rate: float, pieces: int) -> None:
    assert most(peer("a", rate=rate), PIECE) == pieces
    assert most(peer("a", rate=rate, snubs=[1.0]), PIECE) == 1


def test_pieces_next_to_the_start_else_any() -> None:
    pool = bits(10, 5) | bits(1000, 5)
    assert set(pick(pool, 32, 8, RNG)) == set(range(10, 15))
    assert set(pick(pool, 32, 2000, RNG)) == {*range(10, 15), *range(1000, 1005)}
    assert set(pick(pool, 32, None, RNG)) == {*range(10, 15), *range(1000, 1005)}
    chosen = pick(pool, 4, 8, RNG, first=12)
    assert chosen[0] == 12
    assert len(set(chosen)) == 4


@pytest.mark.parametrize(("wait_s", "least", "greatest"), [(0.0, 0.0025, 0.0075), (60.0, 0.025, 0.075)])
def test_the_pause_after_a_refusal_is_bounded(wait_s: float, least: float, greatest: float) -> None:
    pauses = [pause_s(peer("a", wait_s=wait_s), RNG) for _ in range(100)]
    assert least <= min(pauses) < max(pauses) <= greatest
