"""Who is there, as one node holds it: what each member said of itself, and what others say of it. Pure.

The rule: both halves are joined by taking the larger, so the order, loss and repetition of news do not matter. The larger
is the one with the higher (generation, incarnation); at equal ones alive < suspect < dead < left. Only the member itself
raises either number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias

from p2pstore.gossip import timing
from p2pstore.types import NodeId

MAX_NUMBER: Final = (1 << 32) - 1
"""Largest generation and incarnation."""
ACCUSER_BYTES: Final = 8
"""Of an accuser's id, what is told: enough to count different ones."""


class State(IntEnum):
    """What a member is held for; of two at one incarnation the larger holds."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


class Address(NamedTuple):
    """Where a node listens: an IP address as text, and a port."""

    host: str
    port: int


class Contact(NamedTuple):
    """What a member says of itself besides being alive; `boot` tells processes apart that share an id."""

    address: Address
    http_port: int
    zone: str
    capabilities: int
    boot: int


class Stamp(NamedTuple):
    """How new something is: a generation (process start), and the incarnation in it (answer to an accusation)."""

    gen: int
    inc: int


@dataclass(frozen=True, slots=True)
class Alive:
    """What a member says of itself."""

    node: NodeId
    stamp: Stamp
    contact: Contact


@dataclass(frozen=True, slots=True)
class Accusation:
    """What others say of a member at one of its incarnations; LEFT is its own farewell.

    `accusers` are the sorted beginnings of the ids of those who found it silent, at most MAX_ACCUSERS.
    """

    node: NodeId
    stamp: Stamp
    state: State
    accusers: tuple[bytes, ...] = ()


Entry: TypeAlias = Alive | Accusation


def rank(entry: Entry) -> tuple[Stamp, State]:
    """What decides between two entries about one member: the larger holds."""
    return entry.stamp, entry.state if isinstance(entry, Accusation) else State.ALIVE


def accuser(node: NodeId) -> bytes:
    """How a node is named among accusers."""
    return bytes.fromhex(node[: 2 * ACCUSER_BYTES])


def later_alive(one: Alive, other: Alive) -> Alive:
    """The one that holds of two sayings of one member; commutative, associative and idempotent."""
    return max(one, other, key=lambda alive: (alive.stamp, alive.contact))


def joint_accusation(one: Accusation, other: Accusation) -> Accusation:
    """The one that holds of two accusations of one member, accusers joined at equal rank; a join like `later_alive`."""
    if rank(one) != rank(other):
        return max(one, other, key=rank)
    accusers = tuple(sorted({*one.accusers, *other.accusers})[: timing.MAX_ACCUSERS])
    return Accusation(one.node, one.stamp, one.state, accusers)


class Member:
    """One member as it is held. `said` is None for one that is known by accusations only: it can't be reached."""

    __slots__ = ("accused", "fingerprint", "lag_s", "node", "said", "since", "stamp", "state")

    def __init__(self, node: NodeId, now: float) -> None:
        self.node = node
        self.said: Alive | None = None
        self.accused: Accusation | None = None
        self.stamp = Stamp(0, 0)
        """The newest incarnation that is known of it."""
        self.state = State.DEAD
        self.since = now
        """When `state` last changed."""
        self.lag_s = 0.0
        """How late its loop runs, as it last told."""
        self.fingerprint = 0

    @property
    def rank(self) -> tuple[Stamp, State]:
        """What news about it must exceed."""
        return self.stamp, self.state

    @property
    def live(self) -> bool:
        """Whether it counts as a member: it can be reached, and is alive or only suspected."""
        return self.said is not None and self.state <= State.SUSPECT

    @property
    def address(self) -> Address | None:
        """Where it said that it listens."""
        return None if self.said is None else self.said.contact.address

    def entries(self) -> list[Entry]:
        """All that is to be told of it: its own word, and the accusation while that holds."""
        told: list[Entry] = [] if self.said is None else [self.said]
        if self.accused is not None and self.state != State.ALIVE:
            told.append(self.accused)
        return told

    def join(self, entry: Entry, now: float) -> bool:
        """Take the entry in; whether anything is held differently now."""
        before = self.said, self.accused
        if isinstance(entry, Alive):
            self.said = entry if self.said is None else later_alive(self.said, entry)
        else:
            self.accused = entry if self.accused is None else joint_accusation(self.accused, entry)
        self.stamp = max(self.stamp, entry.stamp)
        state = self._state()
        if state != self.state:
            self.state, self.since = state, now
        return before != (self.said, self.accused)

    def _state(self) -> State:
        if self.accused is not None and (self.said is None or self.accused.stamp >= self.said.stamp):
            return self.accused.state
        return State.ALIVE


