"""What the membership core wants done or known: messages to send, and changes that others live by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from p2pstore.gossip.members import Address, State
from p2pstore.types import NodeId


@dataclass(frozen=True, slots=True)
class Send:
    """Send `payload` to `address`: in one datagram, or on a connection when `reliable`.

    `node` is who must be there, None when only the address is known (a seed). An answer to what came on a connection goes
    back on that connection while it lives. Sending may fail in silence.
    """

    node: NodeId | None
    address: Address
    payload: bytes
    reliable: bool = False


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """A member is held for something else than before; `before` is None for one that was unknown.

    `by` tells why: `itself`, `rumour`, `sync`, `probe` (its own probe failed), `check` (the final check failed too) or `address`
    (a newer member lives there).
    """

    node: NodeId
    before: State | None
    after: State
    gen: int
    by: str


@dataclass(frozen=True, slots=True)
class Raised:
    """This node answered for itself with a new incarnation; `gen` must be durable before the sends that follow it."""

    gen: int
    inc: int


@dataclass(frozen=True, slots=True)
class TwinSeen:
    """Another process lives under this node's id; `yields` says whether this one has to take a new id."""

    address: Address
    yields: bool


@dataclass(frozen=True, slots=True)
class Isolation:
    """Nobody was heard for long (`isolated`), or somebody is again."""

    isolated: bool


@dataclass(frozen=True, slots=True)
class Stalled:
    """The loop stood still for `lag_s`; suspicions were prolonged by it."""

    lag_s: float


@dataclass(frozen=True, slots=True)
class Departed:
    """The leave was told as often as it will be: the process may end."""


Event: TypeAlias = MemberChanged | Raised | TwinSeen | Isolation | Stalled | Departed
Decision: TypeAlias = Send | Event
