"""What was received before: a window of sequence numbers for each sender, in bounded memory. Pure; without any clock.

The rule: no number of a sender's generation is taken twice, and none that is so old that this could not be known (RFC 4303
3.4.3). A newer generation ends the older one for good. Only what is authenticated may be asked about here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

WINDOW: Final = 1024
"""Numbers behind the highest that may still come: about a second of a busy member's datagrams out of order."""
MAX_SENDERS: Final = 20_000
"""Senders remembered, as many as a cluster may have members; the one that was silent longest makes room."""


class Verdict(Enum):
    """What the windows say of a number."""

    NEW = "new"
    REPEATED = "repeated"
    TOO_OLD = "too old"
    OLD_GENERATION = "old generation"
    TWIN = "twin"
    """Another process with the same generation: a copied state directory."""
    UNKNOWN = "unknown"
    """From a sender or generation that has not introduced itself."""


class Window:
    """The numbers of one sender's generation that were taken: the highest, and which of the WINDOW up to it."""

    __slots__ = ("_seen", "highest")

    def __init__(self) -> None:
        self.highest = -1
        self._seen = 0

    def take(self, seq: int) -> Verdict:
        """Take a number, 0 or more, unless it was taken before or is too old to tell."""
        ahead = seq - self.highest
        if ahead > 0:
            # A jump past the whole window leaves nothing of it; shifting by the jump itself could cost any memory.
            kept = (self._seen << ahead) & _ALL if ahead < WINDOW else 0
            self._seen = kept | 1
            self.highest = seq
            return Verdict.NEW
        if -ahead >= WINDOW:
            return Verdict.TOO_OLD
        bit = 1 << -ahead
        if self._seen & bit:
            return Verdict.REPEATED
        self._seen |= bit
        return Verdict.NEW


_ALL: Final = (1 << WINDOW) - 1


@dataclass(slots=True)
class _Sender:
    generation: int
    boot: int
    window: Window


class Senders:
    """The windows of at most MAX_SENDERS senders, each with its newest generation.

    A sender that had to make room starts anew when it is heard again; what is replayed of it then is old news to whoever merges
    it, because news are ordered by themselves.
    """

    def __init__(self, max_senders: int = MAX_SENDERS) -> None:
        self._max_senders = max_senders
        # From the longest silent one to the one heard last.
        self._senders: dict[bytes, _Sender] = {}
        self.made_room = 0
        """Senders forgotten for others."""

    def __len__(self) -> int:
        return len(self._senders)

    def generation(self, sender: bytes) -> int | None:
        """The newest generation heard of a sender, or None."""
        found = self._senders.get(sender)
        return None if found is None else found.generation

    def take(self, sender: bytes, generation: int, boot: int, seq: int, *, introduces: bool) -> Verdict:
        """Take a number of a sender; `introduces` says whether it may be the first of a sender or generation."""
        found = self._senders.get(sender)
        if found is None or generation > found.generation:
            if not introduces:
                return Verdict.UNKNOWN
            found = _Sender(generation, boot, Window())
        elif generation < found.generation:
            return Verdict.OLD_GENERATION
        elif boot != found.boot:
            return Verdict.TWIN
        verdict = found.window.take(seq)
        if verdict is Verdict.NEW:
            self._heard(sender, found)
        return verdict

    def _heard(self, sender: bytes, found: _Sender) -> None:
        self._senders.pop(sender, None)
        while len(self._senders) >= self._max_senders:
            del self._senders[next(iter(self._senders))]
            self.made_room += 1
        self._senders[sender] = found
