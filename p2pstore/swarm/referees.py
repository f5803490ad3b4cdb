"""All keys that this node is a referee or a spare of, and what they have to say in few packets. Pure.

A referee without members and without a part to play is forgotten when its room is needed: what it knew is told again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from p2pstore.swarm.messages import MAX_KEYS, Message, Send
from p2pstore.swarm.referee import Referee
from p2pstore.types import Key, NodeId

if TYPE_CHECKING:
    from random import Random

MAX_REFEREES: Final = 4096
"""Keys at once; a message about one more is dropped if none of them is idle, and who sent it asks the next in rank."""
MAX_BODY_BYTES: Final = 16 << 20
"""All small objects kept for inline answers; the one that was kept first makes room, and its holders answer for it."""

Ranking: TypeAlias = Callable[[Key], tuple[Sequence[NodeId], Sequence[NodeId]]]
"""The live members of the cluster and its gateways, each ranked for a key."""


@dataclass(frozen=True, slots=True)
class Packet:
    """Messages about several keys for one node, in the order in which they were decided."""

    to: NodeId
    messages: tuple[tuple[Key, Message], ...]


class Referees:
    """The table, bounded by MAX_REFEREES and MAX_BODY_BYTES. Every call returns the packets to send.

    `generation` is higher after each start of this node.
    """

    def __init__(self, me: NodeId, generation: int, ranking: Ranking, rng: Random) -> None:
        self.refused = 0
        """Messages that were dropped for want of room."""
        self._me = me
        self._instances = generation << 32
        self._ranking = ranking
        self._rng = rng
        self._table: dict[Key, Referee] = {}
        self._bodies: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._table)

    def get(self, key: Key) -> Referee | None:
        """The referee of a key, if there is one here."""
        return self._table.get(key)

    def hear(self, sender: NodeId, messages: Iterable[tuple[Key, Message]], now: float) -> list[Packet]:
        """What a packet says to this node as a referee, spare or claimant."""
        sends: list[tuple[Key, Send]] = []
        for key, message in messages:
            referee = self._table.get(key)
            if referee is None:
                referee = self._open(key, now)
            if referee is None:
                self.refused += 1
            else:
                sends += [(key, send) for send in referee.hear(sender, message, now)]
                self._weigh(key, referee)
        return batched(sends)

    def view(self, now: float) -> list[Packet]:
        """The ranking changed."""
        return batched(
            (key, send)
            for key, referee in self._table.items()
            for send in referee.view(*self._ranking(key), now)
        )

    def died(self, node: NodeId, now: float) -> list[Packet]:
        """The cluster holds a node for dead."""
        return batched(
            (key, send) for key, referee in self._table.items() for send in referee.died(node, now)
        )

    def tick(self, now: float) -> list[Packet]:
        """Time passes, for those to whom it matters; see TICK_S."""
        return batched(
            (key, send)
            for key, referee in self._table.items()
            if not referee.idle
            for send in referee.tick(now)
        )

    def leave(self, now: float) -> list[Packet]:
        """This node goes: hand everything over."""
        return batched((key, send) for key, referee in self._table.items() for send in referee.leave(now))

    def check(self) -> None:
        """Assert the bounds, and the invariants of every referee."""
        assert len(self._table) <= MAX_REFEREES
        assert sum(self._bodies.values()) <= MAX_BODY_BYTES and self._bodies.keys() <= self._table.keys()
        for referee in self._table.values():
            referee.check()

    def _open(self, key: Key, now: float) -> Referee | None:
        if len(self._table) >= MAX_REFEREES:
            idle = next((name for name, one in self._table.items() if one.idle), None)
            if idle is None:
                return None
            del self._table[idle]
            self._bodies.pop(idle, None)
        self._instances += 1
        referee = self._table[key] = Referee(self._me, self._rng, self._instances)
        referee.view(
            *self._ranking(key), now
        )  # a new one follows nobody and reigns nowhere: it has nothing to say
        return referee

    def _weigh(self, key: Key, referee: Referee) -> None:
        body = referee.reading.collapse.body
        if body is None:
            self._bodies.pop(key, None)
            return
        self._bodies[key] = len(body)
        while sum(self._bodies.values()) > MAX_BODY_BYTES:
            oldest = next(iter(self._bodies))
            del self._bodies[oldest]
            self._table[oldest].reading.collapse.body = None


def batched(sends: Iterable[tuple[Key, Send]]) -> list[Packet]:
    """Put what goes to one node into as few packets as MAX_KEYS allows; each node's order is kept."""
    by_node: dict[NodeId, list[tuple[Key, Message]]] = {}
    for key, send in sends:
        by_node.setdefault(send.to, []).append((key, send.message))
    return [
        Packet(node, tuple(found[first : first + MAX_KEYS]))
        for node, found in by_node.items()
        for first in range(0, len(found), MAX_KEYS)
    ]
