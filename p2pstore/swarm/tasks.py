"""What a member's core tells its shell to do for one key: read, stop, take, or know. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from p2pstore.swarm.messages import Fault, Outcome, Send
from p2pstore.swarm.shape import Shape
from p2pstore.swarm.terms import Fence
from p2pstore.types import NodeId, Version


@dataclass(frozen=True, slots=True)
class Read:
    """Read these pieces under that lease; no version: open the URL; `count` 0: everything."""

    fence: Fence
    ver: Version | None
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End the read of a lease once the pieces `keep` are in; 0 at once."""

    fence: Fence
    keep: int


@dataclass(frozen=True, slots=True)
class Learned:
    """The present version, and peers to talk to; `body` is a small object itself."""

    ver: Version | None
    shape: Shape | None
    peers: tuple[NodeId, ...]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Take:
    """Get the small object from that holder."""

    ver: Version
    holder: NodeId


@dataclass(frozen=True, slots=True)
class Over:
    """The version ended; `finish`: its missing pieces are still to be had from peers."""

    ver: Version | None
    fault: Fault
    finish: bool


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Nobody in the cluster can read the origin, and why not; it is tried again as long as this node is a member."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class AskOrigin:
    """Revalidate the stored response at the origin, once.

    If the answer is another version its body is the opening read of that one, under the same fence.
    """

    fence: Fence


@dataclass(frozen=True, slots=True)
class Fresh:
    """What a revalidation brought, wherever it was made."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Alone:
    """Nobody answers: this node may read the origin as if it were the only one."""


Decision: TypeAlias = Send | Read | Stop | Learned | Take | Over | AskOrigin | Fresh | Unreachable | Alone
