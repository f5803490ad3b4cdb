"""Which bytes to ask for next: the bookkeeping of one object's download. Pure; calls come in, spans go out.

The rule: a piece is in `have`, or in exactly one active span, or free. A span is what one stream fetches with one
request, in order. Streams come and go as they like; whatever a span leaves undone when it ends is free again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pstore.swarm.pieces import bits, has_all, lowest, piece_count, piece_range, pieces_of, run_length
from p2pstore.types import ByteRange

MAX_READERS: Final = 1024
"""Readers whose position counts at one time; one more is served too, but in file order."""
SPLIT_PIECES: Final = 4
"""A span is cut for a blocked reader only when that saves at least this many pieces of waiting: the cut costs a
connection, because bytes that were asked for must be thrown away."""
TAKE_OVER_PIECES: Final = 16
"""A span is cut for an idle stream only when its own stream has at least this many pieces to begin. Spans shrink towards the
end, so only a stream that is much slower than the others has that many then."""


@dataclass(frozen=True, slots=True)
class Span:
    """Pieces for one stream to fetch in order: `count` pieces from `first` on.

    `number` tells spans apart that cover the same pieces at different times.
    """

    first: int
    count: int
    number: int = 0


@dataclass(slots=True)
class _Active:
    """What is left of a span: its present end, and how far its stream is known to have begun."""

    first: int
    stop: int
    begun: int


@dataclass(slots=True)
class _Reader:
    first: int
    count: int
    blocked: bool


class Download:
    """The pieces of one object: which are there, which are being fetched by whom, and which come next.

    `streams` is the number of requests meant to run at once and `request_bytes` the most that one asks for; both
    shape spans and bound nothing else. A stream that does not say what it has begun may be up to `ahead_pieces` past
    the first piece that it has not done. State is bounded by the piece count, the active spans and MAX_READERS.
    """

    def __init__(
        self,
        length: int,
        piece_bytes: int,
        *,
        have: int = 0,
        streams: int,
        request_bytes: int,
        ahead_pieces: int = 2,
    ) -> None:
        self.length = length
        self.piece_bytes = piece_bytes
        self.count = piece_count(length, piece_bytes)
        self._all = bits(0, self.count)
        if have & ~self._all:
            raise ValueError(f"have names pieces that {length} bytes do not hold")
        self.have = have
        """Bitmap of the pieces that are verified and written; grows only."""
        self.missing_bytes = length - self._bytes_of(have)
        self._free = self._all & ~have
        self._active: dict[int, _Active] = {}
        self._readers: dict[int, _Reader] = {}
        self._streams = max(streams, 1)
        self._ahead_pieces = max(ahead_pieces, 1)
        self._request_pieces = max(request_bytes // piece_bytes, 1)
        self._numbers = 0

    @property
    def done(self) -> bool:
        """Whether every piece is there."""
        return self.have == self._all

    def next_span(self) -> Span | None:
        """What a free stream fetches now, or None when there is nothing for it; the span is active from here on.

        A blocked reader's first missing piece comes before everything else, readers taking turns; then file order from
        the lowest reader's position. When nothing is free, half of what another stream has not begun is taken over.
        """
        first = self._urgent_piece()
        if first is None:
            first = self._next_in_order()
        if first is None:
            first = self._split_largest()
        return None if first is None else self.claim(first, self._most_pieces())

    def claim(self, first: int, count: int) -> Span | None:
        """Take pieces from `first` on for an answer that is coming in already; None when that one is not free.

        At most `count` pieces, and only as far as they are free. The span is active like any other.
        """
        count = min(run_length(self._free, first), count)
        if count < 1:
            return None
        self._free &= ~bits(first, count)
        self._numbers += 1
        self._active[self._numbers] = _Active(first, first + count, first)
        return Span(first, count, self._numbers)

    def span_limit(self, span: Span, begun: int = 0) -> int:
        """How many pieces of the span are its stream's: fewer than `span.count` after another stream took some over.

        `begun` is how many pieces the stream has begun to receive, the one it is about to begin included: up to there
        nothing is taken. A stream asks before each piece and ends the request at the limit. 0 for a span that ended.
        """
        active = self._active.get(span.number)
        if active is None:
            return 0
        active.begun = max(active.begun, min(span.first + begun, active.stop))
        return active.stop - active.first

    def piece_done(self, index: int) -> bool:
        """A piece is verified and written, whoever fetched it; False when it was there already."""
        if self.have >> index & 1:
            return False
        self.missing_bytes -= len(piece_range(index, self.length, self.piece_bytes))
        self.have |= 1 << index
        self._free &= ~(1 << index)
        return True

    def span_ended(self, span: Span) -> None:
        """The stream is through with the span, whatever the reason: its missing pieces are free again.

        To be called when every piece that came in is done or dropped, or another stream fetches it once more.
        """
        active = self._active.pop(span.number, None)
        if active is not None:
            self._free |= bits(active.first, active.stop - active.first) & ~self.have

    def wait_for(self, reader: int, rng: ByteRange) -> bool:
        """Whether all of the range is there; if not, `reader` is blocked and its missing pieces are urgent.

        Either way the range is the reader's position from now on, until `forget`. Bytes past the end are there.
        """
        first, count = pieces_of(rng, self.length, self.piece_bytes)
        there = has_all(self.have, first, count)
        if reader in self._readers or len(self._readers) < MAX_READERS:
            self._readers[reader] = _Reader(first, count, not there)
        return there

    def forget(self, reader: int) -> None:
        """The reader is gone: its position and its urgency count no more."""
        self._readers.pop(reader, None)

    def ready(self, rng: ByteRange) -> bool:
        """Whether all of the range is there; changes nothing."""
        return has_all(self.have, *pieces_of(rng, self.length, self.piece_bytes))

    def check(self) -> None:
        """Assert the invariants: each piece is in exactly one place, and the sums agree."""
        assigned = 0
        for active in self._active.values():
            assert 0 <= active.first <= active.begun <= active.stop <= self.count
            assert active.first < active.stop
            mask = bits(active.first, active.stop - active.first)
            assert not assigned & mask, "a piece is in two spans"
            assigned |= mask
        assert not self._free & (assigned | self.have), "a free piece is assigned or there"
        assert self._free | assigned | self.have == self._all, "a piece is lost"
        assert self.missing_bytes == self.length - self._bytes_of(self.have)
        assert len(self._readers) <= MAX_READERS

    def _urgent_piece(self) -> int | None:
        """A free piece that a blocked reader waits for; the reader goes to the end of the queue."""
        for name, reader in self._readers.items():
            if not reader.blocked:
                continue
            wanted = bits(reader.first, reader.count) & ~self.have
            first = lowest(wanted)
            if first is None:
                reader.blocked = False
                continue
            if not self._free >> first & 1:
                self._cut_for_reader(first)
            free = lowest(wanted & self._free)
            if free is not None:
                self._readers[name] = self._readers.pop(name)
                return free
        return None

    def _next_in_order(self) -> int | None:
        cursor = min((reader.first for reader in self._readers.values()), default=0)
        ahead = lowest(self._free, cursor)
        return lowest(self._free) if ahead is None else ahead

    def _split_largest(self) -> int | None:
        """Free the second half of what the least advanced stream has not begun; the first piece of it."""
        largest = max(self._active.values(), key=self._waiting_pieces, default=None)
        if largest is None or self._waiting_pieces(largest) < TAKE_OVER_PIECES:
            return None
        waiting = self._waiting_from(largest)
        self._cut(largest, waiting + (largest.stop - waiting + 1) // 2)
        return lowest(self._free)

    def _cut_for_reader(self, first: int) -> None:
        """Free an assigned piece, and what follows it in its span, when its stream will not come to it soon."""
        for active in self._active.values():
            if self._waiting_from(active) + SPLIT_PIECES <= first < active.stop:
                self._cut(active, first)
                return

    def _cut(self, active: _Active, stop: int) -> None:
        self._free |= bits(stop, active.stop - stop) & ~self.have
        active.stop = stop

    def _waiting_from(self, active: _Active) -> int:
        """The first piece of a span that its stream has surely not begun: it receives while it still verifies."""
        missing = bits(active.first, active.stop - active.first) & ~self.have
        at = lowest(missing)
        return active.stop if at is None else min(max(active.begun, at + self._ahead_pieces), active.stop)

    def _waiting_pieces(self, active: _Active) -> int:
        return active.stop - self._waiting_from(active)

    def _most_pieces(self) -> int:
        """Spans shrink towards the end, so that the last ones of all streams end together."""
        share = -(-self.missing_bytes // (2 * self._streams * self.piece_bytes))
        return min(self._request_pieces, max(share, 1))

    def _bytes_of(self, bitmap: int) -> int:
        size_bytes = bitmap.bit_count() * self.piece_bytes
        if self.count and bitmap >> (self.count - 1) & 1:
            size_bytes -= self.count * self.piece_bytes - self.length
        return size_bytes
