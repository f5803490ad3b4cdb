"""What a node serves to whom and in which order: slots, a short queue, refusals, and the server's choice. Pure.

The rule: slots, queue and waiting time are the node's, not a version's. Of what a peer wants, it is sent what was sent
least often before. What cannot be served soon is refused at once, with the time to wait.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from p2pstore.swarm.decisions import Abort, Accept, Busy, Served
from p2pstore.swarm.pieces import bits, piece_count, piece_range
from p2pstore.swarm.rates import UploadRate
from p2pstore.swarm.requests import MAX_ANSWER, MAX_REQUESTS_PER_PEER, MAX_WANT
from p2pstore.types import NodeId, Version

MIN_SLOTS: Final = 2
MAX_SLOTS: Final = 8
SLOT_S: Final = 0.1
"""As many uploads at once as pieces leave in this time: what counts is how soon a piece is whole and passed on."""
MAX_QUEUE: Final = 4
"""Requests that wait for a slot."""
BUDGET_S: Final = 1.0
"""A peer may have so much of the node's upload time promised to it; one piece in any case."""
UPLOAD_STALL_S: Final = 10.0
"""An answer of which a peer takes nothing for so long is ended."""


class Shelf:
    """What a node has of one version, and how often it sent each piece. Owned by whoever owns the version's swarm."""

    def __init__(self, ver: Version, length: int, piece_bytes: int, have: int = 0) -> None:
        self.ver = ver
        self.length = length
        self.piece_bytes = piece_bytes
        self.count = piece_count(length, piece_bytes)
        self.have = have & bits(0, self.count)
        """Bitmap of verified and stored pieces: nothing else is ever served."""
        self._served = bytearray(self.count)

    def verified(self, index: int) -> None:
        """A piece was verified and stored. Raises IndexError."""
        if not 0 <= index < self.count:
            raise IndexError(f"no piece {index} of {self.count}")
        self.have |= 1 << index

    def dropped(self, pieces: int) -> None:
        """Pieces were removed from the store, or turned out to be wrong; uploads that began go on."""
        self.have &= ~pieces

    def served(self, index: int) -> int:
        """How often a piece was promised, in proportion to the others."""
        return self._served[index]

    def size_of(self, index: int) -> int:
        """Bytes of a piece."""
        return len(piece_range(index, self.length, self.piece_bytes))

    def promise(self, index: int) -> None:
        """Count a piece as sent. Counts that would not fit in a byte are halved, all of them: only their order matters."""
        if self._served[index] == 255:
            self._served = bytearray(count >> 1 for count in self._served)
        self._served[index] += 1


@dataclass(slots=True)
class _Upload:
    """A request that was admitted; `taken` and what is left of it when its turn has come."""

    peer: NodeId
    rid: int
    shelf: Shelf
    want: tuple[int, ...]
    most: int
    first: bool
    taken: tuple[int, ...] = ()
    left_bytes: int = 0
    moved_at: float = 0.0


