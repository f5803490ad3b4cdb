"""The short way: a URL asked for again, still fresh, answered without a task, a thread or an await.

An answer is kept encoded for as long as what it says is true: the same entry, the same second of age, the same freshness.
Only requests for public entries without any condition of their own come this way; all others take `Agent.get`.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgpack

from p2pstore.agent.asks import key_for
from p2pstore.agent.handout import Way, described, result
from p2pstore.agent.session import PATH_LEASE_S, Reply, Session
from p2pstore.agent.spares import Spares
from p2pstore.cache.freshness import Answer
from p2pstore.errors import P2PStoreError
from p2pstore.types import PUBLIC, Entry, Key

if TYPE_CHECKING:
    from p2pstore.agent.agent import Agent

MAX_ANSWERS: Final = 4096
"""Encoded answers kept, for `get` and for `stat` each."""
TRUE_FOR_S: Final = 1.0
"""An encoded answer says an age; it is made anew after this long."""
PLAIN_GET: Final = frozenset({"url", "want", "stream", "deadline_s"})
PLAIN_STAT: Final = frozenset({"url"})


@dataclass(frozen=True, slots=True)
class _Answer:
    entry: Entry
    made_at: float
    until: float
    body: bytes


class Hits:
    """Encoded answers by URL as it was written; bounded."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._store, self._wall, self._stats = agent.store, agent.wall, agent.stats
        self.spares = Spares(agent.store.open_object)
        self._keys: OrderedDict[str, Key] = OrderedDict()
        self._gets: OrderedDict[str, _Answer] = OrderedDict()
        self._paths: OrderedDict[str, _Answer] = OrderedDict()
        self._stats_answers: OrderedDict[str, _Answer] = OrderedDict()

    def try_get(self, session: Session, args: dict[str, Any]) -> Reply | None:
        """The reply to a plain `get` of a fresh public entry that is known in memory; None for everything else."""
        if not PLAIN_GET.issuperset(args):
            return None
        want = args.get("want", "fd")
        answers = self._gets if want == "fd" else self._paths if want == "path" else None
        if answers is None:
            return None
        answer = self._valid(answers, args["url"]) or self._make_get(answers, args["url"], session.caller.uid)
        if answer is None:
            return None
        entry = answer.entry
        fd = self.spares.take(entry) if want == "fd" else -1
        if fd < 0:
            try:
                fd = self._store.open_object(entry)
            except P2PStoreError:
                return None
        if want == "path":
            # Opened only to see that it is there.
            os.close(fd)
            fd = -1
            self._store.lease(entry, self._agent.clock() + PATH_LEASE_S)
        self._store.touch(entry)
        self._stats.hits += 1
        self._stats.cache_bytes += entry.size_bytes
        return Reply(answer.body, fd)

    def try_stat(self, session: Session, args: dict[str, Any]) -> Reply | None:
        """The reply to a plain `stat` of a public entry that is known in memory; None for everything else."""
        if not PLAIN_STAT.issuperset(args) or "url" not in args:
            return None
        answer = self._valid(self._stats_answers, args["url"]) or self._make_stat(args["url"])
        return None if answer is None else Reply(answer.body)

    def _valid(self, answers: OrderedDict[str, _Answer], url: str) -> _Answer | None:
        answer = answers.get(url)
        if answer is None:
            return None
        if (
            answer.made_at <= self._wall() < answer.until
            and self._store.hot(answer.entry.key) is answer.entry
        ):
            return answer
        del answers[url]
        return None

    def _entry(self, url: str) -> Entry | None:
        key = self._keys.get(url)
        if key is None:
            canonical = self._agent.asks.canonical(url)
            if canonical.userinfo or canonical.signer or canonical.scheme == "file":
                return None
            if canonical.host in self._agent.config.origin.private_hosts:
                return None
            key = self._keys[url] = key_for(canonical, PUBLIC)
            if len(self._keys) > MAX_ANSWERS:
                self._keys.popitem(last=False)
        entry = self._store.hot(key)
        return entry if entry is not None and not entry.vary else None

    def _make_get(self, answers: OrderedDict[str, _Answer], url: str, uid: int) -> _Answer | None:
        entry = self._entry(url)
        if entry is None:
            return None
        now = self._wall()
        judgement = self._agent.judge(entry)
        if judgement.answer is not Answer.FRESH:
            return None
        fields = result(entry, Way(), judgement, self._agent.path_for(entry, uid), fd=answers is self._gets)
        until = now + min(TRUE_FOR_S, judgement.lifetime_s - judgement.age_s)
        return _keep(answers, url, _Answer(entry, now, until, msgpack.packb(fields)))

    def _make_stat(self, url: str) -> _Answer | None:
        entry = self._entry(url)
        if entry is None:
            return None
        now = self._wall()
        judgement = self._agent.judge(entry)
        fields = {"cached": True, "complete": True, "loading": None, **described(entry, judgement)}
        return _keep(self._stats_answers, url, _Answer(entry, now, now + TRUE_FOR_S, msgpack.packb(fields)))


def _keep(answers: OrderedDict[str, _Answer], url: str, answer: _Answer) -> _Answer:
    answers[url] = answer
    if len(answers) > MAX_ANSWERS:
        answers.popitem(last=False)
    return answer
