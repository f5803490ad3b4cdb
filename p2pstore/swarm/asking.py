"""What a node asks of whom, for one version: want-lists to the neighbour with the least waiting. Pure; shells do the IO.

The rule: choose the neighbour first, then offer it several pieces, and let it choose those that it has sent least
often. A piece counts only when its bytes are verified. Events come in as calls; `drain` gives what is to be done now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2pstore.swarm import choosing, endgame
from p2pstore.swarm.blame import Blame, Verdict
from p2pstore.swarm.cursors import Cursors
from p2pstore.swarm.decisions import Asked, Cancel, Drop, Refresh, Want
from p2pstore.swarm.neighbours import REFRESH_S, Neighbour, Neighbours
from p2pstore.swarm.pieces import bits, piece_count, piece_range
from p2pstore.swarm.requests import MAX_REQUESTS, MAX_SINGLE_REQUESTS, MAX_WANT, Request, Requests
from p2pstore.swarm.sampling import bitmap_of
from p2pstore.types import ByteRange, NodeId, Version

if TYPE_CHECKING:
    from random import Random

NOMINAL_WEIGHT: Final = 0.1
"""The weight of the newest piece in what a piece usually takes."""


class Asking:
    """The pieces of one version that a node lacks, and whom it asks for them.

    `have` are pieces verified and stored before. Memory is bounded by MAX_NEIGHBOURS, MAX_REQUESTS and MAX_READERS, and
    by bitmaps of the piece count. All times are monotonic seconds.
    """

    def __init__(self, ver: Version, length: int, piece_bytes: int, blame: Blame, *, have: int = 0) -> None:
        self.ver = ver
        self.length = length
        self.piece_bytes = piece_bytes
        self.count = piece_count(length, piece_bytes)
        self._all = bits(0, self.count)
        if have & ~self._all:
            raise ValueError(f"have names pieces that {length} bytes do not hold")
        self.have = have
        """Bitmap of the pieces that are verified and stored."""
        self.reserved = 0
        """Bitmap of the pieces that come in another way (a lease, or nobody knows what is right): not asked for."""
        self.requests = Requests()
        self.neighbours = Neighbours(self.count)
        self.cursors = Cursors(length, piece_bytes)
        self._blame = blame
        self._picks = 0
        self._nominal_s = 0.0
        self._bars = blame.bars
        self._out: list[Asked] = []

    @property
    def missing(self) -> int:
        """Bitmap of the pieces that are not there."""
        return self._all & ~self.have

    @property
    def _free(self) -> int:
        """The pieces to be asked for: missing, on no want-list, and not coming in another way."""
        return self.missing & ~self.requests.pending & ~self.reserved

    @property
    def done(self) -> bool:
        """Whether every piece is there."""
        return self.have == self._all

    # Neighbours

    def join(self, peer: NodeId, have: int, now: float) -> bool:
        """A peer becomes a neighbour and tells what it has; False when it is barred or there is no room."""
        if self._blame.barred(self.ver, peer, now):
            return False
        neighbour = self.neighbours.join(peer)
        if neighbour is not None:
            neighbour.have = self.neighbours.real(have)
            neighbour.refresh_at = now + REFRESH_S
        return neighbour is not None

    def left(self, peer: NodeId) -> None:
        """The peer is dead, or the connection to it: what was asked of it is free at once."""
        for request in self.requests.of(peer):
            self.requests.close(request)
        self.neighbours.leave(peer)

    def heard(
        self,
        peer: NodeId,
        pieces: int,
        wait_s: float,
        rate: float,
        *,
        dropped: int = 0,
        whole: bool = False,
    ) -> None:
        """HAVE from a neighbour: new pieces, dropped ones, its wait and upload rate; `whole` replaces what it said before."""
        neighbour = self.neighbours.get(peer)
        if neighbour is not None:
            before = 0 if whole else neighbour.have
            neighbour.have = (before | self.neighbours.real(pieces)) & ~dropped
            neighbour.said(wait_s, rate)

    def restrict(self, peer: NodeId, allowed: int) -> None:
        """Ask the peer for nothing but these pieces: the rest comes into this zone through others."""
        neighbour = self.neighbours.get(peer)
        if neighbour is not None:
            neighbour.allowed = allowed

    # Answers

    def accepted(self, peer: NodeId, rid: int, pieces: int, wait_s: float, rate: float, now: float) -> None:
        """ACCEPT: what the peer will send of the want-list; the rest is free.

        An answer without pieces says that the peer has none of them any more; one with others than were offered, or too
        many, is believed as little.
        """
        request, neighbour = self.requests.get(rid, peer), self.neighbours.get(peer)
        if request is None or neighbour is None or request.accepted:
            return
        neighbour.said(wait_s, rate)
        request.accepted, request.heard_at, request.began_at = True, now, now
        request.patience_s = endgame.patience_s(neighbour, self.piece_bytes)
        if not pieces or pieces & ~request.want or pieces.bit_count() > request.most:
            neighbour.have &= ~request.want
            self._out.append(Cancel(peer, rid, request.left, close=True))
            self._close(request)
            return
        needless = pieces & self.have
        if needless:
            self._out.append(Cancel(peer, rid, needless))
        self.requests.narrow(request, pieces)
        if not request.left:
            self._close(request)

    def busy(self, peer: NodeId, rid: int, wait_s: float, now: float, rng: Random) -> None:
        """BUSY: the request is over, and the peer left alone for a moment."""
        request, neighbour = self.requests.get(rid, peer), self.neighbours.get(peer)
        if request is None or neighbour is None or request.accepted:
            return
        neighbour.said(wait_s, neighbour.rate)
        neighbour.busy_until = now + choosing.pause_s(neighbour, rng)
        self._close(request)

    def progressed(self, peer: NodeId, rid: int, now: float) -> None:
        """Bytes of an answer came in: it is not silent."""
        request = self.requests.get(rid, peer)
        if request is not None:
            request.heard_at = max(request.heard_at, now)

    def arrived(self, peer: NodeId, rid: int, index: int, verdict: Verdict, now: float) -> bool:
        """A piece came in and was judged; whether it is a new one, to be announced. Raises IndexError.

        A right one counts whoever sent it and whatever was asked. A wrong one never does: it is blamed on its sender, and
        free to be asked of others. A disputed one is reserved until `release`.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"no piece {index} of {self.count}")
        request, bit = self.requests.get(rid, peer), 1 << index
        if request is not None:
            self._measure(request, index, verdict, now)
            self.requests.narrow(request, request.left & ~bit)
        fresh = verdict is Verdict.RIGHT and self.stored(index)
        if verdict is not Verdict.RIGHT:
            self._spoilt(peer, bit, verdict, now)
        if request is not None and not request.left:
            self._close(request)
        return fresh

    def stored(self, index: int) -> bool:
        """A piece is verified and there, by whatever way; whether it is a new one. Nobody else has to send it."""
        bit = 1 << index
        fresh = not self.have & bit
        self.have |= bit
        self.reserved &= ~bit
        self.cursors.stored(self.have)
        for request in self.requests.with_piece(index):
            self.requests.narrow(request, request.left & ~bit)
            # Before the server chose, its answer may hold the piece or not: `accepted` takes it back.
            if request.accepted or not request.left:
                self._out.append(Cancel(request.peer, request.rid, bit if request.accepted else request.want))
            if not request.left:
                self._close(request)
        return fresh

    def ended(self, peer: NodeId, rid: int, now: float) -> None:
        """The answer is at its end, early or not: what of it did not come is free. Without any piece it is as none."""
        request = self.requests.get(rid, peer)
        if request is not None and request.brought:
            self._close(request)
        elif request is not None:
            self._snub(request, now)

    # Other ways

    def reserve(self, pieces: int) -> None:
        """These pieces come in another way; requests for them stay."""
        self.reserved |= pieces & self._all & ~self.have

    def release(self, pieces: int) -> None:
        """These pieces may be asked of neighbours (again)."""
        self.reserved &= ~pieces

    def dropped(self, pieces: int) -> None:
        """These pieces were removed from the store, or turned out to be a liar's: missing again."""
        self.have &= ~pieces

    def wait_for(self, reader: int, rng: ByteRange) -> bool:
        """Whether all of a reader's range is there; if not, it is blocked and its first missing piece is urgent."""
        return self.cursors.wait_for(reader, rng, self.have)

    def unheld(self) -> int:
        """Bitmap of the pieces to be had that no neighbour offers and that are not on their way: the origin's, if anybody's."""
        bitmap = self._free
        for neighbour in self.neighbours:
            bitmap &= ~neighbour.offers
        return bitmap

    def urgent(self) -> int | None:
        """A piece that a blocked reader waits for and nobody offers, for the referee to lease first."""
        return next(iter(self.cursors.urgent(self.unheld())), None)

    # What to do

    def drain(self, now: float, rng: Random) -> list[Asked]:
        """What is to be done now, in this order; to be called after events and at `timer`."""
        if self._bars != self._blame.bars:
            self._drop_barred(now)
        for request in list(self.requests):
            if endgame.stalled(request, now):
                self._out.append(Cancel(request.peer, request.rid, request.left, close=True))
                self._snub(request, now)
        while len(self.requests) < self._room() and self._ask(now, rng):
            pass
        while len(self.requests) < MAX_REQUESTS and self._ask_twice(now, rng):
            pass
        if not len(self.requests) and self.missing & ~self.reserved:
            self._out += [Refresh(one.peer) for one in self.neighbours.to_refresh(now)]
        out, self._out = self._out, []
        return out

    def timer(self, now: float) -> float | None:
        """When `drain` has something to do although nothing happened; None when nothing will."""
        if self.done and not len(self.requests):
            return None
        times = [request.heard_at + request.patience_s for request in self.requests]
        if len(self.requests) < MAX_REQUESTS:
            times += [one.busy_until for one in self.neighbours if one.busy_until > now]
            if self._endgame():
                once = self.requests.pending & ~self.requests.twice
                late_at = endgame.late_at(self.requests, once, self._nominal_s)
                times += [late_at] if late_at is not None and late_at > now else []
        if not len(self.requests):
            times += [one.refresh_at for one in self.neighbours if one.refresh_at > now]
        return min(times, default=None)

    def check(self) -> None:
        """Assert the invariants: locks in balance, limits kept, nothing asked that is there."""
        self.requests.check()
        assert not self.have & ~self._all and not self.reserved & ~(self._all & ~self.have)
        assert not self.requests.pending & self.have, "a piece that is there is locked"
        for neighbour in self.neighbours:
            assert neighbour.out == len(self.requests.of(neighbour.peer)), "requests miscounted"
            assert not neighbour.have & ~self._all
        for request in self.requests:
            assert self.neighbours.get(request.peer) is not None, "a request to nobody"

    # The choice

    def _room(self) -> int:
        """How many requests may be out: fewer where one brings a single piece, because more would only be refused."""
        several = any(request.most > 1 for request in self.requests)
        return MAX_REQUESTS if several or not self._nominal_s else MAX_SINGLE_REQUESTS

    def _ask(self, now: float, rng: Random) -> bool:
        """Ask the best neighbour for something; whether there was one."""
        free = self._free
        for index in self.cursors.urgent(free):
            neighbour = self._least_waiting(1 << index, now, rng)
            if neighbour is not None:
                self.cursors.took(index)
                self._send(neighbour, self._pick(neighbour, free, rng, index), now, first=True)
                return True
        neighbour = self._least_waiting(free, now, rng)
        if neighbour is None:
            return False
        self._send(neighbour, self._pick(neighbour, free, rng), now)
        return True

    def _least_waiting(
        self, pieces: int, now: float, rng: Random, *, but: NodeId | None = None
    ) -> Neighbour | None:
        return choosing.least_waiting(self.neighbours, pieces, self.piece_bytes, now, rng, but=but)

    def _pick(self, neighbour: Neighbour, free: int, rng: Random, first: int | None = None) -> list[int]:
        """Pieces to offer to a neighbour, `first` before all others."""
        self._picks += 1
        pool, most = neighbour.offers & free, choosing.most(neighbour, self.piece_bytes)
        start = self.cursors.lowest(self.missing) if self._picks % choosing.FREE_PICK_EVERY else None
        return choosing.pick(pool, min(choosing.WANTS_PER_PIECE * most, MAX_WANT), start, rng, first)

    def _send(
        self,
        neighbour: Neighbour,
        wanted: list[int],
        now: float,
        *,
        first: bool = False,
        duplicate: bool = False,
    ) -> None:
        most = 1 if duplicate else choosing.most(neighbour, self.piece_bytes)
        request = self.requests.open(
            neighbour.peer,
            bitmap_of(wanted),
            most,
            now,
            patience_s=endgame.first_patience_s(neighbour, self.piece_bytes),
            piece_s=endgame.piece_time_s(neighbour, self.piece_bytes),
            duplicate=duplicate,
        )
        neighbour.out += 1
        self._out.append(Want(neighbour.peer, request.rid, tuple(wanted), most, first))

    # The end, and trouble

    def _ask_twice(self, now: float, rng: Random) -> bool:
        """In the endgame: one more request for the piece that will come last, if it is late; whether one went out."""
        if not self._endgame():
            return False
        once = self.requests.pending & ~self.requests.twice
        late = endgame.latest(self.requests, once, now, self._nominal_s)
        if late is None:
            return False
        index, request = late
        other = self._least_waiting(1 << index, now, rng, but=request.peer)
        if other is None:
            return False
        self._send(other, [index], now, duplicate=True)
        return True

    def _endgame(self) -> bool:
        """Whether few pieces are missing and all of them asked for, and it is known how long a piece takes."""
        missing = self.missing & ~self.reserved
        return (
            bool(missing)
            and self._nominal_s > 0
            and not missing & ~self.requests.pending
            and self.missing.bit_count() <= endgame.ENDGAME_PIECES
        )

    def _snub(self, request: Request, now: float) -> None:
        """A request was left unanswered: it is closed, and its peer trusted with one piece until it brings it."""
        self._close(request)
        neighbour = self.neighbours.get(request.peer)
        if neighbour is not None and endgame.snub(neighbour, now):
            self._blame.silent(self.ver, request.peer, now)
            self._drop(request.peer, "it left several requests unanswered")

    def _spoilt(self, peer: NodeId, bit: int, verdict: Verdict, now: float) -> None:
        if verdict is Verdict.DISPUTED:
            self.reserve(bit)
            return
        neighbour = self.neighbours.get(peer)
        if neighbour is not None:
            neighbour.spoilt |= bit
        self._blame.wrong(self.ver, peer, now)

    def _drop_barred(self, now: float) -> None:
        """Somebody was barred, here or while another version was fetched."""
        self._bars = self._blame.bars
        for peer in [one.peer for one in self.neighbours]:
            if self._blame.barred(self.ver, peer, now):
                self._drop(peer, "it sent wrong bytes")

    def _drop(self, peer: NodeId, why: str) -> None:
        for request in self.requests.of(peer):
            self._out.append(Cancel(peer, request.rid, request.left, close=True))
        self.left(peer)
        self._out.append(Drop(peer, why))

    def _measure(self, request: Request, index: int, verdict: Verdict, now: float) -> None:
        """What the time since the last sign of life tells of the peer, and of pieces in general."""
        neighbour = self.neighbours.get(request.peer)
        if neighbour is None or verdict is not Verdict.RIGHT:
            return
        size_bytes = len(piece_range(index, self.length, self.piece_bytes))
        took_s = endgame.came(request, neighbour, size_bytes, self.piece_bytes, now)
        if took_s > 0:
            self._nominal_s += (NOMINAL_WEIGHT if self._nominal_s else 1.0) * (took_s - self._nominal_s)

    def _close(self, request: Request) -> None:
        """The request is over. Its neighbour may have left, with its counts."""
        neighbour = self.neighbours.get(request.peer)
        if neighbour is not None and self.requests.get(request.rid, request.peer) is not None:
            neighbour.out -= 1
        self.requests.close(request)
