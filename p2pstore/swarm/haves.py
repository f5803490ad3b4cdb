"""What a node tells its neighbours about itself: new and dropped pieces in batches, with how long one waits here. Pure.

The rule: a piece is told once it is verified, within BATCH_S, to those that may want it. Whoever has everything, or
said that it has the piece, is not told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from p2pstore.swarm.decisions import Have
from p2pstore.swarm.neighbours import Neighbour
from p2pstore.swarm.pieces import bits

BATCH_S: Final = 0.02
"""A new piece is told so soon (tests/simulation: 50 ms save a third of the messages and take 1-2 % longer)."""
BATCH_PIECES: Final = 8
"""So many new pieces are told at once."""


class Haves:
    """The news of one version that its neighbours do not know yet; two bitmaps."""

    def __init__(self, count: int) -> None:
        self._all = bits(0, count)
        self._new = 0
        self._dropped = 0
        self._since: float | None = None

    def new(self, index: int, now: float) -> None:
        """A piece was verified and stored."""
        self._new |= 1 << index
        self._dropped &= ~(1 << index)
        self._begin(now)

    def dropped(self, pieces: int, now: float) -> None:
        """Pieces were removed from the store, or turned out to be wrong: not to be asked for any more."""
        self._dropped |= pieces & self._all
        self._new &= ~pieces
        self._begin(now)

    def timer(self) -> float | None:
        """When the news is to be told; None when there is none."""
        if self._since is None:
            return None
        full = self._new.bit_count() >= BATCH_PIECES or self._dropped
        return self._since if full else self._since + BATCH_S

    def flush(self, neighbours: Iterable[Neighbour], wait_s: float, rate: float, now: float) -> list[Have]:
        """The messages to send now, if it is time; none of the news is told again."""
        due = self.timer()
        if due is None or now < due:
            return []
        messages = []
        for neighbour in neighbours:
            new = self._new & ~neighbour.have
            if (new or self._dropped) and neighbour.have != self._all:
                messages.append(Have(neighbour.peer, new, self._dropped, wait_s, rate))
        self._new = self._dropped = 0
        self._since = None
        return messages

    def _begin(self, now: float) -> None:
        if self._since is None:
            self._since = now
