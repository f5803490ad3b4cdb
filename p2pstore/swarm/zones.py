"""Zones: who is told of whom, and who brings a piece into a zone. Pure; the same everywhere, from ids alone.

A zone is where bytes are cheap, a rack for instance; the empty name is a zone like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from p2pstore.types import NodeId, Version

if TYPE_CHECKING:
    from random import Random

OWN_SHARE: Final = 0.75
"""Part of a peer list from the asker's own zone, as far as there are enough."""
AHEAD_SHARE: Final = 0.5
"""Part of a peer list that has more than the asker, as far as there are enough."""
RANK_WAIT_S: Final = 0.5
"""The puller of rank r may begin after r times this, if the zone still lacks the piece."""
_MASK: Final = (1 << 64) - 1


def pick_peers(
    me: NodeId, zone: str, pieces: int, others: Mapping[NodeId, tuple[str, int]], count: int, rng: Random
) -> tuple[NodeId, ...]:
    """At most `count` of `others` (zone, number of pieces) for a node with so many pieces, at random within the shares; never the node itself."""
    own = [node for node, (where, _) in others.items() if where == zone and node != me]
    far = [node for node, (where, _) in others.items() if where != zone and node != me]
    near_count = min(len(own), max(int(count * OWN_SHARE), count - len(far)))
    ahead = {node for node, (_, has) in others.items() if has > pieces}
    chosen = _sample(own, ahead, near_count, rng) + _sample(far, ahead, count - near_count, rng)
    rng.shuffle(chosen)
    return tuple(chosen)


def _sample(nodes: list[NodeId], ahead: set[NodeId], count: int, rng: Random) -> list[NodeId]:
    if len(nodes) <= count:
        return nodes
    better = [node for node in nodes if node in ahead]
    rest = [node for node in nodes if node not in ahead]
    from_better = min(len(better), max(int(count * AHEAD_SHARE), count - len(rest)))
    return rng.sample(better, from_better) + rng.sample(rest, count - from_better)


class Pullers:
    """Which member of a zone brings each piece of a version into it, by rendezvous hashing (Thaler and Ravishankar).

    `members` are the zone's live members that want the object; the caller makes a new one when they change.
    """

    def __init__(self, ver: Version, members: Iterable[NodeId]) -> None:
        self._seeds = {node: _seed(f"{ver}|{node}") for node in members}

    def rank(self, piece: int, node: NodeId) -> int:
        """How many members come before this one for the piece; 0 is the puller. A stranger comes last."""
        seed = self._seeds.get(node)
        if seed is None:
            return len(self._seeds)
        mine = (_score(seed, piece), node)
        return sum((_score(other, piece), name) > mine for name, other in self._seeds.items())

    def may_pull(self, piece: int, node: NodeId, waited_s: float) -> bool:
        """Whether the node may get the piece from another zone, its own zone having lacked it for `waited_s`."""
        return waited_s >= self.rank(piece, node) * RANK_WAIT_S


def _seed(text: str) -> int:
    return int.from_bytes(blake3(text.encode()).digest(8), "little")


def _score(seed: int, piece: int) -> int:
    """Mix as the SplitMix64 generator does: a few multiplications, where a digest per piece and member would cost a core."""
    mixed = (seed + (piece + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _MASK
    return mixed ^ mixed >> 31
