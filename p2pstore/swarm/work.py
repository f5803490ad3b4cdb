"""A lease as its lessee sees it: what it covers, and what of it is still to come. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from p2pstore.swarm.messages import HeldLease
from p2pstore.swarm.pieces import bits, lowest
from p2pstore.swarm.shape import STRIPE_PIECES, Shape
from p2pstore.swarm.terms import Fence
from p2pstore.types import Version


@dataclass(slots=True)
class Work:
    """`left` is negative while the end is unknown; no version: the URL is being opened. `told_at`: the last report."""

    ver: Version | None
    first: int
    count: int
    left: int
    size_bytes: int = 0
    told_at: float = float("-inf")

    @property
    def ending(self) -> bool:
        """Whether the last piece is coming in."""
        return self.left > 0 and self.left.bit_count() == 1

    def opened(self, ver: Version, shape: Shape, have: int) -> None:
        """The opening read goes on with the first stripe, or with all that can't be cut."""
        self.ver, self.first = ver, 0
        self.count = 0 if shape.whole else min(STRIPE_PIECES, shape.all.bit_count())
        self.left = (shape.all if shape.whole else bits(0, self.count)) & ~have

    def revoked(self) -> int:
        """Only the piece that is coming in is left; its bitmap, 0 when none is. A whole read leaves none."""
        piece = lowest(self.left) if self.left > 0 and self.size_bytes and self.count else None
        self.left = 0 if piece is None else 1 << piece
        return self.left

    def held(self, fence: Fence) -> HeldLease:
        """The lease as a referee is told of it."""
        return HeldLease(fence, self.first, self.count, max(self.left, 0))
