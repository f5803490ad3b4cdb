"""Comparing whole tables: joining, regular and adaptive sync, calling seeds and the dead. Pure.

A sync is three messages on a connection: fingerprints of buckets; everything in those that differ; what that lacked. All that
comes this way is bulk and believed as such. The pace follows what the last sync found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from p2pstore.gossip import timing
from p2pstore.gossip.beliefs import Beliefs
from p2pstore.gossip.members import Address, Entry, Member, Stamp, State, Table, rank
from p2pstore.gossip.messages import Filled, Join, Joined, Message, Sync, Synced
from p2pstore.gossip.pace import Pace
from p2pstore.types import NodeId

if TYPE_CHECKING:
    from random import Random


def bucket_of(node: NodeId, count: int) -> int:
    """In which of `count` buckets a member is compared."""
    return int(node[:8], 16) % count


def bucket_fingerprints(table: Table, count: int) -> tuple[int, ...]:
    """What `count` buckets hold of the living, each as one number."""
    found = [0] * count
    for node in table.live():
        member = table.get(node)
        assert member is not None
        found[bucket_of(node, count)] ^= member.fingerprint
    return tuple(found)


class Reconcile:
    """When to compare with whom, and the answers to others. At most MAX_ASKED questions of its own are open."""

    def __init__(self, beliefs: Beliefs, seeds: Iterable[Address], now: float, rng: Random) -> None:
        self._beliefs = beliefs
        self._rng = rng
        self._asked: dict[bytes, None] = {}
        self._served = Pace(timing.MAX_SERVED_PER_S, now)
        self._differing: NodeId | None = None
        self._equal = False
        self._retry_s = timing.JOIN_RETRY_S
        self.seeds: tuple[Address, ...] = ()
        self.set_seeds(seeds)
        self.sync_at = now + timing.sync_delay_s(0, rng.random())
        self.seed_at = now
        self.dead_at = now + timing.dead_contact_s(1) * rng.random()

    def set_seeds(self, seeds: Iterable[Address]) -> None:
        """Where to look for members; beyond MAX_SEEDS they are left out, and so is this node's own address."""
        own = self._beliefs.me.contact.address
        self.seeds = tuple(seed for seed in dict.fromkeys(seeds) if seed != own)[: timing.MAX_SEEDS]

    def next_at(self) -> float:
        """When to call somebody."""
        return min(self.sync_at, self.dead_at, self.seed_at)

    def hurry(self, now: float) -> None:
        """This node has missed something: sync at once."""
        self._equal, self.sync_at = False, now

    def lonely(self, now: float) -> None:
        """Nobody is there any more: look for members as if this node had just started."""
        self._retry_s = timing.JOIN_RETRY_S
        self.seed_at = min(self.seed_at, now)

    def compare(self, node: NodeId, fingerprint: int, now: float) -> None:
        """A member told its table's fingerprint: equal ones spare a sync, different ones hasten it when no news are under way."""
        if fingerprint == self._beliefs.table.fingerprint:
            self._equal = True
            if self._differing == node:
                self._differing = None
        elif len(self._beliefs.news) == 0:
            if self._differing is None:
                low, high = timing.SYNC_SOON_S
                self.sync_at = min(self.sync_at, now + low + (high - low) * self._rng.random())
            self._differing = node

    def due(self, now: float, *, searching: bool) -> list[tuple[NodeId | None, Address, Message]]:
        """Calls to make now; `searching` when this node is alone or hears nobody, and asks its seeds more often."""
        calls: list[tuple[NodeId | None, Address, Message]] = []
        if now >= self.sync_at:
            calls += self._sync_regularly(now)
        if now >= self.dead_at:
            wait_s = timing.dead_contact_s(self._beliefs.table.live_count)
            self.dead_at = now + wait_s * (0.5 + self._rng.random())
            calls += self._call_one(
                [member for member in self._beliefs.table.gone() if self._is_missed(member)]
            )
        if now >= self.seed_at:
            calls += self._call_seed(now, searching=searching)
        return calls

    def answer(self, message: Join | Sync, sender: NodeId, now: float) -> Message | None:
        """The reply to a member that compares, or None when too many do."""
        if message.me.node != sender or not self._served.admit(now, len(self._beliefs.table)):
            return None
        corrections = self._beliefs.take([message.me], sender, now)
        table = self._beliefs.table
        if isinstance(message, Join):
            everybody = [entry for member in table for entry in _told(member, now)]
            return Joined(message.nonce, tuple([*corrections, *everybody][: timing.MAX_BULK_ENTRIES]))
        count = len(message.buckets)
        mine = bucket_fingerprints(table, count)
        differing = [at for at in range(count) if mine[at] != message.buckets[at]]
        held = _by_bucket(table, count, differing, now)
        entries = corrections
        for place, at in enumerate(differing):
            if len(entries) + len(held[at]) > timing.MAX_BULK_ENTRIES:
                differing = differing[:place]
                break
            entries += held[at]
        return Synced(message.nonce, count, tuple(differing), tuple(entries))

    def joined(self, message: Joined, sender: NodeId, now: float) -> bool:
        """The members came; False when nobody had asked for them."""
        if message.nonce not in self._asked:
            return False
        del self._asked[message.nonce]
        self._plan(self._take(message.entries, sender, now), now)
        self._beliefs.announce()
        return True

    def fill(self, message: Synced, sender: NodeId, now: float) -> Filled | None:
        """Take in what differs; returns what the other side lacks, or None when nobody had asked it."""
        if message.nonce not in self._asked:
            return None
        del self._asked[message.nonce]
        changed = self._take(message.entries, sender, now)
        told: dict[NodeId, list[Entry]] = {}
        for entry in message.entries:
            told.setdefault(entry.node, []).append(entry)
        lacking: list[Entry] = []
        table = self._beliefs.table
        for entries in _by_bucket(table, message.count, message.differing, now).values():
            lacking += [entry for entry in entries if _lacks(told.get(entry.node, []), entry)]
        self._plan(changed + len(lacking), now)
        return Filled(message.nonce, tuple(lacking[: timing.MAX_BULK_ENTRIES]))

    def filled(self, message: Filled, sender: NodeId, now: float) -> None:
        """Take in what this node lacked."""
        changed = self._take(message.entries, sender, now)
        self.sync_at = min(self.sync_at, now + timing.sync_delay_s(changed, self._rng.random()))

    def _take(self, entries: tuple[Entry, ...], sender: NodeId, now: float) -> int:
        """Take entries in bulk; about how many of their members are held differently now."""
        table = self._beliefs.table
        before = {entry.node: _rank(table.get(entry.node)) for entry in entries}
        self._beliefs.take(entries, sender, now, bulk=True)
        return sum(_rank(table.get(node)) != held for node, held in before.items())

    def _plan(self, differences: int, now: float) -> None:
        self._differing, self._equal = None, False
        self.sync_at = now + timing.sync_delay_s(differences, self._rng.random())

    def _sync_regularly(self, now: float) -> list[tuple[NodeId | None, Address, Message]]:
        spared = self._equal and self._differing is None
        others = [member for node in self._beliefs.others() if (member := self._beliefs.table.get(node))]
        partner = None if self._differing is None else self._beliefs.table.get(self._differing)
        self._plan(0, now)
        if spared:
            return []
        return self._call_one([partner] if partner is not None and partner.live else others)

    def _call_one(self, members: list[Member]) -> list[tuple[NodeId | None, Address, Message]]:
        if not members:
            return []
        member = members[self._rng.randrange(len(members))]
        if member.address is None:
            return []
        table = self._beliefs.table
        fingerprints = bucket_fingerprints(table, timing.buckets(table.live_count))
        return [(member.node, member.address, Sync(self._ask(), self._beliefs.me, fingerprints))]

    @staticmethod
    def _is_missed(member: Member) -> bool:
        return member.state == State.DEAD and member.said is not None

    def _call_seed(self, now: float, *, searching: bool) -> list[tuple[NodeId | None, Address, Message]]:
        if searching:
            self.seed_at = now + self._retry_s * (0.5 + self._rng.random() / 2)
            self._retry_s = min(self._retry_s * 2, timing.JOIN_RETRY_MAX_S)
        else:
            self.seed_at = now + timing.SEED_S * (0.5 + self._rng.random())
            self._retry_s = timing.JOIN_RETRY_S
        known = set() if searching else {member.address for member in self._beliefs.table if member.live}
        seeds = [seed for seed in self.seeds if seed not in known]
        if not seeds:
            return []
        return [(None, seeds[self._rng.randrange(len(seeds))], Join(self._ask(), self._beliefs.me))]

    def _ask(self) -> bytes:
        nonce = self._rng.getrandbits(64).to_bytes(8, "big")
        if len(self._asked) >= timing.MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        self._asked[nonce] = None
        return nonce


def _rank(member: Member | None) -> tuple[Stamp, State]:
    return (Stamp(0, 0), State.ALIVE) if member is None else member.rank


def _told(member: Member, now: float) -> list[Entry]:
    """What is told of a member in bulk: nothing of the long dead, who would be remembered for ever."""
    return member.entries() if member.live or member.since > now - timing.TOMBSTONE_S else []


def _by_bucket(table: Table, count: int, wanted: Iterable[int], now: float) -> dict[int, list[Entry]]:
    found: dict[int, list[Entry]] = {at: [] for at in wanted}
    for member in table:
        at = bucket_of(member.node, count)
        if at in found:
            found[at] += _told(member, now)
    return found


def _lacks(told: list[Entry], mine: Entry) -> bool:
    """Whether somebody who told this of a member holds less than mine."""
    return all(rank(entry) < rank(mine) for entry in told)
