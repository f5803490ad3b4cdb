"""Gateways: whom to ask to stage a URL when nobody who wants it can reach its origin. Pure.

Gateways are asked one at a time, in the order given by the cluster's ranking of the key, so that each of them stages its share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from p2pstore.types import NodeId

STAGE_S: Final = 2.0
"""A gateway that has not joined and asked for a lease within this time is passed over for the next."""


class Gateways:
    """The live gateways of the cluster, and which of them was asked last and when; bounded by the member list given."""

    def __init__(self) -> None:
        self._ranked: tuple[NodeId, ...] = ()
        self._next = 0
        self._asked_at = float("-inf")

    def view(self, ranked: Sequence[NodeId]) -> None:
        """The live gateways, best first."""
        if tuple(ranked) != self._ranked:
            self._ranked, self._next = tuple(ranked), 0

    def enlist(self, may: Callable[[NodeId], bool], now: float) -> NodeId | None:
        """The gateway to ask now, or None: there is none that may, or the last one still has its time."""
        if now - self._asked_at < STAGE_S:
            return None
        for turn in range(len(self._ranked)):
            gateway = self._ranked[(self._next + turn) % len(self._ranked)]
            if may(gateway):
                self._next = (self._next + turn + 1) % len(self._ranked)
                self._asked_at = now
                return gateway
        return None
