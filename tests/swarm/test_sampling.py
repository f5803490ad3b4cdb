"""Bitmaps to numbers and back, and samples of them."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from p2pstore.swarm.sampling import WINDOW_PIECES, bitmap_of, indexes, sample_any, sample_window

BITMAPS = st.sets(st.integers(0, 700)).map(bitmap_of)
SEEDS = st.randoms(use_true_random=False)


@given(st.sets(st.integers(0, 700)))
def test_a_bitmap_and_its_numbers_are_the_same(numbers: set[int]) -> None:
    assert indexes(bitmap_of(numbers)) == sorted(numbers)


@given(BITMAPS, st.integers(0, 700), st.integers(0, 40), SEEDS)
def test_a_window_gives_different_pieces_of_the_window(
    bitmap: int, start: int, count: int, rng: random.Random
) -> None:
    there = {index for index in indexes(bitmap) if start <= index < start + WINDOW_PIECES}
    taken = sample_window(bitmap, start, count, rng)
    assert len(taken) == len(set(taken)) == min(count, len(there))
    assert set(taken) <= there


@given(BITMAPS, st.integers(0, 40), SEEDS)
def test_any_gives_different_pieces_of_all(bitmap: int, count: int, rng: random.Random) -> None:
    taken = sample_any(bitmap, count, rng)
    assert len(taken) == len(set(taken)) == min(count, bitmap.bit_count())
    assert not bitmap_of(taken) & ~bitmap


def test_any_reaches_every_piece() -> None:
    rng = random.Random(1)
    wanted = bitmap_of([0, 3, 4, 999])
    assert {sample_any(wanted, 1, rng)[0] for _ in range(8000)} >= {0, 3, 4, 999}
