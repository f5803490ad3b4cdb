"""Blocks are used again, within one bound for all."""

from __future__ import annotations

from p2pstore.storage.blocks import Blocks

KIB = 1 << 10


def _take(blocks: Blocks, size: int, *, must: bool = False) -> memoryview:
    block = blocks.take(size, must=must)
    assert block is not None
    return block


def test_a_block_is_used_again() -> None:
    blocks = Blocks()
    block = _take(blocks, KIB)
    block[0] = 7
    blocks.give_back(block)
    assert _take(blocks, KIB) is block
    assert blocks.lent_bytes == KIB


def test_the_bound_holds_but_for_those_that_must() -> None:
    blocks = Blocks(max_bytes=2 * KIB)
    taken = [_take(blocks, KIB), _take(blocks, KIB)]
    assert blocks.take(KIB, must=False) is None
    taken.append(_take(blocks, KIB, must=True))
    for block in taken:
        blocks.give_back(block)
    assert blocks.lent_bytes == 0


def test_blocks_of_another_size_make_room() -> None:
    blocks = Blocks(max_bytes=4 * KIB, kept_bytes=4 * KIB)
    small = [_take(blocks, KIB) for _ in range(4)]
    for block in small:
        blocks.give_back(block)
    large = _take(blocks, 4 * KIB)
    assert len(large) == 4 * KIB
    assert blocks.take(KIB, must=False) is None


def test_little_is_kept_between_loads() -> None:
    blocks = Blocks(max_bytes=8 * KIB, kept_bytes=2 * KIB)
    taken = [_take(blocks, KIB) for _ in range(8)]
    for block in taken:
        blocks.give_back(block)
    assert blocks._free_bytes == 2 * KIB


def test_whoever_waits_is_told_in_turn() -> None:
    blocks = Blocks(max_bytes=2 * KIB)
    taken = [_take(blocks, KIB), _take(blocks, KIB)]
    told: list[str] = []
    blocks.wait(lambda: told.append("first"))
    blocks.wait(lambda: told.append("second"))
    blocks.give_back(taken[0])
    assert told == ["first"]
    blocks.give_back(taken[1])
    assert told == ["first", "second"]
