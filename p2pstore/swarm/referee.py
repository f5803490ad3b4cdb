"""The referee of a key: who works on it, and who may ask its origin for what. Pure; messages come in, messages to send go out.

Every node that is asked about a key has one of these; which of them reigns is `succession`'s matter, and no data passes through
any. All it knows is told again by the members every few seconds: losing it costs time, and at most another read of what was
under way. `tick` is to be called every TICK_S until `idle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from p2pstore.swarm.members import Members
from p2pstore.swarm.messages import (
    Ask,
    Brought,
    Claim,
    Elsewhere,
    Failed,
    Freshness,
    Got,
    HandOver,
    Join,
    Leave,
    Message,
    Opened,
    Outcome,
    Poll,
    Released,
    Replica,
    Reply,
    Revalidate,
    Revalidated,
    Send,
    Stage,
    Stale,
    Table,
    Urgent,
    Welcome,
)
from p2pstore.swarm.reading import Reading
from p2pstore.swarm.revalidation import Revalidation
from p2pstore.swarm.succession import Role, Succession
from p2pstore.types import NodeId

if TYPE_CHECKING:
    from random import Random

TICK_S: Final = 0.1
"""How often overdue leases are looked for; all waits here are multiples of it."""


class Referee:
    """One key's referee, spare or signpost on this node `me`. State is bounded as that of its parts is.

    `instance` must be above that of every earlier one for the key on this node, over restarts.
    """

    def __init__(self, me: NodeId, rng: Random, instance: int = 0) -> None:
        self.me = me
        self.members = Members()
        self.reading = Reading(self.members)
        self.revalidation = Revalidation()
        self.succession = Succession(me, self.table, instance)
        self._rng = rng

    @property
    def idle(self) -> bool:
        """Whether time alone changes nothing here: no tick is needed until the next call."""
        return not self.members and not self.succession.waits and not self.revalidation.busy

    def table(self) -> Table:
        """What a successor takes over."""
        return replace(
            self.reading.table(), members=tuple(self.members.table), outcome=self.revalidation.last
        )

    def view(self, ranked: Sequence[NodeId], gateways: Sequence[NodeId], now: float) -> list[Send]:
        """The live members of the cluster and its gateways, each ranked for this key, best first."""
        self.reading.gateways.view(gateways)
        role = self.succession.role
        return self._after(role, self.succession.view(ranked, now), now)

    def died(self, node: NodeId, now: float) -> list[Send]:
        """The cluster holds a node for dead."""
        self.succession.died(node, now)
        sends = self._lost(node, now)
        return sends + self._work(now) if self.succession.reigns else sends

    def hear(self, sender: NodeId, message: Message, now: float) -> list[Send]:
        """A message to this node as referee, spare or claimant; others are ignored."""
        role = self.succession.role
        if isinstance(message, Claim | Reply | Replica | HandOver):
            return self._after(role, self.succession.hear(sender, message, now), now)
        sends: list[Send] = []
        if isinstance(message, Join):
            self.succession.note(message.term)
            sends = self._after(role, sends, now)
        unanswered = message.unanswered if isinstance(message, Join) else ()
        role = self.succession.role
        leader, claims = self.succession.whom(unanswered, now)
        if leader is not None:
            return [*sends, Send(sender, Elsewhere(self.succession.term, leader))]
        sends += self._after(role, claims, now)
        if self.succession.reigns:
            self.members.heard(sender, now)
            return sends + self._report(sender, message, now) + self._work(now)
        self._remember(sender, message, now)
        return sends

    def tick(self, now: float) -> list[Send]:
        """Time passes; see TICK_S."""
        role = self.succession.role
        sends = self._after(role, self.succession.tick(now), now)
        if not self.succession.reigns:
            return sends
        for node in self.members.expired(now):
            sends += self._lost(node, now)
        sends += self.reading.tick(now)
        sends += self._tell(self.revalidation.expire(now))
        return sends + self._work(now)

    def leave(self, now: float) -> list[Send]:
        """This node goes for good: hand over."""
        return self.succession.leave(now)

    def check(self) -> None:
        """Assert the invariants of all parts."""
        self.reading.check()
        assert all(node in self.members for node in self.reading.askers), "a stranger asks"
        assert not (self.succession.reigns and self.succession.term.referee != self.me), (
            "reigns in another's term"
        )

    def _report(self, sender: NodeId, message: Message, now: float) -> list[Send]:
        reading = self.reading
        match message:
            case Join():
                return self._join(sender, message, now)
            case Leave():
                return self._lost(sender, now)
            case Ask():
                if sender not in self.members:
                    return [Send(sender, Poll(self.succession.term))]
                reading.askers.ask(sender, message.room)
            case Opened():
                return self._news(*reading.opened(sender, message, now))
            case Brought():
                return self._news(*reading.brought(sender, message, now))
            case Got():
                self.members.got(sender, message.number, message.ver, message.pieces, now)
                return reading.has(sender, now)
            case Failed():
                return self._news(*reading.failed(sender, message, now))
            case Released():
                return reading.released(sender, message, now)
            case Urgent():
                if reading.leases is not None and message.ver == reading.ver:
                    reading.leases.hurry(message.piece)
            case Stale():
                outcome = self.revalidation.ask(sender, message, now)
                return [] if outcome is None else [Send(sender, Freshness(self.succession.term, outcome))]
            case Revalidated():
                return self._tell(self.revalidation.reported(sender, message, now))
            case _:
                pass
        return []

    def _join(self, sender: NodeId, join: Join, now: float) -> list[Send]:
        member, fewer = self.members.join(sender, join, now)
        ended = self.reading.over(join.ver)
        sends = [] if ended is None else [Send(sender, ended)]
        if member and join.ver is not None and join.shape is not None:
            self.reading.know(join.ver, join.shape)
        sends += self.reading.joined(sender, join.leases, now) if member else []
        sends += self.reading.fewer(now) if fewer else []
        return [*sends, self._welcome(sender, join.peers, join.zone)]

    def _welcome(self, node: NodeId, peers: int, zone: str) -> Send:
        reading = self.reading
        shape = reading.shape
        if shape is not None and shape.small:
            peers = 0  # one holder will be named, or none is needed
        found = self.members.peers(node, zone, reading.ver, peers, self._rng)
        return Send(node, Welcome(self.succession.term, reading.ver, shape, found, reading.collapse.body))

    def _news(self, news: bool, sends: list[Send]) -> list[Send]:
        """What all members are to hear, after what some are told."""
        return sends + self._welcome_all() if news else sends

    def _welcome_all(self) -> list[Send]:
        return [self._welcome(node, 0, member.zone) for node, member in self.members.table.items()]

    def _lost(self, node: NodeId, now: float) -> list[Send]:
        self.revalidation.node_lost(node)
        self.members.drop(node)
        return self.reading.lost(node, now)  # a stranger may hold a lease that a predecessor gave

    def _work(self, now: float) -> list[Send]:
        """Give what may be given now, and let the spares know."""
        sends: list[Send] = []
        if self.succession.gives:
            sends += self.reading.give(now)
            sends += self._revalidate(now)
        return sends + self.succession.beat(bool(self.members) and self.reading.busy, now)

    def _revalidate(self, now: float) -> list[Send]:
        if not self.revalidation.waiting:
            return []
        members = self.members.table
        able = self.revalidation.candidates() or [
            node
            for node in members
            if self.members.may_ask_origin(node, now) and self.revalidation.untried(node)
        ]
        if not able:
            gateway = self.reading.gateways.enlist(self.revalidation.untried, now)
            return [] if gateway is None else [Send(gateway, Stage(self.succession.term))]
        fence = self.reading.next_fence()
        self.revalidation.give(fence, able[0], now)
        return [Send(able[0], Revalidate(self.succession.term, fence))]

    def _tell(self, result: tuple[Outcome, tuple[NodeId, ...]] | None) -> list[Send]:
        """An outcome goes to the waiters; one that the origin gave goes to all members as well."""
        if result is None:
            return []
        outcome, waiters = result
        told = dict.fromkeys(waiters)
        if outcome.status:
            told |= dict.fromkeys(self.members.table)
        return [Send(node, Freshness(self.succession.term, outcome)) for node in told]

    def _remember(self, sender: NodeId, message: Message, now: float) -> None:
        """Not reigning yet: who asks is kept, and heard when the reign begins."""
        match message:
            case Join():
                self.members.join(sender, message, now)
            case Ask() if sender in self.members:
                self.reading.askers.ask(sender, message.room)
            case Stale():
                self.revalidation.ask(sender, message, now)
            case _:
                pass

    def _after(self, before: Role, sends: list[Send], now: float) -> list[Send]:
        """Do what a change of role brings with it."""
        reigned = before in (Role.GRACE, Role.REIGNING, Role.YIELDING)
        if self.succession.reigns:
            if not reigned or self.reading.term != self.succession.term:
                return sends + self._crown(now)
            return sends + self._inherit(now)
        if self.succession.role is Role.FOLLOWING and before is not Role.FOLLOWING:
            return sends + self._step_down()
        return sends

    def _crown(self, now: float) -> list[Send]:
        """The reign begins: everybody known is told, and asked what it has."""
        term = self.reading.term = self.succession.term
        told = {node: None for table in self.succession.inherited for node in table.members}
        sends = self._inherit(now)
        sends += [Send(node, Poll(term)) for node in told | dict.fromkeys(self.members.table)]
        return sends + self._work(now)

    def _inherit(self, now: float) -> list[Send]:
        sends: list[Send] = []
        for table in self.succession.inherited:
            sends += self.reading.merge(table, now)
            self.revalidation.adopt(table.outcome, now)
        self.succession.inherited = []
        return sends

    def _step_down(self) -> list[Send]:
        """Another reigns, or will: members are sent there, and what was known here is dropped."""
        term, leader = self.succession.term, self.succession.heir
        sends = [Send(node, Elsewhere(term, leader)) for node in self.members.table]
        gateways = self.reading.gateways
        self.members = Members()
        self.reading = Reading(self.members)
        self.reading.gateways = gateways
        self.revalidation = Revalidation()
        return sends
