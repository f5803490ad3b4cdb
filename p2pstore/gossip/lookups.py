"""The asker's side: which home is asked for which keys, when the next one is, and when to stop. Pure.

Every lookup ends within LIMIT_S and never fails: a key for which no home answered is unknown, which costs its asker the way to the
origin. Homes that are suspected are asked last. An answer counts only from a home that was asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from p2pstore.gossip.row_messages import MAX_KEYS as KEYS_PER_MESSAGE
from p2pstore.gossip.row_messages import Locate, Located, Send, ToldRow, encode
from p2pstore.gossip.rows import Row
from p2pstore.types import Key, NodeId, Version

if TYPE_CHECKING:
    import random

LIMIT_S: Final = 2.0
"""Longest life of a lookup."""
TRIES: Final = (0, 0, 1, 2, 1, 2, 0)
"""Which home of the ranking is asked at each try: the first, on whom all askers agree, more often than the others."""
WAITS_S: Final = (0.05, 0.05, 0.1, 0.2, 0.4, 0.4, 0.8)
"""How long each try may take; LIMIT_S in all."""
MAX_LOOKUPS: Final = 1_024
"""Lookups at once; one more ends at once with what is known here."""
MAX_KEYS: Final = 65_536
"""Keys of all lookups at once; the same holds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one key. No answer is binding: a row may be stale, and absence may be ignorance."""

    key: Key
    rows: tuple[Row, ...] = ()
    """Holders that are members, suspected ones last."""
    sure: bool = False
    """Without rows: whether nobody holds it as far as its home would know; else nobody could say."""
    home: NodeId | None = None
    """Who answered; None for nobody."""


@dataclass(frozen=True, slots=True)
class Found:
    """A lookup is over: an answer for each of its keys, in their order."""

    lookup: int
    answers: tuple[Answer, ...]


@dataclass(slots=True)
class _Wait:
    home: NodeId
    keys: set[Key]
    due: float


@dataclass(slots=True)
class _Lookup:
    keys: tuple[Key, ...]
    ends_at: float
    answers: dict[Key, Answer]
    tries: dict[Key, list[tuple[NodeId, float]]]
    """The tries that are left for each open key: whom, and for how long."""
    waits: list[_Wait] = field(default_factory=list)


class Lookups:
    """All lookups under way; bounded by MAX_LOOKUPS, MAX_KEYS and a fixed number of tries a key."""

    def __init__(self, rng: random.Random) -> None:
        # Numbers of an earlier life of this node must not fit answers to this one.
        self._numbers = rng.getrandbits(48)
        self._open: dict[int, _Lookup] = {}
        self._keys = 0

    def number(self) -> int:
        """A new lookup's number."""
        self._numbers += 1
        return self._numbers

    def start(
        self,
        number: int,
        keys: tuple[Key, ...],
        known: dict[Key, Answer],
        homes: dict[Key, Sequence[NodeId]],
        now: float,
    ) -> tuple[list[Send], Found | None]:
        """Begin to ask for the keys that have homes; `known` has what is to be said of the others, and of all if it fails."""
        if not homes or len(self._open) >= MAX_LOOKUPS or self._keys + len(homes) > MAX_KEYS:
            return [], Found(number, tuple(known.get(key, Answer(key)) for key in keys))
        self._keys += len(homes)
        lookup = _Lookup(keys, now + LIMIT_S, dict(known), {k: _tries(ranked) for k, ranked in homes.items()})
        self._open[number] = lookup
        sends = self._advance(number, lookup, list(homes), now)
        return sends, self._over(number, lookup, now)

    def answered(
        self, home: NodeId, message: Located, answers: Iterable[Answer], now: float
    ) -> tuple[list[Send], Found | None]:
        """A home answered: take what it knows, and ask the next one for what it does not."""
        lookup = self._open.get(message.number)
        if lookup is None:
            return [], None
        further: list[Key] = []
        for answer in answers:
            key = answer.key
            if key not in lookup.tries or not _take_from(lookup.waits, home, key):
                continue
            if answer.rows or answer.sure:
                lookup.answers[key] = answer
                self._close(lookup, key)
            else:
                lookup.tries[key] = [one for one in lookup.tries[key] if one[0] != home]
                further.append(key)
        sends = self._advance(message.number, lookup, further, now)
        return sends, self._over(message.number, lookup, now)

    def poll(self, now: float) -> tuple[list[Send], list[Found]]:
        """Ask the next home where one did not answer in time; end what took too long."""
        sends: list[Send] = []
        found: list[Found] = []
        for number, lookup in list(self._open.items()):
            late = [wait for wait in lookup.waits if wait.due <= now]
            if late:
                lookup.waits = [wait for wait in lookup.waits if wait.due > now]
                keys = [key for wait in late for key in lookup.keys if key in wait.keys]
                sends += self._advance(number, lookup, keys, now)
            over = self._over(number, lookup, now)
            if over is not None:
                found.append(over)
        return sends, found

    def deadline(self) -> float | None:
        """When to poll again; None without lookups."""
        return min(
            (min([wait.due for wait in one.waits] + [one.ends_at]) for one in self._open.values()),
            default=None,
        )

    def check(self) -> None:
        """Assert the bounds, and that every open key waits for somebody."""
        assert len(self._open) <= MAX_LOOKUPS
        assert self._keys == sum(len(one.tries) for one in self._open.values()) <= MAX_KEYS
        for lookup in self._open.values():
            waiting = {key for wait in lookup.waits for key in wait.keys}
            assert lookup.tries and waiting >= lookup.tries.keys(), "a key waits for nobody"

    def _advance(self, number: int, lookup: _Lookup, keys: Iterable[Key], now: float) -> list[Send]:
        """Ask for each key at its next try; a key without one is closed."""
        groups: dict[tuple[NodeId, float], list[Key]] = {}
        for key in keys:
            left = lookup.tries.get(key)
            if left:
                groups.setdefault(left.pop(0), []).append(key)
            elif left is not None:
                self._close(lookup, key)
        sends = []
        for (home, wait_s), asked in groups.items():
            lookup.waits.append(_Wait(home, set(asked), now + wait_s))
            for at in range(0, len(asked), KEYS_PER_MESSAGE):
                part = tuple(bytes.fromhex(key) for key in asked[at : at + KEYS_PER_MESSAGE])
                sends.append(Send(home, encode(Locate(number, part))))
        return sends

    def _close(self, lookup: _Lookup, key: Key) -> None:
        del lookup.tries[key]
        self._keys -= 1

    def _over(self, number: int, lookup: _Lookup, now: float) -> Found | None:
        if lookup.tries and now < lookup.ends_at:
            return None
        self._keys -= len(lookup.tries)
        del self._open[number]
        return Found(number, tuple(lookup.answers.get(key, Answer(key)) for key in lookup.keys))


def answer_of(home: NodeId, key: Key, sure: bool, rows: Iterable[ToldRow], now: float) -> Answer:
    """What a home told of a key, with its ages as moments of this node."""
    return Answer(
        key,
        tuple(
            Row(
                holder=NodeId(row.holder.hex()),
                gen=row.gen,
                key=key,
                ver=Version(row.ver.hex()),
                rver=row.rver,
                state=row.state,
                size_bytes=None if row.size_bytes < 0 else row.size_bytes,
                have_bytes=row.have_bytes,
                validated_at=now - row.age_s,
                heard_at=now - row.heard_s,
            )
            for row in rows
        ),
        sure,
        home,
    )


def _tries(ranked: Sequence[NodeId]) -> list[tuple[NodeId, float]]:
    return [(ranked[at], wait_s) for at, wait_s in zip(TRIES, WAITS_S, strict=True) if at < len(ranked)]


def _take_from(waits: list[_Wait], home: NodeId, key: Key) -> bool:
    """Whether the home was being asked for the key; it is not any more."""
    for wait in waits:
        if wait.home == home and key in wait.keys:
            wait.keys.discard(key)
            if not wait.keys:
                waits.remove(wait)
            return True
    return False
