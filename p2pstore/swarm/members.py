"""Who works on an object now, and what they have: soft state, told again by each every few seconds. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from p2pstore.swarm.messages import MAX_PEERS, Join
from p2pstore.swarm.shape import MAX_PIECES
from p2pstore.swarm.zones import pick_peers
from p2pstore.types import NodeId, Version

if TYPE_CHECKING:
    from random import Random

MAX_MEMBERS: Final = 4096
"""One more is told of peers, but neither remembered nor given leases."""
EXPIRY_S: Final = 15.0
"""A member that is not heard of for so long, three joins of it, has gone."""
BLOCK_S: Final = 60.0
"""For so long a node that could not reach the origin is not sent there again, while others can."""
LAST_RESORT_S: Final = 1.0
"""When no other can it is sent again after this, doubled with each failure in a row."""
_LIMIT: Final = (1 << MAX_PIECES) - 1


@dataclass(slots=True)
class Member:
    """What one member said of itself; `number` is that of its last word."""

    number: int
    zone: str
    origin: bool
    ver: Version | None
    have: int
    heard_at: float
    failures: int = 0
    failed_at: float = float("-inf")


class Members:
    """The table. Bounded by MAX_MEMBERS and MAX_PIECES bits each; complete ones share one bitmap."""

    def __init__(self) -> None:
        self.table: dict[NodeId, Member] = {}
        """Members in the order in which they came."""

    def __contains__(self, node: object) -> bool:
        return node in self.table

    def __len__(self) -> int:
        return len(self.table)

    def join(self, node: NodeId, join: Join, now: float) -> tuple[bool, bool]:
        """Note what a node says. Returns whether it is a member now, and whether it has pieces no more that it had."""
        have = join.have & _LIMIT
        member = self.table.get(node)
        if member is None:
            if len(self.table) >= MAX_MEMBERS:
                return False, False
            self.table[node] = Member(join.number, join.zone, join.origin, join.ver, have, now)
            return True, False
        member.heard_at = now
        if join.number < member.number:  # overtaken on the way: it can add, but not take back
            member.have |= have if join.ver == member.ver else 0
            return True, False
        lost = join.ver != member.ver or member.have & ~have
        member.number, member.zone, member.origin = join.number, join.zone, join.origin
        member.ver, member.have = join.ver, have
        return True, bool(lost)

    def got(self, node: NodeId, number: int, ver: Version, pieces: int, now: float) -> bool:
        """A member has more pieces of a version; False for a stranger."""
        member = self.table.get(node)
        if member is None:
            return False
        member.heard_at = now
        if member.ver != ver:
            member.ver, member.have = ver, 0
        member.number = max(member.number, number)
        member.have |= pieces & _LIMIT
        return True

    def heard(self, node: NodeId, now: float) -> None:
        """Anything from a member says that it is there."""
        member = self.table.get(node)
        if member is not None:
            member.heard_at = now

    def drop(self, node: NodeId) -> bool:
        """A member is gone; False for a stranger."""
        return self.table.pop(node, None) is not None

    def block(self, node: NodeId, now: float) -> None:
        """A member could not reach the origin."""
        member = self.table.get(node)
        if member is not None:
            member.failures, member.failed_at = member.failures + 1, now

    def reached(self, node: NodeId) -> None:
        """A member did reach the origin."""
        member = self.table.get(node)
        if member is not None:
            member.failures = 0

    def may_ask_origin(self, node: NodeId, now: float, *, last_resort: bool = False) -> bool:
        """Whether a member says that it reaches the origin, and did not fail to just now; see LAST_RESORT_S."""
        member = self.table.get(node)
        if member is None or not member.origin:
            return False
        if not member.failures:
            return True
        wait_s = LAST_RESORT_S * 2.0 ** min(member.failures - 1, 16) if last_resort else BLOCK_S
        return now - member.failed_at >= min(wait_s, BLOCK_S)

    def expired(self, now: float) -> list[NodeId]:
        """Members that were not heard of for too long."""
        return [node for node, member in self.table.items() if now - member.heard_at >= EXPIRY_S]

    def have(self, node: NodeId, ver: Version | None) -> int:
        """The bitmap of what a node has of a version."""
        member = self.table.get(node)
        return member.have if member is not None and member.ver == ver else 0

    def union(self, ver: Version) -> int:
        """The bitmap of what any member has of a version."""
        pieces = 0
        for member in self.table.values():
            if member.ver == ver:
                pieces |= member.have
        return pieces

    def peers(
        self, node: NodeId, zone: str, ver: Version | None, count: int, rng: Random
    ) -> tuple[NodeId, ...]:
        """Whom a node may talk to: at most MAX_PEERS."""
        if count <= 0:
            return ()
        others = {
            name: (member.zone, member.have.bit_count() if member.ver == ver else 0)
            for name, member in self.table.items()
        }
        mine = others.get(node, ("", 0))[1]
        return pick_peers(node, zone, mine, others, min(count, MAX_PEERS), rng)
