"""Pieces: how an object is cut for transport, and sets of piece numbers as the bits of an int. Pure.

Bit i of a *bitmap* stands for piece i. As ints, unions and differences of tens of thousands of pieces cost
about a microsecond, where sets of numbers would take a whole core.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from p2pstore.types import ByteRange

MIN_PIECE_BYTES: Final = 256 << 10
MAX_PIECE_BYTES: Final = 16 << 20
UNKNOWN_LENGTH_PIECE_BYTES: Final = 4 << 20
"""Piece size when the length is not known in advance."""
TARGET_PIECES: Final = 2048
"""How many pieces an object has, between the two bounds: a piece is passed on only when it is whole."""


def piece_bytes(length: int | None) -> int:
    """The piece size for an object: a power of two that depends on its length alone, so all nodes agree."""
    if length is None:
        return UNKNOWN_LENGTH_PIECE_BYTES
    each = -(-length // TARGET_PIECES)
    return min(max(_power_of_two_above(each), MIN_PIECE_BYTES), MAX_PIECE_BYTES)


def piece_count(length: int, piece_bytes: int) -> int:
    """How many pieces there are; an empty object has none."""
    return -(-length // piece_bytes)


def piece_range(index: int, length: int, piece_bytes: int) -> ByteRange:
    """The bytes of a piece; the last one may be short. Raises IndexError when there is no such piece."""
    if not 0 <= index < piece_count(length, piece_bytes):
        raise IndexError(f"no piece {index} in {length} bytes")
    return ByteRange(index * piece_bytes, min((index + 1) * piece_bytes, length))


def pieces_of(rng: ByteRange, length: int, piece_bytes: int) -> tuple[int, int]:
    """The pieces that hold these bytes, as first and count; bytes past the end have no piece."""
    stop = min(rng.stop, length)
    if rng.start >= stop:
        return piece_count(length, piece_bytes), 0
    first = rng.start // piece_bytes
    return first, (stop - 1) // piece_bytes - first + 1


def bits(first: int, count: int) -> int:
    """The bitmap of `count` pieces from `first` on."""
    return ((1 << count) - 1) << first


def has_all(have: int, first: int, count: int) -> bool:
    """Whether all of these pieces are in the bitmap."""
    wanted = (1 << count) - 1
    return (have >> first) & wanted == wanted


def lowest(bitmap: int, start: int = 0) -> int | None:
    """The lowest piece of the bitmap that is not below `start`."""
    rest = bitmap >> start
    return start + (rest & -rest).bit_length() - 1 if rest else None


def run_length(bitmap: int, first: int) -> int:
    """How many pieces follow each other in the bitmap from `first` on, itself included."""
    rest = bitmap >> first
    return (~rest & (rest + 1)).bit_length() - 1


def missing_runs(have: int, count: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """The runs of pieces from `start` on and below `count` that `have` lacks, as (first, length) in order."""
    missing = bits(0, count) & ~have
    first = lowest(missing, start)
    while first is not None:
        run = run_length(missing, first)
        yield first, run
        first = lowest(missing, first + run)


def _power_of_two_above(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()
