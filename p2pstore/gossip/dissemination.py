"""News that others do not have yet, and how often each is told to whom. Pure.

In small clusters every news is owed to every member until it confirms; in larger ones it is sent a counted number of times
(SWIM section 4.1). Those who are alive come before suspects and dead, and what was sent least and last came in before the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from p2pstore.gossip import timing
from p2pstore.gossip.members import Accusation, Entry, rank
from p2pstore.gossip.messages import entry_bytes
from p2pstore.types import NodeId

_Name: TypeAlias = tuple[bool, NodeId]
"""Whether it is an accusation, and of whom."""


@dataclass(slots=True)
class _Debt:
    """What one member still has to be told: how often it was, and when it may be again."""

    tries: int = 0
    due_at: float = 0.0


@dataclass(slots=True, eq=False)
class _News:
    entry: Entry
    number: int
    size_bytes: int
    left: int
    """Transmissions to go, when they are counted."""
    owed: dict[NodeId, _Debt] | None
    sent: int = 0


class Dissemination:
    """The queue of news: at most two about one member (its own word, and an accusation), MAX_QUEUED in all."""

    def __init__(self) -> None:
        self._news: dict[_Name, _News] = {}
        self._unconfirmed: dict[bytes, tuple[NodeId, float, list[_News]]] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._news)

    def add(
        self, entry: Entry, others: Iterable[NodeId], live: int, *, bulk: bool, knows: NodeId | None
    ) -> None:
        """Queue news for `others`; `knows` is who told it. Of one member only the newest is kept."""
        name = isinstance(entry, Accusation), entry.node
        opposite = self._news.get((not name[0], entry.node))
        if opposite is not None and (rank(opposite.entry) < rank(entry)) and not name[0]:
            del self._news[not name[0], entry.node]
        if len(self._news) >= timing.MAX_QUEUED and name not in self._news:
            del self._news[max(self._news, key=lambda one: self._news[one].sent)]
        owed = None
        if live <= timing.ALL_TOLD_MAX:
            # An accusation goes to the accused too: the sooner it answers, the less is told.
            spared = knows if name[0] else entry.node
            owed = {node: _Debt() for node in others if node not in (knows, spared)}
            if not owed:
                self._news.pop(name, None)
                return
        else:
            self._count_all(live)
        left = timing.BULK_TRANSMISSIONS if bulk else timing.transmissions(live)
        self._number += 1
        self._news[name] = _News(entry, self._number, entry_bytes(entry), left, owed)

    def told_by(self, node: NodeId, entry: Entry) -> None:
        """`node` holds this or newer itself: it need not be told."""
        news = self._news.get((isinstance(entry, Accusation), entry.node))
        if news is not None and news.owed and rank(entry) >= rank(news.entry):
            news.owed.pop(node, None)
            self._drop_told(news)

    def targets(self, others: list[NodeId], now: float) -> list[NodeId]:
        """Who may be told something now; `others` are the members in the order in which they shall be looked at."""
        if any(news.owed is None for news in self._news.values()):
            return others
        return [node for node in others if any(self._is_due(news, node, now) for news in self._news.values())]

    def pick(
        self, node: NodeId, budget_bytes: int, now: float, nonce: bytes | None, most: int = timing.MAX_ENTRIES
    ) -> list[Entry]:
        """At most `most` news for `node` that fit into `budget_bytes`; counted as told, confirmed by `nonce`."""
        picked: list[_News] = []
        for news in sorted(self._news.values(), key=_order):
            if len(picked) == most:
                break
            if news.size_bytes <= budget_bytes and self._is_due(news, node, now):
                picked.append(news)
                budget_bytes -= news.size_bytes
        if nonce is not None and any(news.owed is not None for news in picked):
            self._await(nonce, node, picked, now)
        for news in picked:
            self._count(news, node, now)
        return [news.entry for news in picked]

    def confirmed(self, nonce: bytes, node: NodeId) -> None:
        """`node` has got the message with that nonce."""
        told, _, picked = self._unconfirmed.get(nonce, (None, 0.0, []))
        if told != node:
            return
        del self._unconfirmed[nonce]
        for news in picked:
            if news.owed is not None:
                news.owed.pop(node, None)
                self._drop_told(news)

    def retain(self, live: Iterable[NodeId]) -> None:
        """Only these are members now: nobody else is owed anything."""
        there = set(live)
        for news in list(self._news.values()):
            if news.owed is not None:
                news.owed = {node: debt for node, debt in news.owed.items() if node in there}
                self._drop_told(news)

    def next_at(self) -> float | None:
        """When something may be sent again, or None when nothing waits."""
        times = [
            0.0 if news.owed is None else min(debt.due_at for debt in news.owed.values())
            for news in self._news.values()
        ]
        return min(times, default=None)

    def check(self) -> None:
        """Assert the bounds, and that nothing waits for nobody."""
        assert len(self._news) <= timing.MAX_QUEUED
        assert len(self._unconfirmed) <= timing.MAX_UNCONFIRMED
        assert all(news.owed is None or news.owed for news in self._news.values())

    def _count_all(self, live: int) -> None:
        """The cluster has outgrown telling everybody: what is still owed is counted like the rest."""
        for news in self._news.values():
            if news.owed is not None:
                news.owed, news.left = None, timing.transmissions(live)

    def _is_due(self, news: _News, node: NodeId, now: float) -> bool:
        if news.owed is None:
            return news.entry.node != node or isinstance(news.entry, Accusation)
        debt = news.owed.get(node)
        return debt is not None and debt.due_at <= now

    def _count(self, news: _News, node: NodeId, now: float) -> None:
        news.sent += 1
        if news.owed is None:
            news.left -= 1
            if news.left <= 0:
                self._remove(news)
            return
        debt = news.owed[node]
        debt.due_at = now + timing.TRY_GAP_S * 2**debt.tries
        debt.tries += 1
        if debt.tries >= timing.MAX_TRIES:
            del news.owed[node]
            self._drop_told(news)

    def _await(self, nonce: bytes, node: NodeId, picked: list[_News], now: float) -> None:
        while self._unconfirmed:
            oldest = next(iter(self._unconfirmed))
            fresh = self._unconfirmed[oldest][1] > now - timing.CONFIRM_S
            if fresh and len(self._unconfirmed) < timing.MAX_UNCONFIRMED:
                break
            del self._unconfirmed[oldest]
        self._unconfirmed[nonce] = node, now, picked

    def _drop_told(self, news: _News) -> None:
        if not news.owed:
            self._remove(news)

    def _remove(self, news: _News) -> None:
        name = isinstance(news.entry, Accusation), news.entry.node
        if self._news.get(name) is news:
            del self._news[name]


def _order(news: _News) -> tuple[bool, int, int]:
    return isinstance(news.entry, Accusation), news.sent, -news.number
