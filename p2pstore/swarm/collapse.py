"""Small objects: fetched once, then passed on in growing numbers (collapsed forwarding). Pure.

Up to INLINE_BYTES the referee answers with the bytes themselves. Above, it names holders in turn; each serves few at a time, and
whoever has finished is a holder too, so that their number doubles and more each round.
"""

from __future__ import annotations

from typing import Final

from p2pstore.swarm.shape import INLINE_BYTES
from p2pstore.types import NodeId

PER_HOLDER: Final = 4
"""So many are sent to one holder at a time."""
TAKE_S: Final = 5.0
"""A taker that has not finished by then is sent to another holder, and its place is another's."""


class Collapse:
    """Holders, takers and those who wait. Nodes are bounded by the caller, who names members only."""

    def __init__(self) -> None:
        self.body: bytes | None = None
        """The object, if it is small enough to be answered inline."""
        self._serving: dict[NodeId, int] = {}
        self._taking: dict[NodeId, tuple[NodeId, float]] = {}
        self._waiting: dict[NodeId, None] = {}

    def keep(self, body: bytes) -> bool:
        """Take the object's bytes for inline answers; False when there are too many."""
        if len(body) > INLINE_BYTES:
            return False
        self.body = body
        return True

    def want(self, node: NodeId) -> None:
        """A node lacks the object; it waits for its turn unless it has one."""
        if node not in self._taking and node not in self._serving:
            self._waiting[node] = None

    def has(self, node: NodeId) -> None:
        """A node has the object: whoever served it is free for the next, and so is the node."""
        self._waiting.pop(node, None)
        self._free(node)
        self._serving.setdefault(node, 0)

    def lost(self, node: NodeId) -> None:
        """A node is gone, or has the object no more; those whom it served wait again, before all others."""
        self._waiting.pop(node, None)
        self._free(node)
        self._serving.pop(node, None)
        left = {taker: None for taker, (holder, _) in self._taking.items() if holder == node}
        for taker in left:
            del self._taking[taker]
        self._waiting = left | self._waiting

    def deal(self, now: float) -> list[tuple[NodeId, NodeId]]:
        """Send those who wait to holders: pairs of taker and holder, least busy holder first and these in turn."""
        for taker, (_, since) in list(self._taking.items()):
            if now - since >= TAKE_S:
                self._free(taker)
                self._waiting[taker] = None
        dealt = []
        for taker in list(self._waiting):
            holder = min(self._serving, key=self._serving.__getitem__, default=None)
            if holder is None or self._serving[holder] >= PER_HOLDER:
                break
            served = self._serving.pop(holder)
            self._serving[holder] = served + 1  # at the end: equally busy ones take turns
            del self._waiting[taker]
            self._taking[taker] = (holder, now)
            dealt.append((taker, holder))
        return dealt

    @property
    def busy(self) -> bool:
        """Whether somebody waits or takes."""
        return bool(self._waiting or self._taking)

    def check(self) -> None:
        """Assert that each holder serves as many as are sent to it, and no more than it may."""
        for holder, count in self._serving.items():
            assert count == sum(one == holder for one, _ in self._taking.values()) <= PER_HOLDER
        assert all(holder in self._serving for holder, _ in self._taking.values())
        assert (
            not self._waiting.keys() & self._taking.keys() and not self._waiting.keys() & self._serving.keys()
        )

    def _free(self, taker: NodeId) -> None:
        taken = self._taking.pop(taker, None)
        if taken is not None and taken[0] in self._serving:
            self._serving[taken[0]] -= 1
