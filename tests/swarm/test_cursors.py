"""Readers: whose piece is urgent, whose turn it is, and where the window begins."""

from __future__ import annotations

from p2pstore.swarm.cursors import MAX_READERS, MAX_URGENT, Cursors
from p2pstore.swarm.pieces import bits
from p2pstore.types import ByteRange

PIECE = 100
ALL = bits(0, 40)


def pieces(first: int, count: int) -> ByteRange:
    return ByteRange(first * PIECE, (first + count) * PIECE)


def make() -> Cursors:
    return Cursors(40 * PIECE, PIECE)


def test_a_blocked_reader_is_urgent_until_its_range_is_there() -> None:
    cursors = make()
    assert not cursors.wait_for(1, pieces(10, 2), have=0)
    assert cursors.urgent(ALL) == [10]
    assert cursors.urgent(ALL & ~bits(10, 1)) == [11]
    cursors.stored(bits(10, 1))
    assert cursors.urgent(ALL & ~bits(10, 1)) == [11]
    cursors.stored(bits(10, 2))
    assert cursors.urgent(ALL) == []


def test_a_reader_that_has_its_range_is_not_urgent() -> None:
    cursors = make()
    assert cursors.wait_for(1, pieces(10, 2), have=bits(10, 2))
    assert cursors.urgent(ALL) == []
    assert cursors.lowest(ALL) == 10


def test_readers_take_turns() -> None:
    cursors = make()
    cursors.wait_for(1, pieces(10, 5), have=0)
    cursors.wait_for(2, pieces(30, 5), have=0)
    assert cursors.urgent(ALL) == [10, 30]
    cursors.took(10)
    assert cursors.urgent(ALL & ~bits(10, 1)) == [30, 11]


def test_the_window_begins_at_the_lowest_reader_and_wraps() -> None:
    cursors = make()
    assert cursors.lowest(ALL & ~bits(0, 3)) == 3
    cursors.wait_for(1, pieces(20, 1), have=0)
    cursors.wait_for(2, pieces(30, 1), have=0)
    assert cursors.lowest(ALL) == 20
    assert cursors.lowest(bits(2, 5)) == 2
    assert cursors.lowest(0) == 0
    cursors.forget(1)
    assert cursors.lowest(ALL) == 30


def test_readers_and_urgent_pieces_are_bounded() -> None:
    cursors = make()
    for reader in range(MAX_READERS):
        cursors.wait_for(reader, pieces(reader % 40, 1), have=0)
    assert not cursors.wait_for(MAX_READERS, pieces(0, 1), have=0)
    assert len(cursors.urgent(ALL)) == MAX_URGENT
    for reader in range(MAX_READERS):
        cursors.forget(reader)
    assert cursors.urgent(ALL) == [], "the reader too many was remembered"
