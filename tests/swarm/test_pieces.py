"""Pieces and bitmaps against the plainest possible reckoning with lists and sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.swarm import pieces
from p2pstore.swarm.tree import LEAF_BYTES
from p2pstore.types import ByteRange

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
bitmaps = st.integers(0, (1 << 90) - 1)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (None, 4 * MIB),
        (0, 256 * KIB),
        (1, 256 * KIB),
        (512 * MIB, 256 * KIB),
        (512 * MIB + 1, 512 * KIB),
        (GIB, 512 * KIB),
        (8 * GIB, 4 * MIB),
        (32 * GIB, 16 * MIB),
        (32 * GIB + 1, 16 * MIB),
        (1 << 44, 16 * MIB),
    ],
)
def test_piece_size_by_length(length: int | None, expected: int) -> None:
    assert pieces.piece_bytes(length) == expected


@given(st.integers(0, 1 << 45))
def test_a_piece_is_a_power_of_two_of_leaves(length: int) -> None:
    size = pieces.piece_bytes(length)
    assert size & (size - 1) == 0
    assert size % LEAF_BYTES == 0
    assert pieces.MIN_PIECE_BYTES <= size <= pieces.MAX_PIECE_BYTES


@given(length=st.integers(0, 5000), size=st.sampled_from([1, 4, 64, 1024]))
def test_pieces_cover_everything_once(length: int, size: int) -> None:
    ranges = [pieces.piece_range(i, length, size) for i in range(pieces.piece_count(length, size))]
    covered = [at for rng in ranges for at in range(rng.start, rng.stop)]
    assert covered == list(range(length))


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_such_piece(index: int) -> None:
    with pytest.raises(IndexError):
        pieces.piece_range(index, 250, 100)


def test_the_last_piece_is_short() -> None:
    assert pieces.piece_range(2, 250, 100) == ByteRange(200, 250)


@given(length=st.integers(0, 900), start=st.integers(0, 1000), size=st.integers(1, 400))
def test_pieces_of_a_range(length: int, start: int, size: int) -> None:
    rng = ByteRange(start, start + size)
    first, count = pieces.pieces_of(rng, length, 64)
    expected = sorted({at // 64 for at in range(rng.start, min(rng.stop, length))})
    assert list(range(first, first + count)) == expected


def test_nothing_past_the_end() -> None:
    assert pieces.pieces_of(ByteRange(500, 600), 450, 64) == (8, 0)


@given(first=st.integers(0, 80), count=st.integers(0, 80), have=bitmaps)
def test_bits_and_has_all(first: int, count: int, have: int) -> None:
    wanted = set(range(first, first + count))
    assert _numbers(pieces.bits(first, count)) == wanted
    assert pieces.has_all(have, first, count) == (wanted <= _numbers(have))


@given(bitmap=bitmaps, start=st.integers(0, 100))
def test_lowest(bitmap: int, start: int) -> None:
    assert pieces.lowest(bitmap, start) == min((i for i in _numbers(bitmap) if i >= start), default=None)


@given(bitmap=bitmaps, first=st.integers(0, 100))
def test_run_length(bitmap: int, first: int) -> None:
    numbers, at = _numbers(bitmap), first
    while at in numbers:
        at += 1
    assert pieces.run_length(bitmap, first) == at - first


@given(have=bitmaps, count=st.integers(0, 90), start=st.integers(0, 100))
def test_missing_runs(have: int, count: int, start: int) -> None:
    runs = list(pieces.missing_runs(have, count, start))
    listed = [i for first, length in runs for i in range(first, first + length)]
    assert listed == [i for i in range(start, count) if i not in _numbers(have)]
    ends = [first + length for first, length in runs]
    assert all(length > 0 for _, length in runs)
    assert all(end < first for end, (first, _) in zip(ends, runs[1:], strict=False))


def _numbers(bitmap: int) -> set[int]:
    return {i for i in range(bitmap.bit_length()) if bitmap >> i & 1}
