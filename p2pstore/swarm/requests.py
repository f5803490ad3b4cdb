"""The requests of one version that are out, and which pieces each of them locks. Pure bookkeeping.

The rule: a piece is locked by at most one request, or in the endgame by exactly two. A request locks its whole want-list
until the server says what it sends, then that, then what of it has not come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from p2pstore.types import NodeId

MAX_REQUESTS: Final = 8
"""Requests out at once (tests/simulation: with 4 it takes 12 % longer)."""
MAX_SINGLE_REQUESTS: Final = 6
"""Requests out at once while each brings one piece: with 8 half as many again are refused, and it takes 1 % longer."""
MAX_REQUESTS_PER_PEER: Final = 2
MAX_WANT: Final = 32
"""Pieces of one want-list, for the server to choose from."""
MAX_ANSWER: Final = 8
"""Pieces that one request is answered with."""


@dataclass(slots=True)
class Request:
    """A want-list that went out. `left` is what it still locks; `heard_at` when its server last gave a sign of life."""

    rid: int
    peer: NodeId
    most: int
    """Pieces the server may send."""
    want: int
    left: int
    sent_at: float
    heard_at: float
    patience_s: float
    """How long a silence is endured."""
    piece_s: float
    """Seconds that a piece of it is expected to take; 0.0 for unknown."""
    accepted: bool = False
    began_at: float = 0.0
    """When the piece that comes now began: at ACCEPT, then at the end of the one before."""
    duplicate: bool = False
    brought: bool = False
    """Whether a right piece of it came."""


class Requests:
    """The open requests, by their number; numbers are never used again."""

    def __init__(self) -> None:
        self.pending = 0
        """Bitmap of what is locked by any request."""
        self.twice = 0
        """Bitmap of what is locked by two."""
        self._open: dict[int, Request] = {}
        self._last = 0

    def __iter__(self) -> Iterator[Request]:
        return iter(self._open.values())

    def __len__(self) -> int:
        return len(self._open)

    def get(self, rid: int, peer: NodeId) -> Request | None:
        """The open request of this number, if it went to this peer."""
        request = self._open.get(rid)
        return request if request is not None and request.peer == peer else None

    def of(self, peer: NodeId) -> list[Request]:
        """The open requests to a peer."""
        return [request for request in self._open.values() if request.peer == peer]

    def open(
        self,
        peer: NodeId,
        want: int,
        most: int,
        now: float,
        *,
        patience_s: float,
        piece_s: float = 0.0,
        duplicate: bool = False,
    ) -> Request:
        """Lock a want-list: free pieces, or for a duplicate one piece that one other request has locked."""
        assert not want & self.twice and bool(want & self.pending) == duplicate
        self._last += 1
        request = Request(self._last, peer, most, want, want, now, now, patience_s, piece_s, began_at=now)
        request.duplicate = duplicate
        self._open[request.rid] = request
        self.twice |= self.pending & want
        self.pending |= want
        return request

    def narrow(self, request: Request, left: int) -> None:
        """Unlock all but `left` of what the request locks; it stays open."""
        self._unlock(request.left & ~left)
        request.left &= left

    def close(self, request: Request) -> None:
        """The request is over: nothing of it stays locked."""
        if self._open.pop(request.rid, None) is not None:
            self._unlock(request.left)
            request.left = 0

    def with_piece(self, index: int) -> list[Request]:
        """The requests that lock a piece: none, one or two."""
        return [request for request in self._open.values() if request.left >> index & 1]

    def check(self) -> None:
        """Assert that the locks are exactly what the open requests lock, and the limits."""
        once = twice = repeated = 0
        for request in self._open.values():
            assert not request.left & twice, "a piece is in three requests"
            assert not request.left & ~request.want, "a request locks what it does not want"
            assert request.want.bit_count() <= MAX_WANT and 1 <= request.most <= MAX_ANSWER
            twice |= once & request.left
            once |= request.left
            repeated |= request.left if request.duplicate else 0
        assert not twice & ~repeated, "a piece was asked twice outside the endgame"
        assert (once, twice) == (self.pending, self.twice), "locks leak"
        assert len(self._open) <= MAX_REQUESTS
        for peer in {request.peer for request in self._open.values()}:
            assert len(self.of(peer)) <= MAX_REQUESTS_PER_PEER

    def _unlock(self, bitmap: int) -> None:
        self.pending &= ~(bitmap & ~self.twice)
        self.twice &= ~bitmap
