"""A lease at its lessee: what opening, revoking and the last piece make of it."""

from __future__ import annotations

import pytest

from p2pstore.swarm.messages import HeldLease
from p2pstore.swarm.shape import Shape
from p2pstore.swarm.terms import NO_TERM, Fence
from p2pstore.swarm.work import Work
from p2pstore.types import Version

V = Version("v")
PIECE = 256 << 10


@pytest.mark.parametrize(
    ("shape", "count", "left"),
    [
        (Shape(length=10 * PIECE, ranges=True, validator="v"), 4, 0b1110),
        (Shape(length=2 * PIECE, ranges=True, validator="v"), 2, 0b10),
        (Shape(length=6 * PIECE, ranges=False, validator="v"), 0, 0b111110),
        (Shape(length=None, ranges=True, validator="v"), 0, -2),
        (Shape(length=0, ranges=True, validator="v"), 0, 0),
    ],
)
def test_an_opening_goes_on_with_what_is_missing(shape: Shape, count: int, left: int) -> None:
    work = Work(None, 0, 0, -1)
    work.opened(V, shape, 0b1)
    assert (work.ver, work.count, work.left) == (V, count, left)


def test_the_last_piece() -> None:
    assert Work(V, 0, 4, 0b1000).ending
    assert not Work(V, 0, 4, 0b1100).ending
    assert not Work(V, 0, 0, -1).ending


def test_a_revoked_one_keeps_what_is_coming_in() -> None:
    work = Work(V, 4, 4, 0b1100_0000, size_bytes=10)
    assert work.revoked() == work.left == 0b0100_0000
    assert Work(V, 4, 4, 0b1100_0000).revoked() == 0, "nothing had begun"
    assert Work(V, 0, 0, 0b1111, size_bytes=10).revoked() == 0, "all of it would be coming in"
    assert Work(V, 0, 0, -1, size_bytes=10).revoked() == 0


def test_an_unknown_end_is_not_told() -> None:
    fence = Fence(NO_TERM, 1)
    assert Work(V, 4, 4, 0b1100_0000).held(fence) == HeldLease(fence, 4, 4, 0b1100_0000)
    assert Work(V, 0, 0, -8).held(fence) == HeldLease(fence, 0, 0, 0)
