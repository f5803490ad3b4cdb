"""What the origin's first answer says about a version: how long it is and how it may be read. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from p2pstore.swarm.pieces import bits, piece_bytes, piece_count
from p2pstore.types import ByteRange

STRIPE_PIECES: Final = 4
"""One origin request: with the smallest pieces 1 MiB."""
INLINE_BYTES: Final = 64 << 10
"""An object up to this size travels inside the referee's answer."""
MAX_PIECES: Final = 1 << 20
"""16 TiB in the largest pieces; a bitmap with a higher bit is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """`length` is None while only the end of the answer will tell; `validator` is a strong one, or empty."""

    length: int | None
    ranges: bool
    validator: str
    streamed: bool = False
    """The length was learnt with the end: pieces stay as they were cut without it."""

    @property
    def piece_bytes(self) -> int:
        """The piece size; it depends on the length alone, as far as that was known when the first piece was cut."""
        return piece_bytes(None if self.streamed else self.length)

    def ended(self, length: int) -> Shape:
        """The same when the end of a stream told its length."""
        return replace(self, length=length, streamed=True)

    @property
    def all(self) -> int:
        """The bitmap of all pieces; while the length is unknown every bit is set, so that none of it is ever all."""
        return -1 if self.length is None else bits(0, piece_count(self.length, self.piece_bytes))

    @property
    def whole(self) -> bool:
        """Whether one request must bring all of it: no ranges, no length, or nothing that ties two answers together."""
        return self.length is None or not self.ranges or not self.validator

    @property
    def repeatable(self) -> bool:
        """Whether a second read is known to bring the same bytes."""
        return bool(self.validator)

    @property
    def small(self) -> bool:
        """Whether it is one piece at most: fetched once and passed on without want-lists."""
        return self.length is not None and self.length <= self.piece_bytes

    def span(self, first: int, count: int) -> ByteRange | None:
        """The bytes of a span of pieces; None for everything, which is what a whole read and an empty object ask for."""
        if self.whole or self.length is None or self.length == 0:
            return None
        return ByteRange(first * self.piece_bytes, min((first + count) * self.piece_bytes, self.length))
