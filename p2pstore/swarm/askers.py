"""Who gets the next lease: first come first served, but nobody who is much slower than the others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from p2pstore.swarm.messages import MAX_HELD
from p2pstore.types import NodeId

SLOW_SHARE: Final = 0.5
"""Below this part of the median rate a node gets a lease only when no other asks."""
ALONE_S: Final = 1.0
"""For so long no other may have asked."""
LEAST_HELD: Final = 2
"""However many ask, each may have so many leases: it asks for the next before the last one is through."""


class Askers:
    """The queue. Nodes are bounded by the caller, who names members only; `drop` forgets one."""

    def __init__(self) -> None:
        self._room: dict[NodeId, int] = {}
        self._rates: dict[NodeId, float] = {}
        self._only_slow_since: float | None = None

    def __len__(self) -> int:
        return len(self._room)

    def __iter__(self) -> Iterator[NodeId]:
        return iter(self._room)

    def __contains__(self, node: object) -> bool:
        return node in self._room

    def ask(self, node: NodeId, room: int) -> None:
        """A node has room for so many more leases from now on; its place in the queue stays."""
        if room > 0:
            self._room[node] = min(room, MAX_HELD)
        else:
            self._room.pop(node, None)

    def measured(self, node: NodeId, rate_bytes_per_s: float) -> None:
        """How fast a lease of the node was."""
        old = self._rates.get(node, rate_bytes_per_s)
        self._rates[node] = (old + rate_bytes_per_s) / 2

    def drop(self, node: NodeId) -> None:
        """Forget a node."""
        self._room.pop(node, None)
        self._rates.pop(node, None)

    def choose(
        self, window: int, held: Callable[[NodeId], int], may: Callable[[NodeId], bool], now: float
    ) -> NodeId | None:
        """The node that gets the next lease, or None. `held` counts its leases, `may` says whether it can reach the origin."""
        most = min(max(-(-window // max(len(self._room), 1)), LEAST_HELD), MAX_HELD)
        rates = sorted(self._rates.values())
        least = rates[len(rates) // 2] * SLOW_SHARE if rates else 0.0
        slow = None
        for node in self._room:
            if held(node) >= most or not may(node):
                continue
            if self._rates.get(node, least) >= least:
                self._only_slow_since = None
                return node
            slow = slow or node
        if slow is None:
            self._only_slow_since = None
        elif self._only_slow_since is None:
            self._only_slow_since = now
        elif now - self._only_slow_since >= ALONE_S:
            return slow
        return None

    def given(self, node: NodeId) -> None:
        """The node got a lease: it has room for one fewer, and others come first now."""
        room = self._room.pop(node, 0)
        if room > 1:
            self._room[node] = room - 1
