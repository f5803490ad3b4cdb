"""Numbers out of bitmaps and back, and a few of them at random. Pure; the work is bounded by what is taken, not by the object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from p2pstore.swarm.pieces import bits, lowest

if TYPE_CHECKING:
    from random import Random

WINDOW_PIECES: Final = 256
"""Pieces listed at once; a reader behind the cursor waits for one of the first of them."""


def bitmap_of(indexes: Iterable[int]) -> int:
    """The bitmap of these pieces."""
    bitmap = 0
    for index in indexes:
        bitmap |= 1 << index
    return bitmap


def indexes(bitmap: int) -> list[int]:
    """The pieces of a bitmap in file order."""
    digits = bin(bitmap)[:1:-1]
    found = []
    at = digits.find("1")
    while at >= 0:
        found.append(at)
        at = digits.find("1", at + 1)
    return found


def sample_window(bitmap: int, start: int, count: int, rng: Random) -> list[int]:
    """Up to `count` pieces among the WINDOW_PIECES from `start` on, each as likely, in random order."""
    window = indexes((bitmap >> start) & bits(0, WINDOW_PIECES))
    return [start + index for index in rng.sample(window, min(count, len(window)))]


def sample_any(bitmap: int, count: int, rng: Random) -> list[int]:
    """Up to `count` pieces of the whole bitmap: each the first one at or after a random place.

    A piece after a gap is likelier than its neighbours, which is cheaper than listing thousands and harms nobody.
    """
    taken: list[int] = []
    while bitmap and len(taken) < count:
        index = lowest(bitmap, rng.randrange(bitmap.bit_length()))
        assert index is not None
        taken.append(index)
        bitmap ^= 1 << index
    return taken
