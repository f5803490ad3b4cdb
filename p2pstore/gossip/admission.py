"""Which messages are taken at all: readable ones, of others, and not too many from one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import Final

from p2pstore.errors import RemoteProtocolError
from p2pstore.gossip import timing
from p2pstore.gossip.messages import Filled, Join, Joined, Message, Sync, Synced, decode
from p2pstore.gossip.pace import Pace
from p2pstore.types import NodeId

_BULK: Final = frozenset({Join, Joined, Sync, Synced, Filled})


class Admission:
    """Admits MAX_PACKETS_PER_S of each member, and of all strangers together; `dropped` counts the rest by reason."""

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._paces: dict[NodeId | None, Pace] = {}
        self.dropped: Counter[str] = Counter()

    def admit(
        self, payload: bytes, sender: NodeId, now: float, *, known: bool, reliable: bool
    ) -> Message | None:
        """The message, or None when it is dropped. Never raises, whatever the bytes are."""
        if sender == self._me:
            self.drop("own id")
            return None
        pace = self._paces.setdefault(sender if known else None, Pace(timing.MAX_PACKETS_PER_S, now))
        if not pace.admit(now):
            self.drop("too many")
            return None
        try:
            message = decode(payload, timing.MAX_STREAM_BYTES if reliable else timing.MAX_PAYLOAD_BYTES)
        except RemoteProtocolError:
            self.drop("unreadable")
            return None
        if message is None:
            self.drop("unknown kind")
        elif not reliable and type(message) in _BULK:
            self.drop("bulk in a datagram")
            return None
        return message

    def drop(self, reason: str) -> None:
        """Count a message that was not taken; reasons are few and fixed."""
        self.dropped[reason] += 1

    def retain(self, members: Container[NodeId]) -> None:
        """Only these are held now."""
        self._paces = {node: pace for node, pace in self._paces.items() if node is None or node in members}

    def __len__(self) -> int:
        return len(self._paces)
