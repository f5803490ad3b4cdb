"""Who is the referee of a key: claims, reigns, spares that hear its heart beat, hand-over. Pure.

The rule: the highest-ranked live node reigns. Before its first lease it claims, so that whoever reigned, or kept a table, says so;
after a predecessor that did not hand over it gives no lease for a time of grace in which members tell what they hold. A
referee that hears of a higher term stops. There is no quorum: in a split each side reads one copy at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

from p2pstore.swarm.messages import Claim, HandOver, Message, Replica, Reply, Send, Table
from p2pstore.swarm.terms import NO_TERM, Term
from p2pstore.types import NodeId

SPARES: Final = 2
"""How many nodes after the referee keep its table."""
BEAT_S: Final = 0.25
"""A referee with work to do tells its spares that it lives, and what changed, this often."""
FULL_EVERY: Final = 4
"""Each so many beats carry the table although it did not change: a lost one is made good."""
SILENCE_S: Final = 1.0
"""The first spare takes over after so long without a beat, the second after twice that."""
CLAIM_S: Final = 0.25
"""For so long a claimant waits for answers; where a round trip takes longer, views that differ may cost a second copy."""
GRACE_S: Final = 1.0
"""For so long a successor collects joins before it gives a lease."""
YIELD_S: Final = 1.0
"""A successor that was handed the table must be heard of within this time."""
YIELD_AGAIN_S: Final = 10.0
"""After a hand-over that came to nothing the next is tried so much later."""


class Role(StrEnum):
    """What a node is for a key."""

    FOLLOWING = "following"
    CLAIMING = "claiming"
    GRACE = "grace"
    """Reigning, but giving no lease yet."""
    REIGNING = "reigning"
    YIELDING = "yielding"
    """Reigning, but giving no lease any more: another was handed the table."""


class Succession:
    """This node's part in it. `table` makes the present table when it is asked for; `instance` is that of Term."""

    def __init__(self, me: NodeId, table: Callable[[], Table], instance: int = 0) -> None:
        self.role = Role.FOLLOWING
        self.term = NO_TERM
        """The highest term that was ever reigned in, as far as known here; one's own while reigning."""
        self.inherited: list[Table] = []
        """Tables to merge into one's own, taken out by the owner; at most one from each who was asked."""
        self.ranked: tuple[NodeId, ...] = (me,)
        self._me = me
        self._instance = instance
        self._make_table = table
        self._promised = NO_TERM
        self._since = 0.0
        self._awaited: set[NodeId] = set()
        self._asked: set[NodeId] = set()
        self._exact = False
        self._heard_at = float("-inf")
        self._expecting = False
        self._replica: Table | None = None
        self._beat_at = float("-inf")
        self._beats = 0
        self._sent: Table | None = None
        self._yield_at = float("-inf")

    @property
    def reigns(self) -> bool:
        """Whether this node answers as the referee."""
        return self.role in (Role.GRACE, Role.REIGNING, Role.YIELDING)

    @property
    def gives(self) -> bool:
        """Whether this node gives leases."""
        return self.role is Role.REIGNING

    @property
    def heir(self) -> NodeId:
        """Where those are sent who took this node for the referee."""
        latest = max(self.term, self._promised)
        return self.ranked[0] if latest.referee in (self._me, NO_TERM.referee) else latest.referee

    @property
    def waits(self) -> bool:
        """Whether time alone will change something here."""
        return self.role not in (Role.FOLLOWING, Role.REIGNING) or self._expecting or self._outranked

    @property
    def _outranked(self) -> bool:
        return self.role is Role.REIGNING and self.ranked[0] != self._me

    def view(self, ranked: Sequence[NodeId], now: float) -> list[Send]:
        """The live members of the cluster as ranked for this key, best first; this node always counts as live."""
        self.ranked = tuple(ranked) if self._me in ranked else (*ranked, self._me)
        self._awaited &= set(self.ranked)
        return self.tick(now)

    def died(self, node: NodeId, now: float) -> None:
        """The cluster holds a node for dead: if it was the referee the first spare does not wait for it any more."""
        if node == self.term.referee:
            self._heard_at = min(self._heard_at, now - SILENCE_S)

    def note(self, term: Term) -> None:
        """Somebody knows of that term; one that is higher than one's own ends the reign.

        It may be one's own of an earlier instance: then the next one is above it.
        """
        if term <= self.term:
            return
        if self.reigns:
            self._replica, self._expecting, self._heard_at = None, False, float("-inf")
            self.role = Role.FOLLOWING
        self.term = term

    def whom(self, unanswered: Sequence[NodeId], now: float) -> tuple[NodeId | None, list[Send]]:
        """Whom a member is to ask instead of this node, or None: then this node is the referee, or about to be."""
        if self.role is not Role.FOLLOWING:
            return None, []
        leader = self.term.referee
        if leader == self._me:
            return None, self._claim(now)  # it reigned, and forgot
        if self._known(leader, now) and (leader not in unanswered or self._hears(now)):
            return leader, []
        claimant = self._promised.referee
        if self._promised > self.term and claimant not in unanswered and now - self._heard_at < SILENCE_S:
            return claimant, []  # perhaps of a node that the cluster has not told of yet
        for node in self.ranked[: self.ranked.index(self._me)]:
            if node not in unanswered:
                return node, []
        return None, self._claim(now)

    def hear(self, sender: NodeId, message: Claim | Reply | Replica | HandOver, now: float) -> list[Send]:
        """A word of another referee, spare or claimant."""
        if isinstance(message, Claim):
            return self._claimed(sender, message, now)
        if isinstance(message, Reply):
            return self._replied(message, sender, now)
        if message.term < self.term or (message.term == self.term and self.reigns):
            return self._send(sender, Reply(self.term, True))
        if isinstance(message, HandOver):
            return self._handed(message, now)
        self._follow(message.term, now)
        self._expecting = message.busy
        if message.table is not None:
            self._replica = message.table
        return []

    def tick(self, now: float) -> list[Send]:
        """Time passes."""
        if self.role is Role.CLAIMING:
            return self._reign(now) if not self._awaited or now - self._since >= CLAIM_S else []
        if (self.role is Role.GRACE and now - self._since >= GRACE_S) or (
            self.role is Role.YIELDING and now - self._since >= YIELD_S
        ):
            self.role = Role.REIGNING
            self._yield_at = max(self._yield_at, now)
        if self._outranked and now >= self._yield_at:
            return self._yield(self.ranked[0], now)
        if self.role is Role.FOLLOWING and self._expecting and self._silent(now):
            return self._claim(now)
        return []

    def beat(self, busy: bool, now: float) -> list[Send]:
        """The referee tells its spares what changed: while busy at each beat, otherwise once when there is news."""
        if not self.reigns or now - self._beat_at < BEAT_S:
            return []
        table = self._make_table()
        if not busy and not self._expecting and table == self._sent:
            return []
        self._beat_at, self._expecting = now, busy
        self._beats += 1
        changed = table != self._sent or self._beats % FULL_EVERY == 0 or not busy
        self._sent = table
        replica = Replica(self.term, busy, table if changed else None)
        return [one for spare in self._spares() for one in self._send(spare, replica)]

    def leave(self, now: float) -> list[Send]:
        """This node goes: hand the table to the next in rank, if there is one."""
        heirs = [node for node in self.ranked if node != self._me]
        return self._yield(heirs[0], now) if self.reigns and heirs else []

    def _claim(self, now: float) -> list[Send]:
        self.role, self._since, self._exact = Role.CLAIMING, now, False
        self.inherited = [] if self._replica is None else [self._replica]
        self._asked = set(self._spares()) | ({self.term.referee} & set(self.ranked)) - {self._me}
        self._awaited = set(self._asked)
        claim = Claim(self._next_term())
        if not self._awaited:
            return self._reign(now)
        return [one for node in sorted(self._asked) for one in self._send(node, claim)]

    def _next_term(self) -> Term:
        return Term(max(self.term.number, self._promised.number) + 1, self._me, self._instance)

    def _reign(self, now: float) -> list[Send]:
        predecessor = self.term != NO_TERM and not self._exact
        self.term = self._next_term()
        self.role = Role.GRACE if predecessor else Role.REIGNING
        self._since, self._yield_at = now, now + YIELD_AGAIN_S
        self._replica = self._sent = None
        self._beat_at, self._expecting = float("-inf"), True  # so that the next beat goes out in any case
        return []

    def _follow(self, term: Term, now: float) -> None:
        self.role, self.term, self._heard_at = Role.FOLLOWING, max(self.term, term), now
        self.inherited = []

    def _claimed(self, sender: NodeId, claim: Claim, now: float) -> list[Send]:
        known = max(self.term, self._promised)
        higher = sender in self.ranked and self.ranked.index(sender) < self.ranked.index(self._me)
        if self.role is Role.FOLLOWING:
            leader = self.term.referee
            if leader not in (self._me, sender) and self._hears(now):
                return self._send(sender, Reply(self.term, True))
            table, exact = self._replica, False
        elif not higher:
            mine = self.term if self.reigns else self._next_term()
            return self._send(sender, Reply(mine, True))
        else:
            exact = self.reigns and self.role is not Role.GRACE
            self._replica = table = self._make_table() if self.reigns else self._replica
            self._follow(self.term, now)
            self._expecting = table is not None
        recent = known.referee not in (self._me, sender, NO_TERM.referee) and now - self._heard_at < SILENCE_S
        self._promised, self._heard_at = max(self._promised, claim.term), now
        return self._send(sender, Reply(known, False, table, exact, recent))

    def _replied(self, reply: Reply, sender: NodeId, now: float) -> list[Send]:
        if reply.refused and reply.term.referee != self._me:
            if self.role is Role.CLAIMING:
                self._follow(reply.term, now)
                self._expecting = False
            else:
                self.note(reply.term)
            return []
        if self.role is Role.FOLLOWING:
            return []
        if reply.table is not None:
            self.inherited.append(reply.table)
        if self.role is not Role.CLAIMING:
            return []
        self.term = max(self.term, reply.term)
        self._exact = self._exact or reply.exact
        self._awaited.discard(sender)
        leader = self.term.referee
        if (leader in self.ranked or reply.recent) and leader not in (self._me, *self._asked):
            self._asked.add(leader)
            self._awaited.add(leader)
            return self._send(leader, Claim(self._next_term()))
        return self.tick(now)

    def _handed(self, message: HandOver, now: float) -> list[Send]:
        self.term, self._exact = message.term, True
        self.inherited = [message.table]
        return self._reign(now)

    def _yield(self, heir: NodeId, now: float) -> list[Send]:
        self.role, self._since, self._yield_at = Role.YIELDING, now, now + YIELD_AGAIN_S
        return self._send(heir, HandOver(self.term, self._make_table()))

    def _spares(self) -> list[NodeId]:
        return [node for node in self.ranked if node != self._me][:SPARES]

    def _known(self, leader: NodeId, now: float) -> bool:
        """Whether that node is live, or was heard of before the cluster told of it."""
        return leader in self.ranked or (leader != NO_TERM.referee and now - self._heard_at < SILENCE_S)

    def _hears(self, now: float) -> bool:
        return self._expecting and now - self._heard_at < SILENCE_S

    def _silent(self, now: float) -> bool:
        """Whether it is this node's turn to take over from a referee that beats no more."""
        leader = self.term.referee
        others = [node for node in self.ranked if node != leader]
        place = others.index(self._me) if leader != self._me else 0
        return place < SPARES and now - self._heard_at >= SILENCE_S * (place + 1)

    def _send(self, to: NodeId, message: Message) -> list[Send]:
        return [Send(to, message)]
