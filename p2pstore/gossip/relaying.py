"""Pings on behalf of others: SWIM's indirect probes, seen from the one in the middle. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from p2pstore.gossip import timing
from p2pstore.gossip.members import Address
from p2pstore.types import NodeId


@dataclass(frozen=True, slots=True)
class Relay:
    """A ping to `target` for `requester`, who knows it by `nonce`."""

    requester: NodeId
    address: Address
    nonce: bytes
    target: NodeId
    ends_at: float


class Relays:
    """What is relayed now, by the nonce of the ping that went out; at most MAX_RELAYS."""

    def __init__(self) -> None:
        self._relays: dict[bytes, Relay] = {}

    def __len__(self) -> int:
        return len(self._relays)

    def start(self, nonce: bytes, relay: Relay) -> bool:
        """Begin; False when there are too many."""
        if len(self._relays) >= timing.MAX_RELAYS:
            return False
        self._relays[nonce] = relay
        return True

    def take(self, nonce: bytes, target: NodeId) -> Relay | None:
        """The relay that an answer of `target` ends, if there is one."""
        relay = self._relays.get(nonce)
        if relay is None or relay.target != target:
            return None
        return self._relays.pop(nonce)

    def take_failed(self, now: float) -> list[Relay]:
        """Those that got no answer in time."""
        failed = {nonce: relay for nonce, relay in self._relays.items() if relay.ends_at <= now}
        for nonce in failed:
            del self._relays[nonce]
        return list(failed.values())

    def next_at(self) -> float | None:
        """When the next one has waited long enough, or None."""
        return min((relay.ends_at for relay in self._relays.values()), default=None)
