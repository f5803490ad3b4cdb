"""Who sent wrong bytes, and for how long nobody asks them: strikes, bans, quarantine, and pieces in dispute. Pure.

The rule: everybody verifies before serving, so wrong bytes are their sender's fault, unless it is in doubt what is right.
While that is in doubt, bytes are not counted and nobody is blamed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeVar

from p2pstore.types import NodeId, Version

_Name = TypeVar("_Name")

STRIKE_WINDOW_S: Final = 60.0
STRIKES: Final = 2
"""Wrong pieces of one version within the window that end in a ban; one may be a node's failing memory."""
BAN_S: Final = 60.0
QUARANTINE_WINDOW_S: Final = 600.0
QUARANTINE_STRIKES: Final = 3
"""Wrong pieces within the window, of whatever versions, for which a peer is not asked for anything."""
QUARANTINE_S: Final = 600.0
SHUN_S: Final = 5.0
"""A peer that left several requests unanswered is not asked for so long: it may be dead, or the way to it."""
MAX_SUSPECTS: Final = 1024
"""Peers with a record, and pairs of version and peer with one; the one that has gone unblamed for longest is forgotten."""
MAX_DISPUTES: Final = 64
"""Pieces of one version in dispute at once; a claim that would begin one more is not heard."""


class Verdict(Enum):
    """What a piece's bytes turned out to be."""

    RIGHT = "right"
    WRONG = "wrong"
    """They are not what was pinned: dropped, and their sender is to blame."""
    DISPUTED = "disputed"
    """It is in doubt what is right: dropped, nobody is to blame yet."""


@dataclass(slots=True)
class _Record:
    """The last strikes, and until when the peer is barred."""

    strikes: list[float] = field(default_factory=list)
    until: float = 0.0

    def strike(self, now: float, most: int, window_s: float, barred_s: float) -> bool:
        """Count one; whether the peer is barred by it."""
        self.strikes = [*(at for at in self.strikes if now - at < window_s), now][-most:]
        if len(self.strikes) < most:
            return False
        self.strikes = []
        self.until = max(self.until, now + barred_s)
        return True


class Blame:
    """One node's records of who sent it wrong bytes. `now` is monotonic seconds.

    Two strikes in a minute bar a peer from one version for a minute; three in ten minutes bar it from everything for
    ten. Nothing here is told as proof: another node's complaint never counts.
    """

    def __init__(self) -> None:
        self.bars = 0
        """How often a peer was barred so far: who asks for a version looks again when it has grown."""
        self._by_version: dict[tuple[Version, NodeId], _Record] = {}
        self._by_peer: dict[NodeId, _Record] = {}

    def wrong(self, ver: Version, peer: NodeId, now: float) -> bool:
        """A peer sent a wrong piece; whether it is barred from this version now."""
        record = _last(self._by_version, (ver, peer))
        self.bars += record.strike(now, STRIKES, STRIKE_WINDOW_S, BAN_S)
        record = _last(self._by_peer, peer)
        self.bars += record.strike(now, QUARANTINE_STRIKES, QUARANTINE_WINDOW_S, QUARANTINE_S)
        return self.barred(ver, peer, now)

    def silent(self, ver: Version, peer: NodeId, now: float) -> None:
        """A peer left several requests unanswered: it is left alone with this version for SHUN_S, and not blamed."""
        record = _last(self._by_version, (ver, peer))
        record.until = max(record.until, now + SHUN_S)

    def barred(self, ver: Version, peer: NodeId, now: float) -> bool:
        """Whether nothing of this version is asked of the peer now."""
        return now < self.barred_until(ver, peer)

    def barred_until(self, ver: Version, peer: NodeId) -> float:
        """When the peer may be asked again, 0.0 if it was never barred."""
        records = (self._by_version.get((ver, peer)), self._by_peer.get(peer))
        return max((record.until for record in records if record is not None), default=0.0)

    def quarantined(self, now: float) -> list[NodeId]:
        """The peers that are asked for nothing at all now, for the operator."""
        return [peer for peer, record in self._by_peer.items() if now < record.until]

    def check(self) -> None:
        """Assert that the tables keep their bounds."""
        assert len(self._by_version) <= MAX_SUSPECTS and len(self._by_peer) <= MAX_SUSPECTS
        assert all(len(record.strikes) < STRIKES for record in self._by_version.values())
        assert all(len(record.strikes) < QUARANTINE_STRIKES for record in self._by_peer.values())


