"""Which members keep the directory's rows of a key: the first of all members by rendezvous hashing. Pure, and equal for equal views.

A key belongs to one of 65,536 *slots*. Every member scores every slot; the members in the order of their scores are the slot's
ranking, and the first `copies` of them are its *homes*. When a member goes, each slot's ranking closes the gap and nothing else moves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from p2pstore.types import Key, NodeId

SLOTS: Final = 1 << 16
"""Slots of all keys: enough that the fullest home of 1,000 has a quarter more than the mean."""
COPIES: Final = 3
"""Homes of a slot in a large cluster: one for the answer, one for its death, one for luck."""
FULL_UP_TO: Final = 16
"""Up to so many members every one is home of every slot, so that lookups are local."""
MAX_MEMBERS: Final = 20_000
"""Members that are ranked; of more, those with the lowest ids, which all nodes choose alike."""
MAX_CACHED_SLOTS: Final = 16_384
"""Rankings kept by one view."""

_MASK: Final = (1 << 64) - 1


def slot_of(key: Key) -> int:
    """The slot of a key: its first two bytes, which are spread evenly because keys are hashes."""
    return int(key[:4], 16)


def mix64(value: int) -> int:
    """A permutation of 64-bit numbers that spreads close ones far apart (the finalizer of SplitMix64)."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def score(slot: int, node: NodeId) -> int:
    """How much a slot is a member's: a number of 64 bits that depends on the two alone."""
    return mix64(mix64(slot + 1) ^ int(node[:16], 16))


class Homes:
    """The rankings of one view of the members; immutable, so a change of view is a new one.

    `copies` homes a slot, but all members while there are at most `full_up_to`. The first home does not depend on either, so
    nodes that disagree about the number of members still meet at the same place.
    """

    def __init__(
        self, members: Iterable[NodeId], *, copies: int = COPIES, full_up_to: int = FULL_UP_TO
    ) -> None:
        self.members: tuple[NodeId, ...] = tuple(sorted(set(members)))[:MAX_MEMBERS]
        self.everywhere: bool = len(self.members) <= max(full_up_to, copies)
        """Whether every member is home of every slot."""
        self.copies: int = len(self.members) if self.everywhere else copies
        self._known: frozenset[NodeId] = frozenset(self.members)
        self._cached: dict[int, tuple[NodeId, ...]] = {}

    def of_slot(self, slot: int) -> tuple[NodeId, ...]:
        """The homes of a slot, best first; empty when there are no members."""
        found = self._cached.get(slot)
        if found is None:
            if len(self._cached) >= MAX_CACHED_SLOTS:
                self._cached.clear()
            found = self._cached[slot] = self._ranked(slot)[: self.copies]
        return found

    def of(self, key: Key) -> tuple[NodeId, ...]:
        """The homes of a key, best first."""
        return self.of_slot(slot_of(key))

    def ranking(self, key: Key) -> tuple[NodeId, ...]:
        """All members in the order in which they answer for a key: its homes first, then who would replace them."""
        return self._ranked(slot_of(key))

    def is_home(self, node: NodeId, slot: int) -> bool:
        """Whether a member keeps the rows of a slot."""
        return node in self._known and (self.everywhere or node in self.of_slot(slot))

    def __contains__(self, node: NodeId) -> bool:
        return node in self._known

    def _ranked(self, slot: int) -> tuple[NodeId, ...]:
        seed = mix64(slot + 1)
        scored = [(mix64(seed ^ int(node[:16], 16)), node) for node in self.members]
        scored.sort(reverse=True)
        return tuple(node for _, node in scored)


def gained(before: Homes, after: Homes, slots: Iterable[int]) -> dict[NodeId, frozenset[int] | None]:
    """Which members became home of which of these slots from one view to the next; None stands for all of them.

    A holder sends its rows of these slots to these members. Members that only lost slots are not named: what they keep ages away.
    """
    if after.everywhere and before.everywhere:
        return {node: None for node in after.members if node not in before}
    new: dict[NodeId, set[int]] = {}
    for slot in slots:
        for node in after.of_slot(slot):
            if not before.is_home(node, slot):
                new.setdefault(node, set()).add(slot)
    return {node: frozenset(found) for node, found in new.items()}
