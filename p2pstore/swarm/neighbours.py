"""The peers a node exchanges one version's pieces with, and what each of them said about itself. Pure.

What a neighbour says is a hint: numbers are brought into bounds, pieces that do not exist are not heard.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from p2pstore.swarm.pieces import bits
from p2pstore.types import NodeId

MAX_NEIGHBOURS: Final = 32
"""Neighbours of one version; it dials about half as many."""
MAX_WAIT_S: Final = 60.0
"""The longest wait that is believed."""
MAX_RATE: Final = 1e11
"""Bytes per second; the fastest neighbour that is believed."""
REFRESH_S: Final = 1.0
"""With nothing on its way, a neighbour is asked so often what it has: what it said may have been lost."""
SMOOTHING: Final = 0.3
"""The weight of the newest measurement in a mean that forgets."""


@dataclass(slots=True)
class Neighbour:
    """One peer as a source of pieces of one version. Rates are bytes per second, 0.0 while unknown."""

    peer: NodeId
    have: int = 0
    """What it said it has."""
    spoilt: int = 0
    """Pieces that it sent wrong; never asked of it again."""
    allowed: int = -1
    """What may be asked of it; everything unless `restrict` said something else."""
    wait_s: float = 0.0
    rate: float = 0.0
    """What it says it uploads to all its neighbours together."""
    stream_rate: float = 0.0
    """What one of its answers brings, as measured here."""
    out: int = 0
    """Requests it has not finished."""
    busy_until: float = 0.0
    snubs: list[float] = field(default_factory=list)
    """When it lately left a request unanswered, since it last brought a piece."""
    refresh_at: float = 0.0
    """When it may be asked for its whole bitmap again."""

    @property
    def offers(self) -> int:
        """The pieces that may be asked of it."""
        return self.have & self.allowed & ~self.spoilt

    def said(self, wait_s: float, rate: float) -> None:
        """It told its waiting time and upload rate."""
        self.wait_s = _bounded(wait_s, MAX_WAIT_S)
        self.rate = _bounded(rate, MAX_RATE)

    def delivered(self, size_bytes: int, took_s: float) -> None:
        """A piece came from it `took_s` after the one before: it answers, and so fast."""
        self.snubs.clear()
        if took_s > 0:
            rate = size_bytes / took_s
            self.stream_rate = rate if not self.stream_rate else _mean(self.stream_rate, rate)


class Neighbours:
    """The neighbours of one version: at most MAX_NEIGHBOURS."""

    def __init__(self, count: int) -> None:
        self._all = bits(0, count)
        self._table: dict[NodeId, Neighbour] = {}

    def __iter__(self) -> Iterator[Neighbour]:
        return iter(self._table.values())

    def __len__(self) -> int:
        return len(self._table)

    def get(self, peer: NodeId) -> Neighbour | None:
        """The neighbour of this name."""
        return self._table.get(peer)

    def join(self, peer: NodeId) -> Neighbour | None:
        """A peer becomes a neighbour, or is one already; None when there is no room."""
        if peer not in self._table and len(self._table) >= MAX_NEIGHBOURS:
            return None
        return self._table.setdefault(peer, Neighbour(peer))

    def leave(self, peer: NodeId) -> None:
        """It is no neighbour any more."""
        self._table.pop(peer, None)

    def to_refresh(self, now: float) -> list[Neighbour]:
        """Those that may be asked once more what they have; each again after REFRESH_S."""
        due = [one for one in self._table.values() if now >= one.refresh_at and one.have != self._all]
        for one in due:
            one.refresh_at = now + REFRESH_S
        return due

    def real(self, bitmap: int) -> int:
        """The pieces of a bitmap from outside that exist."""
        return bitmap & self._all


def _bounded(number: float, most: float) -> float:
    """A number from outside as one between 0 and `most`; what is no number is `most`."""
    return most if math.isnan(number) else min(max(number, 0.0), most)


def _mean(old: float, new: float) -> float:
    return old + SMOOTHING * (new - old)