def _last(table: dict[_Name, _Record], name: _Name) -> _Record:
    """The record of this name, put at the table's end; the first one goes when there are too many."""
    record = table.pop(name) if name in table else _Record()
    table[name] = record
    if len(table) > MAX_SUSPECTS:
        del table[next(iter(table))]
    return record


@dataclass(frozen=True, slots=True)
class Pin:
    """A piece's digest and the member that vouches for it because it fetched the piece from the origin."""

    digest: bytes
    fetcher: NodeId


class Pins:
    """The digests of a version's pieces while no manifest is known: the first claim heard is pinned, another is a dispute.

    A holder passes on the claim by which it verified a piece, before it serves it; so an honest one that was told something
    else is seen as the other side of a dispute, not as a sender of wrong bytes. A dispute ends when somebody who is
    neither of the two has read the piece from the origin (`settle`). Bounded by the piece count and MAX_DISPUTES.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pins: dict[int, Pin] = {}
        self._rivals: dict[int, Pin] = {}

    @property
    def disputes(self) -> tuple[int, ...]:
        """The pieces that somebody has to read from the origin once more."""
        return tuple(self._rivals)

    def parties(self, index: int) -> tuple[NodeId, ...]:
        """Who may not settle the dispute over a piece; empty when there is none."""
        rival = self._rivals.get(index)
        return () if rival is None else (self._pins[index].fetcher, rival.fetcher)

    def claim(self, index: int, digest: bytes, fetcher: NodeId) -> bool:
        """A member vouches for a piece's digest; False when it contradicts what is pinned. Raises IndexError.

        A member that contradicts itself is both sides of the dispute: others may have been told the other thing.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"no piece {index} of {self.count}")
        pin = self._pins.setdefault(index, Pin(digest, fetcher))
        if pin.digest == digest:
            return True
        if index in self._rivals or len(self._rivals) < MAX_DISPUTES:
            self._rivals.setdefault(index, Pin(digest, fetcher))
        return False

    def judge(self, index: int, digest: bytes) -> Verdict:
        """What to think of bytes with this digest. A piece that nobody vouched for is in doubt."""
        pin = self._pins.get(index)
        if pin is None or index in self._rivals:
            return Verdict.DISPUTED
        return Verdict.RIGHT if digest == pin.digest else Verdict.WRONG

    def settle(self, index: int, digest: bytes, fetcher: NodeId) -> tuple[NodeId, ...]:
        """A third member read the piece from the origin: who vouched for something else.

        The pin is the truth from now on. What the liars vouched for besides is to be had from `purge`.
        """
        claims = (self._pins.get(index), self._rivals.pop(index, None))
        self._pins[index] = Pin(digest, fetcher)
        return tuple(claim.fetcher for claim in claims if claim is not None and claim.digest != digest)

    def purge(self, fetcher: NodeId) -> int:
        """Forget all that a liar vouched for: the bitmap of pieces that are to be fetched again."""
        purged = 0
        for index in [index for index, pin in self._pins.items() if pin.fetcher == fetcher]:
            del self._pins[index]
            rival = self._rivals.pop(index, None)
            if rival is not None:
                self._pins[index] = rival
            purged |= 1 << index
        for index in [index for index, rival in self._rivals.items() if rival.fetcher == fetcher]:
            del self._rivals[index]
        return purged

    def check(self) -> None:
        """Assert the bounds, and that each dispute has two sides."""
        assert len(self._rivals) <= MAX_DISPUTES
        assert len(self._pins) <= self.count
        for index, rival in self._rivals.items():
            assert self._pins[index].digest != rival.digest