@dataclass(frozen=True, slots=True)
class Change:
    """What an entry did to the table: whether it was news, and the member's state before (None: unknown) and after."""

    news: bool
    before: State | None
    after: State


class Table:
    """All members that are held, this node among them; the dead are kept for a while so that nothing revives them.

    `fingerprint` is equal where the living and their incarnations are; suspicion and the dead are left out of it, because they
    differ from node to node without harm. At most MAX_MEMBERS, the oldest dead go first.
    """

    def __init__(self) -> None:
        self._members: dict[NodeId, Member] = {}
        self._gone: dict[NodeId, None] = {}
        self._live: tuple[NodeId, ...] | None = ()
        self.live_count = 0
        self.fingerprint = 0

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def get(self, node: NodeId) -> Member | None:
        """The member, or None when nothing is held of it."""
        return self._members.get(node)

    def live(self) -> tuple[NodeId, ...]:
        """The ids of all members that count, this node among them, sorted."""
        if self._live is None:
            self._live = tuple(sorted(member.node for member in self if member.live))
        return self._live

    def gone(self) -> list[Member]:
        """The dead, the departed and those known by accusations only; longest held first."""
        return [self._members[node] for node in self._gone]

    def apply(self, entry: Entry, now: float) -> Change | None:
        """Take an entry in; None when there is no room for a member more."""
        member = self._members.get(entry.node)
        before = None if member is None or member.said is None else member.state
        if member is None:
            if not self._make_room():
                return None
            member = self._members[entry.node] = Member(entry.node, now)
        was_live = before is not None and member.live
        news = member.join(entry, now)
        if news:
            self._recount(member, was_live)
        return Change(news, before, member.state)

    def prune(self, now: float) -> None:
        """Forget the dead whose time is over, and the oldest of too many."""
        most = max(timing.MIN_DEAD_KEPT, 2 * self.live_count)
        while self._gone:
            oldest = next(iter(self._gone))
            if len(self._gone) <= most and self._members[oldest].since > now - timing.MEMORY_S:
                return
            self._forget(oldest)

    def check(self) -> None:
        """Assert that what is counted is what is held."""
        live = [member for member in self if member.live]
        assert self.live_count == len(live) and self.live() == tuple(sorted(one.node for one in live))
        assert set(self._gone) == {member.node for member in self if not member.live}
        total = 0
        for member in live:
            total ^= member.fingerprint
        assert total == self.fingerprint
        assert len(self._members) <= timing.MAX_MEMBERS

    def _make_room(self) -> bool:
        if len(self._members) >= timing.MAX_MEMBERS and self._gone:
            self._forget(next(iter(self._gone)))
        return len(self._members) < timing.MAX_MEMBERS

    def _forget(self, node: NodeId) -> None:
        del self._gone[node]
        del self._members[node]

    def _recount(self, member: Member, was_live: bool) -> None:
        if was_live:
            self.fingerprint ^= member.fingerprint
            self.live_count -= 1
        if member.live:
            assert member.said is not None
            member.fingerprint = _fingerprint(member.said)
            self.fingerprint ^= member.fingerprint
            self.live_count += 1
            self._gone.pop(member.node, None)
        elif was_live or member.node not in self._gone:
            self._gone[member.node] = None
        if member.live != was_live:
            self._live = None


def _fingerprint(alive: Alive) -> int:
    data = bytes.fromhex(alive.node) + alive.stamp.gen.to_bytes(4, "big") + alive.stamp.inc.to_bytes(4, "big")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
