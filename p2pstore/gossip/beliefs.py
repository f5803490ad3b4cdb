"""What this node believes of the others and of itself, and whom it believes. Pure.

The rule: everybody speaks for himself. A third party can accuse but not revive, and what comes in bulk can't kill: deaths become
suspicions, and life is checked by asking the one that is said to live.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from p2pstore.gossip import timing
from p2pstore.gossip.decisions import Decision, MemberChanged, Raised, TwinSeen
from p2pstore.gossip.dissemination import Dissemination
from p2pstore.gossip.members import (
    MAX_NUMBER,
    Accusation,
    Alive,
    Entry,
    Member,
    Stamp,
    State,
    Table,
    accuser,
    rank,
)
from p2pstore.gossip.suspicion import Health, Suspicions
from p2pstore.types import NodeId

if TYPE_CHECKING:
    from random import Random


class Beliefs:
    """The table with all that hangs on it: suspicions, news to pass on, and this node's own incarnation.

    Events go to `out`, in order. `hearsay` holds what waits for a check, at most MAX_CHECKS, until it is taken away.
    """

    def __init__(self, me: Alive, now: float, rng: Random, out: list[Decision]) -> None:
        self.me = me
        self.table = Table()
        self.news = Dissemination()
        self.suspicions = Suspicions(now)
        self.health = Health()
        self.hearsay: list[Alive] = []
        self.departing = False
        self._rng = rng
        self._out = out
        self._answer_at = now
        self.table.apply(me, now)

    def others(self) -> list[NodeId]:
        """All members that count, but this node."""
        return [node for node in self.table.live() if node != self.me.node]

    def take(
        self, entries: Iterable[Entry], sender: NodeId, now: float, *, bulk: bool = False
    ) -> list[Entry]:
        """Believe what deserves it; returns what the sender should know instead, where it holds something older."""
        corrections: list[Entry] = []
        for entry in entries:
            self.news.told_by(sender, entry)
            if entry.node == self.me.node:
                corrections += self._about_me(entry, now)
            else:
                corrections += self._about_other(entry, sender, now, bulk=bulk)
        return corrections

    def accuse(self, node: NodeId, now: float) -> None:
        """Its probe failed: suspect it, or join those who do."""
        member = self.table.get(node)
        if member is not None and member.live:
            by_me = (accuser(self.me.node),)
            self._apply(Accusation(node, member.stamp, State.SUSPECT, by_me), "probe", now)

    def condemn(self, node: NodeId, now: float) -> None:
        """Its final check failed: hold it dead."""
        member = self.table.get(node)
        if member is not None and self.suspicions.checking(node):
            self._apply(Accusation(node, member.stamp, State.DEAD), "check", now)

    def depart(self, now: float) -> None:
        """This node says that it has left; it answers no accusation any more."""
        self.departing = True
        self.table.apply(Accusation(self.me.node, self.me.stamp, State.LEFT), now)

    def against(self, node: NodeId) -> list[Entry]:
        """The accusation that `node` has to answer, if there is one."""
        member = self.table.get(node)
        if member is None or member.accused is None or member.state == State.ALIVE:
            return []
        return [member.accused]

    def check(self) -> None:
        """Assert what holds between the parts."""
        self.table.check()
        self.news.check()
        mine = self.table.get(self.me.node)
        assert mine is not None and mine.said == self.me
        assert mine.state == (State.LEFT if self.departing else State.ALIVE), "a node accuses itself"
        suspects = {one.node for one in self.table if one.live and one.state == State.SUSPECT}
        assert len(self.suspicions) == len(suspects) and all(node in self.suspicions for node in suspects)
        assert len(self.hearsay) <= timing.MAX_CHECKS

    def _about_other(self, entry: Entry, sender: NodeId, now: float, *, bulk: bool) -> list[Entry]:
        itself = entry.node == sender
        member = self.table.get(entry.node)
        if member is not None:
            newer = rank(entry) > member.rank
            if isinstance(entry, Alive) and newer and member.state >= State.DEAD and not itself:
                if len(self.hearsay) < timing.MAX_CHECKS:
                    self.hearsay.append(entry)
                return []
            if bulk and isinstance(entry, Accusation) and entry.state == State.DEAD and member.live:
                entry = Accusation(entry.node, entry.stamp, State.SUSPECT, (accuser(sender),))
        namesake = [] if member is None or not itself else _namesake(member, entry)
        self._apply(entry, "itself" if itself else "sync" if bulk else "rumour", now, sender=sender)
        if itself and isinstance(entry, Alive):
            self._succeed(entry, now)
        member = self.table.get(entry.node)
        if member is None or rank(entry) >= member.rank:
            return namesake
        return [told for told in member.entries() if rank(told) > rank(entry)]

    def _apply(self, entry: Entry, by: str, now: float, sender: NodeId | None = None) -> None:
        member = self.table.get(entry.node)
        stamp = None if member is None else member.stamp
        change = self.table.apply(entry, now)
        member = self.table.get(entry.node)
        if change is None or member is None or not change.news:
            return
        if member.said is not None and change.before != change.after:
            self._out.append(MemberChanged(entry.node, change.before, change.after, member.stamp.gen, by))
        self._watch(member, renewed=member.stamp != stamp)
        others = self.others()
        if not member.live:
            self.news.retain(others)
        if rank(entry) == member.rank or isinstance(entry, Alive):
            live = self.table.live_count
            self.news.add(self._held(entry, member), others, live, bulk=by == "sync", knows=sender)

    @staticmethod
    def _held(entry: Entry, member: Member) -> Entry:
        """The entry as it is held now: with the accusers of both sides."""
        held = member.said if isinstance(entry, Alive) else member.accused
        return entry if held is None else held

    def _watch(self, member: Member, *, renewed: bool) -> None:
        """Keep the member's suspicion in step with its state."""
        if renewed or member.state != State.SUSPECT:
            self.suspicions.stop(member.node)
        if member.live and member.state == State.SUSPECT and member.accused is not None:
            jitter_s = self._rng.random() * timing.FINAL_JITTER_S
            live = self.table.live_count
            self.suspicions.start(member.node, member.accused.accusers, live, jitter_s)

    def _succeed(self, entry: Alive, now: float) -> None:
        """Whoever lived at its address before is dead: a node that came back under a new id."""
        for node in self.others():
            member = self.table.get(node)
            if member is None or node == entry.node or member.address != entry.contact.address:
                continue
            # Only the newer start wins, or two that are set to one address would kill each other for ever.
            if member.stamp.gen < entry.stamp.gen:
                self._apply(Accusation(node, member.stamp, State.DEAD), "address", now)

    def _about_me(self, entry: Entry, now: float) -> list[Entry]:
        """Answer for this node: nobody else's word about it is taken, and every accusation is answered."""
        if self.departing or entry == self.me:
            return []
        if entry.stamp >= self.me.stamp:
            if isinstance(entry, Alive):
                self._meet_namesake(entry, now)
            else:
                if entry.stamp.gen == self.me.stamp.gen:
                    self.health.worse()
                self._raise(entry.stamp, now)
        return [self.me]

    def _meet_namesake(self, entry: Alive, now: float) -> None:
        """Another process under this id, or what an earlier one said: outdo it, but not more often than REFUTE_GAP_S."""
        if now < self._answer_at:
            return
        self._answer_at = now + timing.REFUTE_GAP_S
        if entry.stamp.gen == self.me.stamp.gen and entry.contact.boot != self.me.contact.boot:
            yields = self.me.contact.boot < entry.contact.boot
            self._out.append(TwinSeen(entry.contact.address, yields))
        self._raise(entry.stamp, now)

    def _raise(self, above: Stamp, now: float) -> None:
        gen, inc = above.gen, above.inc + 1
        if inc > MAX_NUMBER:
            gen, inc = gen + 1, 0
        if gen > MAX_NUMBER:
            return
        self.me = Alive(self.me.node, Stamp(gen, inc), self.me.contact)
        self._out.append(Raised(gen, inc))
        self.table.apply(self.me, now)
        self.news.add(self.me, self.others(), self.table.live_count, bulk=False, knows=None)

    def announce(self) -> None:
        """Tell everybody of this node's own record once more."""
        self.news.add(self.me, self.others(), self.table.live_count, bulk=False, knows=None)


def _namesake(member: Member, entry: Entry) -> list[Entry]:
    """What another process said under the same id at the same incarnation: the one who speaks now shall know of it."""
    said = member.said
    if not isinstance(entry, Alive) or said is None:
        return []
    return [said] if said.stamp == entry.stamp and said != entry else []
