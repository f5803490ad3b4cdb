"""What a holder knows of one home: what it still has to be told, and what is on its way. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

RETRY_S: Final = 0.1
"""First wait for an acknowledgement of a datagram; doubled with each failure."""
BULK_RETRY_S: Final = 0.5
"""The same for a batch that goes by a stream, which may have to be opened."""
MAX_RETRY_S: Final = 10.0
"""Longest pause; a live home is never given up."""
WINDOW: Final = 4
"""Batches to one home that wait for acknowledgement at once; one after a failure."""
MAX_DIRTY: Final = 10_000
"""Names that wait for one home; with more, it gets everything once more instead."""
MAX_DOUBLINGS: Final = 10
"""Of pauses, before they are cut at their limits."""


@dataclass(slots=True)
class Batch:
    """Names of one message that waits for acknowledgement until `due`, or a check."""

    names: list[bytes]
    due: float
    check: bool = False


@dataclass(slots=True)
class Refill:
    """Everything once more: behind `after` in `slots`, or in all slots. The rows keep changing meanwhile; that does no harm."""

    slots: frozenset[int] | None
    slot: int = 0
    after: bytes = b""


@dataclass(slots=True)
class Link:
    """One home as the holder sees it."""

    gen: int
    live: bool = True
    away_at: float = 0.0
    dirty: dict[bytes, None] = field(default_factory=dict)
    ready_at: float = 0.0
    refill: Refill | None = None
    refill_at: float = 0.0
    flying: dict[int, Batch] = field(default_factory=dict)
    fails: int = 0
    resyncs: int = 0
    check_at: float = 0.0
    checked_at: float = float("-inf")

    def start_over(self, gen: int, now: float, slots: frozenset[int] | None = None) -> None:
        """All rows of these slots are to be told once more, and checked when they are."""
        if slots is None:
            self.dirty.clear()
            self.flying.clear()
        elif self.refill is not None:
            slots = None if self.refill.slots is None else slots | self.refill.slots
        self.gen, self.refill, self.refill_at, self.check_at = gen, Refill(slots), now, now

    def next_at(self) -> float:
        """When there is something to do for this home."""
        at = min((batch.due for batch in self.flying.values()), default=float("inf"))
        if len(self.flying) < (1 if self.fails else WINDOW):
            if self.dirty:
                at = min(at, self.ready_at)
            if self.refill is not None:
                at = min(at, self.refill_at)
            if not (self.dirty or self.refill or self.flying):
                at = min(at, self.check_at)
        return at


def take_back(link: Link, batches: Iterable[Batch]) -> None:
    """What these batches told was not acknowledged: it waits again."""
    for batch in batches:
        link.dirty.update(dict.fromkeys(batch.names))
        if batch.check:
            link.check_at = 0.0
    if len(link.dirty) > MAX_DIRTY:
        link.start_over(link.gen, link.refill_at)
