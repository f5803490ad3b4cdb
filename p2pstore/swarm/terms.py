"""Terms and fences: which of two referees counts, and which of two leases is the newer one. Pure.

The rule: every order of a referee names its term; a node obeys the highest it has seen and drops the rest (fencing tokens).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pstore.types import NodeId


@dataclass(frozen=True, slots=True, order=True)
class Term:
    """The reign of one referee over one key; later reigns have higher numbers, equal numbers are told apart by the rest.

    `instance` is the referee's own: higher after a restart, lest one that forgot its terms uses their fences again.
    """

    number: int
    referee: NodeId
    instance: int = 0


NO_TERM: Final = Term(0, NodeId(""))
"""Before any referee: lower than every term."""


@dataclass(frozen=True, slots=True, order=True)
class Fence:
    """The name of one lease: the term that gave it and its number there, from 1 on."""

    term: Term
    number: int


MAX_SEEN: Final = 256
"""Fences that are remembered lest one is used twice; one older than all of them is taken for used."""


class Obedience:
    """The highest term that a node has seen for a key, and the fences that were used; bounded by MAX_SEEN."""

    def __init__(self, term: Term = NO_TERM) -> None:
        self.term = term
        self._seen: set[Fence] = set()

    def accepts(self, term: Term) -> bool:
        """Whether an order of that term is to be obeyed; a higher one than any before raises the mark."""
        if term < self.term:
            return False
        self.term = term
        return True

    def begins(self, fence: Fence) -> bool:
        """Whether a lease may be begun: its giver reigns still, and it was never begun nor revoked. It is used from here on."""
        if fence.term < self.term or fence in self._seen:
            return False
        if len(self._seen) >= MAX_SEEN:
            oldest = min(self._seen)
            if fence < oldest:
                return False
            self._seen.discard(oldest)
        self._seen.add(fence)
        return True
