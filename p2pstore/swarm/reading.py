"""How the members of one key read its origin: one opening request, then leases of the version that it found. Pure.

The rule: while no version is known one node opens the URL and the others wait; from then on every read is a lease of that
version, until the origin turns out to have another one. Bytes of two versions never meet: every message names its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from p2pstore.swarm.askers import Askers
from p2pstore.swarm.collapse import Collapse
from p2pstore.swarm.gateways import Gateways
from p2pstore.swarm.leases import Lease, Leases
from p2pstore.swarm.members import Members
from p2pstore.swarm.messages import (
    Brought,
    Ended,
    Failed,
    Fault,
    Give,
    HeldLease,
    Message,
    Opened,
    Poll,
    Released,
    Revoke,
    Send,
    Stage,
    Stranded,
    Table,
    TableLease,
    TakeFrom,
)
from p2pstore.swarm.shape import Shape
from p2pstore.swarm.terms import NO_TERM, Fence, Term
from p2pstore.swarm.window import Window
from p2pstore.types import NodeId, Version

OPEN_S: Final = 5.0
"""An opener that has not said what there is by then loses the lease; doubled each time, as an origin may be slow."""
MAX_OPEN_S: Final = 60.0
STRANDED_S: Final = 5.0
"""When nobody could read for so long the members are told, and again after as long."""
MAX_ENDED: Final = 8
"""Ended versions that are remembered, so that latecomers with pieces of them are told."""
_UNREACHED: Final = frozenset({Fault.UNREACHABLE, Fault.DENIED, Fault.TIMEOUT})
_BUSY: Final = frozenset({Fault.BUSY, Fault.TIMEOUT})


class Reading:
    """The present version of a key and its leases; `term` is set by the owner. Bounded as its parts are."""

    def __init__(self, members: Members) -> None:
        self.term: Term = NO_TERM
        self.ver: Version | None = None
        self.leases: Leases | None = None
        self.opening: Lease | None = None
        self.collapse = Collapse()
        self.askers = Askers()
        self.window = Window()
        self.gateways = Gateways()
        self._members = members
        self._fences = 0
        self._opened = Fence(NO_TERM, 0)
        self._open_s = OPEN_S
        self._ended: dict[Version, Ended] = {}
        self._stranded_at: float | None = None
        self._last_fault = Fault.UNREACHABLE

    @property
    def shape(self) -> Shape | None:
        """What there is, once it is known."""
        return None if self.leases is None else self.leases.shape

    @property
    def busy(self) -> bool:
        """Whether somebody waits for bytes of the origin, or for a small object's holder."""
        if self.collapse.busy or self.opening is not None:
            return True
        return bool(self._members) and (self.leases is None or not self.leases.done)

    def next_fence(self) -> Fence:
        """A new lease's name."""
        self._fences += 1
        return Fence(self.term, self._fences)

    def over(self, ver: Version | None) -> Ended | None:
        """How a version ended, if it did."""
        ended = self._ended.get(ver) if ver is not None else None
        return None if ended is None else replace(ended, term=self.term)

    def know(self, ver: Version, shape: Shape) -> bool:
        """A member comes with a version: it is the present one if none is known; False if it is not.

        While a node opens the URL only its word counts, except that of a predecessor's time anybody's does.
        """
        opening = self.opening is not None and self.opening.fence.term == self.term
        if self.leases is None and not opening and ver not in self._ended:
            self._begin(ver, shape)
            return True
        if self.leases is not None and self.ver == ver and self.leases.shape.length is None:
            if shape.length is not None:  # the report of the end was lost
                self.leases.learn_length(shape)
        return self.ver == ver

    def joined(self, node: NodeId, held: Iterable[HeldLease], now: float) -> list[Send]:
        """A member said what it has and holds: those leases are taken over, or revoked."""
        sends: list[Send] = []
        for lease in held:
            if self.opening is not None and lease.fence == self.opening.fence:
                continue  # what it found is told in a message of its own
            if self.leases is None or not self.leases.adopt(lease, node, now):
                sends.append(self._to(node, Revoke(self.term, lease.fence)))
        return sends + self.has(node, now)

    def has(self, node: NodeId, now: float) -> list[Send]:
        """What a member has changed: note it, and let small objects go round."""
        if self.leases is None or self.ver is None:
            return []
        have = self._members.have(node, self.ver)
        over = self.leases.note_held(have)
        sends = [self._to(lease.node, Revoke(self.term, lease.fence)) for lease in over if lease.node != node]
        if self.leases.shape.small:
            if have == self.leases.all:
                self.collapse.has(node)
            elif node in self._members:
                self.collapse.want(node)
        return sends + self.deal(now)

    def opened(self, node: NodeId, report: Opened, now: float) -> tuple[bool, list[Send]]:
        """The URL was opened. Returns whether a version began by it, of which all members are to hear."""
        if self.leases is not None:
            return self._opened_again(node, report, now)
        if report.ver in self._ended:
            return False, [self._to(node, Revoke(self.term, report.fence))]
        sends = []
        if self.opening is not None and self.opening.fence != report.fence:
            sends.append(self._to(self.opening.node, Revoke(self.term, self.opening.fence)))
        self._begin(report.ver, report.shape).opened(report.fence, node, now)
        self._opened = report.fence
        return True, sends

    def brought(self, node: NodeId, report: Brought, now: float) -> tuple[bool, list[Send]]:
        """Progress of a lease. Returns whether the shape or the body became known, of which all members are to hear."""
        if self.leases is None or report.ver != self.ver:
            return False, [self._to(node, self.over(report.ver) or Poll(self.term))]
        if not self._members.got(node, report.number, report.ver, report.pieces, now):
            return False, [self._to(node, Poll(self.term))]
        full = len(self.leases.active) >= self.window.leases
        new_bytes = self.leases.progressed(report.fence, node, report.size_bytes, now)
        self.window.brought(new_bytes, full, now)
        if new_bytes:
            self._members.reached(node)
        over = self.leases.note_held(report.pieces)
        news = False
        if report.length is not None and self.leases.shape.length is None:
            news = True
            over += self.leases.learn_length(self.leases.shape.ended(report.length))
        sends = []
        for lease in over:
            if lease.node == node and lease.fence == report.fence:
                self.leases.finished(lease, now)
                self.askers.measured(node, lease.size_bytes / max(now - lease.given_at, 1e-3))
            else:
                sends.append(self._to(lease.node, Revoke(self.term, lease.fence)))
        if report.body is not None and self.leases.shape.small and self.collapse.body is None:
            news = self.collapse.keep(report.body) or news
        return news, sends + self.has(node, now)

    def failed(self, node: NodeId, report: Failed, now: float) -> tuple[bool, list[Send]]:
        """A lease came back. Returns whether the shape changed, of which all members are to hear."""
        if not self._close(node, report.fence):
            return False, []
        if report.fault in _UNREACHED:
            self._members.block(node, now)
            self._last_fault = report.fault
        if report.fault in _BUSY:
            self.window.complained(report.retry_after_s, now)
        if report.fault is Fault.STOPPED:
            self.askers.ask(node, 0)
        if report.fault in (Fault.CHANGED, Fault.GONE):
            return False, self._end(report.fault)
        if report.fault is Fault.NO_RANGES and self.leases is not None and not self.leases.shape.whole:
            self.leases.shape = replace(self.leases.shape, ranges=False)
            others = [one for one in self.leases.active.values() if one.revoked_at is None]
            for lease in others:
                lease.revoked_at = now
            return True, [self._to(one.node, Revoke(self.term, one.fence)) for one in others]
        return False, self._unrepeatable()

    def released(self, node: NodeId, report: Released, now: float) -> list[Send]:
        """A revoked lessee says what it has and what it still brings."""
        if self.opening is not None and self.opening.fence == report.fence:
            self.opening = None
        if self.leases is None or report.fence not in self.leases.active:
            return []
        if self.ver is not None and report.ver == self.ver:
            self._members.got(node, 0, self.ver, report.have, now)
        sends = self.has(node, now)
        self.leases.released(report.fence, node, report.finishing, now)
        return sends + self._unrepeatable()

    def lost(self, node: NodeId, now: float) -> list[Send]:
        """A member is gone, already out of the table: its leases end, and what only it had is in doubt."""
        self.askers.drop(node)
        self.collapse.lost(node)
        if self.opening is not None and self.opening.node == node:
            self.opening = None
        if self.leases is None or self.ver is None:
            return []
        self.leases.node_lost(node)
        return self._unrepeatable() + self.fewer(now)

    def fewer(self, now: float) -> list[Send]:
        """Some member has less than it had: what nobody has any more is in doubt, and all are asked."""
        if self.leases is None or self.ver is None:
            return []
        if self.leases.holders_lost(self._members.union(self.ver), now):
            return [self._to(node, Poll(self.term)) for node in self._members.table]
        return []

    def tick(self, now: float) -> list[Send]:
        """End what is overdue, then give."""
        sends: list[Send] = []
        if self.opening is not None and now - self.opening.heard_at >= self._open_s:
            self._open_s = min(self._open_s * 2, MAX_OPEN_S)
            sends.append(self._to(self.opening.node, Revoke(self.term, self.opening.fence)))
            self.askers.given(self.opening.node)  # to the end of the queue
            self.opening = None
        if self.leases is not None:
            for lease in self.leases.expire(now, lambda node: self._others_wait(node, now)):
                sends.append(self._to(lease.node, Revoke(self.term, lease.fence)))
                self.askers.measured(lease.node, lease.size_bytes / max(now - lease.given_at, 1e-3))
            sends += self._unrepeatable()
        return sends + self.deal(now)

    def deal(self, now: float) -> list[Send]:
        """Send those who lack a small object to its holders, unless it is answered inline."""
        if self.ver is None or self.collapse.body is not None:
            return []
        return [
            self._to(taker, TakeFrom(self.term, self.ver, holder))
            for taker, holder in self.collapse.deal(now)
        ]

    def give(self, now: float) -> list[Send]:
        """Give out what is free, as far as the window and the askers allow; if nobody can read, ask a gateway to."""
        sends: list[Send] = []
        if self.window.paused(now) or not self._members:
            return sends
        last_resort = not any(self._members.may_ask_origin(one, now) for one in self._members.table)
        while self._wanting():
            node = self.askers.choose(
                self.window.leases,
                self._count,
                lambda one: self._members.may_ask_origin(one, now, last_resort=last_resort),
                now,
            )
            lease = None if node is None else self._lease(node, now)
            if node is None or lease is None:
                break
            self.askers.given(node)
            sends.append(
                self._to(node, Give(self.term, lease.fence, self.ver, self.shape, lease.first, lease.count))
            )
        if last_resort and self._wanting():
            sends += self._stranded(now)
        else:
            self._stranded_at = None
        return sends

    def table(self) -> Table:
        """What a successor needs of it."""
        opener = self.opening
        return Table(
            ver=self.ver,
            shape=self.shape,
            held=0 if self.leases is None else self.leases.held,
            leases=() if self.leases is None else self.leases.table(),
            opener=None if opener is None else TableLease(opener.node, HeldLease(opener.fence, 0, 0, 0)),
        )

    def merge(self, table: Table, now: float) -> list[Send]:
        """Take over a predecessor's table: what it knows counts as long as nothing newer is known here."""
        sends: list[Send] = []
        if table.ver is not None and table.shape is not None and self.know(table.ver, table.shape):
            assert self.leases is not None
            sends = [
                self._to(one.node, Revoke(self.term, one.lease.fence))
                for one in table.leases
                if not self.leases.adopt(one.lease, one.node, now)
            ]
            self.leases.hearsay(table.held, now)
        if table.opener is not None and self.leases is None and self.opening is None:
            fence = table.opener.lease.fence
            self.opening = Lease(fence, table.opener.node, 0, 0, 0, now, now)
        return sends

    def check(self) -> None:
        """Assert the invariants of the parts, and that there is one version or one opener."""
        assert self.opening is None or self.leases is None, "the URL is opened although a version is known"
        assert (self.ver is None) == (self.leases is None)
        assert len(self._ended) <= MAX_ENDED
        self.collapse.check()
        if self.leases is not None:
            self.leases.check()

    def _stranded(self, now: float) -> list[Send]:
        """Nobody here can read: a gateway is asked to, and after a while the members are told, who may have deadlines."""
        gateway = self.gateways.enlist(lambda one: one not in self._members, now)
        sends = [] if gateway is None else [self._to(gateway, Stage(self.term))]
        if self._stranded_at is None:
            self._stranded_at = now
        elif now - self._stranded_at >= STRANDED_S:
            self._stranded_at = now
            sends += [self._to(node, Stranded(self.term, self._last_fault)) for node in self._members.table]
        return sends

    def _wanting(self) -> bool:
        if self.leases is None:
            return self.opening is None
        return len(self.leases.active) < self.window.leases and bool(self.leases.free)

    def _lease(self, node: NodeId, now: float) -> Lease | None:
        if self.leases is not None:
            return self.leases.give(self.next_fence(), node, now)
        self.opening = Lease(self.next_fence(), node, 0, 0, 0, now, now)
        return self.opening

    def _count(self, node: NodeId) -> int:
        return 0 if self.leases is None else self.leases.count_of(node)

    def _others_wait(self, node: NodeId, now: float) -> bool:
        return any(one != node and self._members.may_ask_origin(one, now) for one in self.askers)

    def _begin(self, ver: Version, shape: Shape) -> Leases:
        self.ver, self.opening, self._open_s = ver, None, OPEN_S
        self.leases = leases = Leases(shape)
        leases.note_held(self._members.union(ver))
        self.collapse = Collapse()
        return leases

    def _opened_again(self, node: NodeId, report: Opened, now: float) -> tuple[bool, list[Send]]:
        """Two opened, since the first was taken for lost: the same version is no news, of two the later one is true."""
        assert self.leases is not None
        if report.ver == self.ver:
            if report.fence in self.leases.active:
                return False, []
            return False, [self._to(node, Revoke(self.term, report.fence))]
        if report.fence <= self._opened or report.ver in self._ended:
            ended = Ended(self.term, report.ver, Fault.CHANGED, False)
            return False, [self._to(node, self.over(report.ver) or ended)]
        sends = self._end(Fault.CHANGED)
        began, more = self.opened(node, report, now)
        return began, sends + more

    def _close(self, node: NodeId, fence: Fence) -> bool:
        if self.opening is not None and (self.opening.fence, self.opening.node) == (fence, node):
            self.opening = None
            return True
        return self.leases is not None and self.leases.close(fence, node) is not None

    def _unrepeatable(self) -> list[Send]:
        """Nothing says that a second read would bring the same bytes: what is lost ends the version."""
        leases = self.leases
        if leases is None or leases.shape.repeatable or leases.active or not leases.free:
            return []
        return self._end(Fault.CHANGED)

    def _end(self, fault: Fault) -> list[Send]:
        finish = self.leases is not None and self.leases.done and fault is Fault.CHANGED
        ended = Ended(self.term, self.ver, fault, finish)
        if self.ver is not None:
            if len(self._ended) >= MAX_ENDED:
                del self._ended[next(iter(self._ended))]
            self._ended[self.ver] = ended
        self.ver = self.leases = self.opening = None
        self.collapse = Collapse()
        sends = [self._to(node, ended) for node in self._members.table]
        if fault is Fault.GONE:  # nobody is to ask for it again without a new wish of a caller
            for node in list(self._members.table):
                self._members.drop(node)
                self.askers.drop(node)
        return sends

    def _to(self, node: NodeId, message: Message) -> Send:
        return Send(node, message)
