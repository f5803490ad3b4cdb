"""A member's side of the referee: whom to join, which leases to work on, whose word counts. Pure.

The rule: nothing is read from the origin without a fence from the highest term that was seen, and no fence is used twice. The
shell reads what `Read` says and tells what became of it; the pieces that come from peers it only reports here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pstore.swarm.messages import (
    MAX_HELD,
    Ask,
    Brought,
    Elsewhere,
    Ended,
    Failed,
    Fault,
    Freshness,
    Give,
    Got,
    Join,
    Leave,
    Message,
    Opened,
    Poll,
    Released,
    Revalidate,
    Revalidated,
    Revoke,
    Send,
    Stale,
    Stranded,
    TakeFrom,
    Urgent,
    Welcome,
)
from p2pstore.swarm.pieces import bits
from p2pstore.swarm.search import Search
from p2pstore.swarm.shape import Shape
from p2pstore.swarm.tasks import (
    Alone,
    AskOrigin,
    Decision,
    Fresh,
    Learned,
    Over,
    Read,
    Stop,
    Take,
    Unreachable,
)
from p2pstore.swarm.terms import Fence, Obedience
from p2pstore.swarm.work import Work
from p2pstore.types import NodeId, Version

JOIN_S: Final = 5.0
"""A member says so often what it has and holds."""
ASK_S: Final = 1.0
"""A wish for leases is repeated this often until it is fulfilled."""
TELL_S: Final = 0.5
"""Bytes received are told this often at most; whole pieces at once."""

_ORDERS: Final = (Welcome, Poll, Give, Revoke, Ended, Stranded, TakeFrom, Revalidate, Freshness)


class Lessee:
    """One node's part in the swarm of one key. `number` must be above all that the node ever used for it.

    `slots` is how many leases it works on at once, 0 for a node that can't reach the origin. Bounded by MAX_HELD leases
    and the fences of Obedience.
    """

    def __init__(self, me: NodeId, *, zone: str = "", slots: int = 0, number: int = 0) -> None:
        self.me = me
        self.zone = zone
        self.slots = min(slots, MAX_HELD)
        self.ver: Version | None = None
        self.shape: Shape | None = None
        self.have = 0
        self.leases: dict[Fence, Work] = {}
        self.referee: NodeId | None = None
        """Who welcomed this node last."""
        self._obeyed = Obedience()
        self._number = number
        self._search = Search(me)
        self._joined_at = 0.0
        self._want_at = float("-inf")
        self._opened: Opened | None = None
        self._stale: Stale | None = None
        self._revalidating: Fence | None = None
        self._member = False

    @property
    def done(self) -> bool:
        """Whether every piece is there."""
        return self.shape is not None and self.have == self.shape.all

    def start(self, ranked: Sequence[NodeId], now: float) -> list[Decision]:
        """Begin to work on the key; `ranked` are the live members of the cluster for it, best first."""
        self._member = True
        self._search.view(ranked)
        return self._join(self._search.begin(), now)

    def view(self, ranked: Sequence[NodeId], now: float) -> list[Decision]:
        """The ranking changed."""
        self._search.view(ranked)
        lost = self._member and self.referee is not None and self.referee not in self._search.ranked
        return self._join(self._search.begin(), now) if lost else []

    def resume(self, ver: Version, shape: Shape, have: int) -> None:
        """Pieces of a version that were there before; to be told before `start`."""
        self.ver, self.shape, self.have = ver, shape, have

    def leave(self) -> list[Decision]:
        """Work on it no more; the shell stops its reads."""
        self._member = False
        self.leases.clear()
        return [] if self.referee is None else [Send(self.referee, Leave())]

    def stale(self, seen: int, force: bool, now: float) -> list[Decision]:
        """The copy must be revalidated before use; asked until `Fresh` comes."""
        self._stale = Stale(seen, self.slots > 0, force)
        return [] if self.referee is None else [Send(self.referee, self._stale)]

    def hear(self, message: Message, now: float) -> list[Decision]:
        """A word of a referee; one of a lower term than was seen is dropped."""
        if isinstance(message, Elsewhere):
            return self._redirected(message, now)
        if not isinstance(message, _ORDERS):
            return []
        if not self._obeyed.accepts(message.term):
            return []
        self._search.heard(now)
        self.referee = message.term.referee
        match message:
            case Welcome():
                return self._welcomed(message, now)
            case Poll():
                return self._join(message.term.referee, now) if self._member else []
            case Give():
                return self._given(message)
            case Revoke():
                return self._revoked(message)
            case Ended():
                return self._ended(message)
            case Stranded():
                return [Unreachable(message.fault)]
            case TakeFrom():
                return (
                    [Take(message.ver, message.holder)] if message.ver == self.ver and not self.done else []
                )
            case Revalidate():
                return self._revalidate(message.fence)
            case Freshness():
                self._stale = None
                return [Fresh(message.outcome)]

    def tick(self, now: float, *, lonely: bool = False) -> list[Decision]:
        """Time passes: repeat what was not answered. A `lonely` node has few neighbours: it joins more often, for peers."""
        if not self._member:
            return []
        if self._search.asked is not None:
            to = self._search.overdue(now)
            alone: list[Decision] = [Alone()] if self._search.found_alone(now) else []
            return alone if to is None else [*alone, *self._join(to, now)]
        if now - self._joined_at >= (ASK_S if lonely else JOIN_S) and self.referee is not None:
            return self._join(self.referee, now)
        return self._ask(now) if now - self._want_at >= ASK_S else []

    def opened(self, fence: Fence, ver: Version, shape: Shape, now: float) -> list[Decision]:
        """The opening read told what there is; it goes on with the first stripe, or with all that can't be cut.

        A revalidation that was answered with another version is an opening read, too.
        """
        if fence == self._revalidating and len(self.leases) < MAX_HELD:
            self.leases[fence] = Work(None, 0, 0, -1)
            self._revalidating = None
        work = self.leases.get(fence)
        if work is None:
            return [Stop(fence, 0)]
        stops = self._become(ver, shape, keep=fence)
        work.opened(ver, shape, self.have)
        self._opened = Opened(fence, ver, shape)
        if not work.left:
            del self.leases[fence]
            stops.append(Stop(fence, 0))
        return [*stops, *self._ask(now), *self._report()]

    def received(
        self,
        fence: Fence,
        pieces: int,
        size_bytes: int,
        now: float,
        *,
        length: int | None = None,
        body: bytes | None = None,
    ) -> list[Decision]:
        """A read brought these verified pieces, and `size_bytes` in all so far; `length` with the end of an unknown one."""
        work = self.leases.get(fence)
        if work is None or work.ver is None or self.shape is None:
            return []
        if length is not None and self.shape.length is None:
            self.shape = self.shape.ended(length)
        self.have |= pieces
        work.left &= self.shape.all & ~pieces
        work.size_bytes = size_bytes
        if not work.left:
            del self.leases[fence]
        elif not pieces and now - work.told_at < TELL_S:
            return []
        work.told_at = now
        self._number += 1
        report = Brought(
            number=self._number,
            ver=work.ver,
            fence=fence,
            pieces=pieces,
            size_bytes=size_bytes,
            length=length,
            body=body,
        )
        return [*self._tell(report), *self._ask(now)]

    def failed(self, fence: Fence, fault: Fault, now: float, retry_after_s: float = 0.0) -> list[Decision]:
        """A read ended before its time."""
        if self.leases.pop(fence, None) is None:
            return []
        asks = [] if fault is Fault.STOPPED else self._ask(now)
        return [*self._tell(Failed(fence, fault, retry_after_s)), *asks]

    def got(self, pieces: int, *, tell: bool = False) -> list[Decision]:
        """Pieces came from peers; the referee hears of it with the next join, or at once."""
        if self.ver is None or not pieces & ~self.have:
            return []
        self.have |= pieces
        return self._report() if tell or self.done else []

    def hurry(self, piece: int) -> list[Decision]:
        """A reader waits for a piece that no neighbour has: its stripe is to be leased next, to whomever."""
        return [] if self.ver is None else self._tell(Urgent(self.ver, piece))

    def dropped(self, pieces: int, now: float) -> list[Decision]:
        """Pieces are not here any more."""
        self.have &= ~pieces
        return [] if self.referee is None else self._join(self.referee, now)

    def revalidated(self, report: Revalidated) -> list[Decision]:
        """What the origin said to a revalidation."""
        return self._tell(report)

    def check(self) -> None:
        """Assert the bounds, and that no lease is for what is here."""
        assert len(self.leases) <= MAX_HELD
        assert all(work.left for work in self.leases.values())

    def _join(self, to: NodeId, now: float) -> list[Decision]:
        self._search.sent(to, now)
        self._joined_at = now
        self._number += 1
        join = Join(
            number=self._number,
            zone=self.zone,
            origin=self.slots > 0,
            ver=self.ver,
            shape=self.shape,
            have=self.have,
            leases=tuple(work.held(fence) for fence, work in self.leases.items()),
            term=self._obeyed.term,
            unanswered=self._search.unanswered,
        )
        return [Send(to, join), *self._wishes(to, now)]

    def _wishes(self, to: NodeId, now: float) -> list[Decision]:
        sends: list[Decision] = [] if self._opened is None else [Send(to, self._opened)]
        room = self._room()
        self._want_at = now
        if room:
            sends.append(Send(to, Ask(room)))
        if self._stale is not None:
            sends.append(Send(to, self._stale))
        return sends

    def _ask(self, now: float) -> list[Decision]:
        return [] if self.referee is None else self._wishes(self.referee, now)

    def _room(self) -> int:
        """Free slots; a lease whose last piece is coming in is as good as done, so that there is no gap."""
        if self.done or (self.shape is not None and self.shape.whole and self.leases):
            return 0
        busy = sum(not work.ending for work in self.leases.values())
        return max(min(self.slots - busy, MAX_HELD - len(self.leases)), 0)

    def _revalidate(self, fence: Fence) -> list[Decision]:
        if not self._obeyed.begins(fence):
            return []
        self._revalidating = fence
        return [AskOrigin(fence)]

    def _redirected(self, message: Elsewhere, now: float) -> list[Decision]:
        self._search.heard(now)
        if (
            not self._obeyed.accepts(message.term)
            or not self._member
            or not self._search.follows(message.referee)
        ):
            return []
        return self._join(message.referee, now)

    def _welcomed(self, message: Welcome, now: float) -> list[Decision]:
        self._search.welcomed()
        decisions: list[Decision] = []
        if message.ver is not None and message.shape is not None:
            if message.ver == self.ver:
                self._opened = None
                if self.shape is None or self.shape.length is None or not message.shape.ranges:
                    self.shape = message.shape
            else:
                decisions += self._become(message.ver, message.shape)
        decisions.append(Learned(message.ver, message.shape, message.peers, message.body))
        return decisions + (self._ask(now) if now - self._want_at >= ASK_S else [])

    def _become(self, ver: Version, shape: Shape, keep: Fence | None = None) -> list[Decision]:
        """Another version from here on: what was read of the old one stops."""
        if ver == self.ver:
            return []
        stops: list[Decision] = []
        for fence, work in list(self.leases.items()):
            if fence != keep and work.ver != ver:
                del self.leases[fence]
                stops.append(Stop(fence, 0))
        self.ver, self.shape, self.have, self._opened = ver, shape, 0, None
        return stops

    def _given(self, message: Give) -> list[Decision]:
        if not self._obeyed.begins(message.fence):
            return []
        left = bits(message.first, message.count) if message.count else -1
        stops: list[Decision] = []
        if message.ver is not None and message.shape is not None:
            stops = self._become(message.ver, message.shape)
            left &= message.shape.all & ~self.have
        if not left or len(self.leases) >= MAX_HELD:
            return [*stops, *self._report(), *self._tell(Failed(message.fence, Fault.NOT_NEEDED))]
        self.leases[message.fence] = Work(message.ver, message.first, message.count, left)
        return [*stops, Read(message.fence, message.ver, message.first, message.count)]

    def _revoked(self, message: Revoke) -> list[Decision]:
        self._obeyed.begins(message.fence)  # should the lease itself come only now
        work = self.leases.get(message.fence)
        if work is None:
            return self._tell(Released(message.fence, self.ver, self.have, 0))
        keep = work.revoked()
        if not keep:
            del self.leases[message.fence]
        return [Stop(message.fence, keep), *self._tell(Released(message.fence, self.ver, self.have, keep))]

    def _ended(self, message: Ended) -> list[Decision]:
        if message.ver != self.ver and message.ver is not None:
            return []
        stops: list[Decision] = [Stop(fence, 0) for fence in self.leases]
        self.leases.clear()
        self._opened = None
        over = Over(self.ver, message.fault, message.finish)
        self.ver, self.shape, self.have = None, None, 0
        if message.fault is Fault.GONE:
            self._member = False
            self._search.welcomed()
        return [*stops, over]

    def _report(self) -> list[Decision]:
        """Say what is here, all of it."""
        if self.ver is None or not self.have:
            return []
        self._number += 1
        return self._tell(Got(self._number, self.ver, self.have))

    def _tell(self, message: Message) -> list[Decision]:
        return [] if self.referee is None else [Send(self.referee, message)]
