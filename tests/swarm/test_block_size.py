"""The size of a block follows the rate."""

from __future__ import annotations

import pytest

from p2pstore.swarm.block_size import WINDOW_S, BlockSize

UNIT, MOST = 256 << 10, 1 << 20


def after(rate_bytes_per_s: float, seconds: float = 1.0, size: BlockSize | None = None) -> BlockSize:
    size = size or BlockSize(UNIT, MOST)
    now = 100.0
    while now < 100.0 + seconds:
        now += size.next_bytes / rate_bytes_per_s
        size.filled(size.next_bytes, now)
    return size


def test_the_first_block_is_a_unit() -> None:
    assert BlockSize(UNIT, MOST).next_bytes == UNIT


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(1e3, UNIT), (UNIT / WINDOW_S * 0.9, UNIT), (UNIT / WINDOW_S * 1.9, 2 * UNIT), (UNIT / WINDOW_S * 3.5, MOST), (1e10, MOST)],
)  # fmt: skip
def test_a_block_holds_what_a_window_brings(rate: float, expected: int) -> None:
    assert after(rate).next_bytes == expected


def test_it_shrinks_again_when_bytes_come_slowly() -> None:
    size = after(1e9)
    assert size.next_bytes == MOST
    assert after(1e5, 20.0, size).next_bytes == UNIT


def test_a_pause_counts_once() -> None:
    size = after(1e9)
    size.filled(MOST, 1000.0)
    assert size.next_bytes == UNIT
    size.filled(UNIT, 1000.0 + WINDOW_S / 2)
    size.filled(8 * UNIT, 1000.0 + WINDOW_S * 1.5)
    assert size.next_bytes == MOST


def test_a_unit_as_large_as_the_most_stays() -> None:
    assert after(1e3, 5000.0, BlockSize(MOST, MOST)).next_bytes == MOST
