"""Origin leases of one version: which pieces may be read by whom, until when, and what becomes free again. Pure.

The rule: a piece is held by a live member, or in exactly one lease, or in doubt, or free; only free pieces are leased, in file
order, by the stripe. `free` is what the others leave over, so nothing can be lost between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2pstore.swarm.messages import HeldLease, TableLease
from p2pstore.swarm.pieces import bits, lowest, run_length
from p2pstore.swarm.shape import MAX_PIECES, STRIPE_PIECES, Shape
from p2pstore.swarm.terms import Fence
from p2pstore.types import NodeId

MAX_LEASES: Final = 128
"""More than any window holds: the rest is room for what a predecessor gave. A lease beyond is revoked, not adopted."""
STALL_S: Final = 2.0
"""A lease that brings no byte for so long is revoked."""
MAX_STALL_S: Final = 30.0
"""The same while nobody receives anything: each round of revocations in vain doubles the patience up to this."""
SLOW_FACTOR: Final = 4.0
"""A lease that takes so many times the usual is revoked, if others wait for one."""
END_FACTOR: Final = 2.0
"""The same in the endgame, when nothing is free and whoever is done only waits."""
LEAST_AGE_S: Final = 0.5
"""No lease is slow before this age."""
RELEASE_S: Final = 1.0
"""A revoked lessee that does not answer within this time is taken for gone."""
DOUBT_S: Final = 1.0
"""Pieces whose last known holder is gone are read again if nobody reports them within this time."""
MAX_DOUBTS: Final = 16
"""Losses that are kept apart; further ones share the last deadline."""
MAX_URGENT: Final = 64
"""Pieces that readers wait for; further ones take their turn in file order."""

_LIMIT: Final = (1 << MAX_PIECES) - 1


@dataclass(slots=True)
class Lease:
    """`left` are its pieces that are still to come; `residue`: revoked, and only what had begun is left."""

    fence: Fence
    node: NodeId
    first: int
    count: int
    left: int
    given_at: float
    heard_at: float
    size_bytes: int = 0
    revoked_at: float | None = None
    residue: bool = False


class Leases:
    """The pieces of one version. State is bounded by the piece count, MAX_LEASES, MAX_DOUBTS and MAX_URGENT."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.all = shape.all
        self.held = 0
        """Pieces that some live member is known to have."""
        self.active: dict[Fence, Lease] = {}
        self._doubts: list[tuple[float, int]] = []
        self._urgent: list[int] = []
        self._piece_s: float | None = None
        self._stall_s = STALL_S

    @property
    def leased(self) -> int:
        """The bitmap of what lessees still have to bring."""
        pieces = 0
        for lease in self.active.values():
            pieces |= lease.left
        return pieces

    @property
    def doubtful(self) -> int:
        """The bitmap of pieces whose last known holder went away just now."""
        pieces = 0
        for _, lost in self._doubts:
            pieces |= lost
        return pieces

    @property
    def free(self) -> int:
        """The bitmap of what may be leased."""
        return self.all & ~(self.held | self.leased | self.doubtful)

    @property
    def done(self) -> bool:
        """Whether live members hold all of it."""
        return self.held == self.all

    def count_of(self, node: NodeId) -> int:
        """How many leases a node has."""
        return sum(lease.node == node for lease in self.active.values())

    def give(self, fence: Fence, node: NodeId, now: float) -> Lease | None:
        """Lease the next stripe, or what is free of it; None when nothing is to be given."""
        free = self.free
        if not free or len(self.active) >= MAX_LEASES or (self.shape.whole and self.active):
            return None
        if self.shape.whole:
            lease = Lease(fence, node, 0, 0, free, now, now)
        else:
            first = self._next(free)
            end = (first // STRIPE_PIECES + 1) * STRIPE_PIECES
            count = min(run_length(free, first), end - first)
            lease = Lease(fence, node, first, count, bits(first, count), now, now)
        self.active[fence] = lease
        return lease

    def opened(self, fence: Fence, node: NodeId, now: float) -> None:
        """The opening read goes on with the first stripe, or with all of it, as far as that is missing."""
        count = 0 if self.shape.whole else min(STRIPE_PIECES, self.all.bit_count())
        self.adopt(HeldLease(fence, 0, count, bits(0, count)), node, now)

    def adopt(self, held: HeldLease, node: NodeId, now: float) -> bool:
        """Take over a lease that another term gave; False when its pieces are another's already: it is to be revoked."""
        if held.fence in self.active:
            return self.active[held.fence].node == node
        left = (
            (held.left if held.count else -1) & self.all & ~self.held
        )  # of a whole read: whatever is missing
        if not left:
            return True  # all of it came in meanwhile: a late message
        if left & self.leased or len(self.active) >= MAX_LEASES or (self.shape.whole and self.active):
            return False
        self._undoubt(left)
        self.active[held.fence] = Lease(held.fence, node, held.first, held.count, left, now, now)
        return True

    def note_held(self, pieces: int) -> list[Lease]:
        """Live members have these pieces; returns the leases that have nothing left, which are over."""
        pieces &= self.all if self.shape.length is not None else _LIMIT
        if not pieces & ~self.held:
            return []
        self.held |= pieces
        self._undoubt(pieces)
        over = []
        for lease in list(self.active.values()):
            lease.left &= ~pieces
            if not lease.left:
                over.append(self.active.pop(lease.fence))
        return over

    def progressed(self, fence: Fence, node: NodeId, size_bytes: int, now: float) -> int:
        """A lessee received `size_bytes` so far; returns how many of them are new. Unknown leases bring nothing."""
        lease = self.active.get(fence)
        if lease is None or lease.node != node or size_bytes <= lease.size_bytes:
            return 0
        new = size_bytes - lease.size_bytes
        lease.size_bytes, lease.heard_at = size_bytes, now
        self._stall_s = STALL_S
        return new

    def finished(self, lease: Lease, now: float) -> None:
        """A lease came to its end by its lessee's own work: this is how long leases take."""
        if not self.shape.whole and not lease.residue:
            piece_s = (now - lease.given_at) / max(lease.count, 1)
            self._piece_s = piece_s if self._piece_s is None else (self._piece_s * 3 + piece_s) / 4

    def close(self, fence: Fence, node: NodeId) -> Lease | None:
        """The lessee gave the lease back: what it lacks is free."""
        lease = self.active.get(fence)
        if lease is None or lease.node != node:
            return None
        return self.active.pop(fence)

    def released(self, fence: Fence, node: NodeId, finishing: int, now: float) -> None:
        """A revoked lessee goes on with the pieces that it had begun; the rest is free."""
        lease = self.active.get(fence)
        if lease is None or lease.node != node or lease.revoked_at is None:
            return
        lease.left &= finishing
        if not lease.left:
            del self.active[fence]
            return
        lease.residue, lease.revoked_at, lease.heard_at = True, None, now

    def node_lost(self, node: NodeId) -> list[Lease]:
        """A lessee is dead or gone: its leases end at once."""
        lost = [lease for lease in self.active.values() if lease.node == node]
        for lease in lost:
            del self.active[lease.fence]
        return lost

    def holders_lost(self, remaining: int, now: float) -> bool:
        """What live members are known to have is now `remaining`; True when pieces came into doubt: ask the members."""
        lost = self.held & ~remaining
        self.held &= remaining
        if lost:
            self._doubt(lost, now + DOUBT_S)
        return bool(lost)

    def hearsay(self, pieces: int, now: float) -> None:
        """A predecessor knew holders of these pieces: they are asked, and have twice the usual time to say so."""
        pieces &= self.all & ~(self.held | self.leased | self.doubtful)
        if pieces:
            self._doubt(pieces, now + 2 * DOUBT_S)

    def hurry(self, piece: int) -> None:
        """A reader waits for a piece: its stripe is the next to be given, if it is free."""
        if (
            0 <= piece
            and self.all >> piece & 1
            and piece not in self._urgent
            and len(self._urgent) < MAX_URGENT
        ):
            self._urgent.append(piece)

    def expire(self, now: float, wanted: Callable[[NodeId], bool]) -> list[Lease]:
        """End what is overdue; returns the leases to revoke now. `wanted`: whether others than that node wait for one."""
        self._doubts = [doubt for doubt in self._doubts if now < doubt[0]]
        stalled = slow = False
        revoked = []
        factor = SLOW_FACTOR if self.free else END_FACTOR
        for lease in list(self.active.values()):
            silent_s = now - (lease.heard_at if lease.revoked_at is None else lease.revoked_at)
            if lease.revoked_at is not None:
                if silent_s >= RELEASE_S:
                    del self.active[lease.fence]
            elif silent_s >= self._stall_s:
                stalled = True
                if lease.residue:
                    del self.active[lease.fence]
                else:
                    revoked.append(lease)
            elif self._slow(lease, factor, now) and wanted(lease.node):
                slow = True
                revoked.append(lease)
        for lease in revoked:
            lease.revoked_at = now
        if stalled:
            self._stall_s = min(self._stall_s * 2, MAX_STALL_S)
        if slow and self._piece_s is not None:
            self._piece_s *= 1.5  # lest an origin that grew slower has every lease revoked
        return revoked

    def learn_length(self, shape: Shape) -> list[Lease]:
        """The end of an answer told the length; returns the leases that are over by it."""
        self.shape, self.all = shape, shape.all
        self.held &= self.all
        over = []
        for lease in list(self.active.values()):
            lease.left &= self.all & ~self.held
            if not lease.left:
                over.append(self.active.pop(lease.fence))
        return over

    def table(self) -> tuple[TableLease, ...]:
        """The leases as a successor takes them over."""
        return tuple(
            TableLease(one.node, HeldLease(one.fence, one.first, one.count, 0 if one.left < 0 else one.left))
            for one in self.active.values()
        )

    def check(self) -> None:
        """Assert the invariants: no piece in two places, and every table below its bound."""
        seen = self.held
        assert self.all < 0 or not self.held & ~self.all, "pieces that there are not"
        for lease in self.active.values():
            assert lease.left, "a lease with nothing left"
            assert not lease.left & seen, "a piece is leased twice, or leased and held"
            seen |= lease.left
        assert not self.doubtful & seen, "a piece in doubt is held or leased"
        assert len(self.active) <= MAX_LEASES and len(self._doubts) <= MAX_DOUBTS
        assert len(self._urgent) <= MAX_URGENT
        assert sum(lease.count == 0 for lease in self.active.values()) <= 1, "two read all of it"

    def _slow(self, lease: Lease, factor: float, now: float) -> bool:
        if self._piece_s is None or lease.residue or self.shape.whole:
            return False
        return now - lease.given_at > max(LEAST_AGE_S, factor * self._piece_s * lease.count)

    def _next(self, free: int) -> int:
        while self._urgent:
            piece = self._urgent.pop(0)
            if free >> piece & 1:
                return piece
        first = lowest(free)
        assert first is not None
        return first

    def _doubt(self, pieces: int, until: float) -> None:
        if len(self._doubts) >= MAX_DOUBTS:
            last, more = self._doubts.pop()
            pieces, until = pieces | more, max(last, until)
        self._doubts.append((until, pieces))

    def _undoubt(self, pieces: int) -> None:
        self._doubts = [(at, lost & ~pieces) for at, lost in self._doubts if lost & ~pieces]