class Serving:
    """One node's uploads: at most MAX_SLOTS at once and MAX_QUEUE waiting, at most two of one peer.

    `cap` is the most bytes per second that may be uploaded, 0.0 for no limit of our own. Times are monotonic seconds.
    """

    def __init__(self, cap: float = 0.0) -> None:
        self._rate = UploadRate(cap)
        self._active: dict[tuple[NodeId, int], _Upload] = {}
        self._queue: deque[_Upload] = deque()
        self._turns: dict[Version, int] = {}
        self._turn = 0

    @property
    def rate(self) -> float:
        """Bytes per second that this node uploads when it is busy; 0.0 while unknown."""
        return self._rate.bytes_per_s

    @property
    def wait_s(self) -> float:
        """Seconds until what is promised and waiting has been sent; 0.0 while the rate is unknown."""
        return self._backlog_bytes() / self.rate if self.rate else 0.0

    @property
    def active(self) -> int:
        """Uploads that are going on."""
        return len(self._active)

    @property
    def queued(self) -> int:
        """Requests that wait for a slot."""
        return len(self._queue)

    def set_cap(self, cap: float) -> None:
        """Change the limit on uploads, in bytes per second; 0.0 for none."""
        self._rate.cap = cap

    def want(
        self,
        peer: NodeId,
        rid: int,
        shelf: Shelf,
        pieces: tuple[int, ...],
        most: int,
        now: float,
        *,
        first: bool = False,
    ) -> list[Served]:
        """A peer wants any `most` of these pieces; with `first`, the first of them in any case.

        The same request once more is not heard. Beyond a peer's two requests, and without room, it is refused.
        """
        waiting = [one for one in self._queue if one.peer == peer]
        if (peer, rid) in self._active or any(one.rid == rid for one in waiting):
            return []
        known = dict.fromkeys(index for index in pieces[:MAX_WANT] if 0 <= index < shelf.count)
        upload = _Upload(peer, rid, shelf, tuple(known), min(max(most, 1), MAX_ANSWER), first)
        uploads = sum(one.peer == peer for one in self._active.values())
        if uploads + len(waiting) >= MAX_REQUESTS_PER_PEER:
            return [Busy(peer, rid, self.wait_s)]
        if len(self._active) < self._slots(shelf) and not self._queue:
            return [self._start(upload, now)]
        if len(self._queue) < MAX_QUEUE:
            self._queue.append(upload)
            return []
        return [Busy(peer, rid, self.wait_s)]

    def sent(self, peer: NodeId, rid: int, size_bytes: int, now: float) -> None:
        """Bytes of an upload left the node."""
        upload = self._active.get((peer, rid))
        if upload is not None:
            upload.left_bytes = max(upload.left_bytes - size_bytes, 0)
            upload.moved_at = now
        self._rate.sent(size_bytes, now, full=self._full())

    def ended(self, peer: NodeId, rid: int, now: float) -> list[Served]:
        """An upload is over, complete or not; whoever waits has the slot."""
        self._active.pop((peer, rid), None)
        return self._next(now)

    def cancel(self, peer: NodeId, rid: int, pieces: int, now: float) -> tuple[int, ...]:
        """A peer does not want these pieces any more: what of the answer is to be sent still, in its order.

        The caller leaves out what it has not begun. A request that waits is forgotten when nothing is left of it.
        """
        upload = self._active.get((peer, rid))
        if upload is not None:
            kept = tuple(index for index in upload.taken if not pieces >> index & 1)
            gone = sum(upload.shelf.size_of(index) for index in upload.taken if pieces >> index & 1)
            upload.taken, upload.left_bytes = kept, max(upload.left_bytes - gone, 0)
            return kept
        for waiting in [one for one in self._queue if (one.peer, one.rid) == (peer, rid)]:
            waiting.want = tuple(index for index in waiting.want if not pieces >> index & 1)
            if not waiting.want:
                self._queue.remove(waiting)
        return ()

    def gone(self, peer: NodeId, now: float) -> list[Served]:
        """The peer is dead or its connections are: nothing of it is served or waits."""
        for pair in [pair for pair in self._active if pair[0] == peer]:
            del self._active[pair]
        self._queue = deque(one for one in self._queue if one.peer != peer)
        return self._next(now)

    def timer(self) -> float | None:
        """When `expire` has something to do if nothing is sent until then."""
        return min((one.moved_at + UPLOAD_STALL_S for one in self._active.values()), default=None)

    def expire(self, now: float) -> list[Served]:
        """End the uploads of which nothing was taken for UPLOAD_STALL_S, and give their slots away."""
        decisions: list[Served] = []
        for pair in [pair for pair, one in self._active.items() if now >= one.moved_at + UPLOAD_STALL_S]:
            del self._active[pair]
            decisions.append(Abort(*pair))
        return decisions + self._next(now)

    def check(self) -> None:
        """Assert the limits."""
        assert len(self._active) <= MAX_SLOTS and len(self._queue) <= MAX_QUEUE
        requests = [*self._active, *((one.peer, one.rid) for one in self._queue)]
        assert len(set(requests)) == len(requests)
        for peer in {pair[0] for pair in requests}:
            assert sum(pair[0] == peer for pair in requests) <= MAX_REQUESTS_PER_PEER
        assert all(one.left_bytes >= 0 for one in self._active.values())

    def _slots(self, shelf: Shelf) -> int:
        return min(max(round(SLOT_S * self.rate / shelf.piece_bytes), MIN_SLOTS), MAX_SLOTS)

    def _full(self) -> bool:
        """Whether as many uploads go on as the node has slots for: then its rate is all that it has."""
        return any(len(self._active) >= self._slots(one.shelf) for one in self._active.values())

    def _backlog_bytes(self) -> int:
        waiting = sum(min(one.most, len(one.want)) * one.shelf.piece_bytes for one in self._queue)
        return waiting + sum(one.left_bytes for one in self._active.values())

    def _next(self, now: float) -> list[Served]:
        """Start what waits while there are slots: versions take turns, the oldest request of one comes first."""
        started: list[Served] = []
        while self._queue:
            upload = min(self._queue, key=lambda one: self._turns.get(one.shelf.ver, 0))
            if len(self._active) >= self._slots(upload.shelf):
                break
            self._queue.remove(upload)
            started.append(self._start(upload, now))
        return started

    def _start(self, upload: _Upload, now: float) -> Accept:
        shelf = upload.shelf
        self._turn += 1
        waiting = {one.shelf.ver for one in self._queue}
        self._turns = {ver: turn for ver, turn in self._turns.items() if ver in waiting}
        self._turns[shelf.ver] = self._turn
        upload.taken = self._take(upload)
        for index in upload.taken:
            shelf.promise(index)
        upload.left_bytes = sum(map(shelf.size_of, upload.taken))
        upload.moved_at = now
        if upload.taken:
            if not self._active:
                self._rate.begin(now)
            self._active[upload.peer, upload.rid] = upload
        return Accept(upload.peer, upload.rid, shelf.ver, upload.taken, self.wait_s, self.rate)

    def _take(self, upload: _Upload) -> tuple[int, ...]:
        """Of what is wanted and here, what was sent least often; while others wait, nothing that was sent more often."""
        shelf = upload.shelf
        mine = [index for index in upload.want if shelf.have >> index & 1]
        order = sorted(mine, key=shelf.served)
        taken = order[: self._affordable(upload)]
        if taken and self._queue:
            taken = [index for index in taken if shelf.served(index) == shelf.served(taken[0])]
        if upload.first and mine and mine[0] == upload.want[0]:
            taken = [mine[0], *(index for index in taken if index != mine[0])][: max(len(taken), 1)]
        return tuple(taken)

    def _affordable(self, upload: _Upload) -> int:
        """Pieces that the request may have within its peer's budget."""
        promised = sum(one.left_bytes for one in self._active.values() if one.peer == upload.peer)
        rest = int(BUDGET_S * self.rate) - promised
        return min(upload.most, max(rest // upload.shelf.piece_bytes, 1))
