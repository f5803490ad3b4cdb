"""Whom a member asks until somebody welcomes it: down the ranking, along redirects, and from the top again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pstore.types import NodeId

ANSWER_S: Final = 0.25
"""Who has not answered a join by then is asked once more, then the next in rank."""
TRIES: Final = 2
ALONE_S: Final = 5.0
"""After so long without a word from anybody a node is its own referee."""
MAX_UNANSWERED: Final = 16
"""So many silent nodes are named to others."""
MAX_REDIRECTS: Final = 8
"""Redirects in a row that are followed; then the search goes on when the last one asked has had its time."""


class Search:
    """The state of it. At most one node is being asked; who was silent is bounded by the ranking and the redirects."""

    def __init__(self, me: NodeId) -> None:
        self.asked: NodeId | None = None
        """Who is being asked; None: somebody answered, or it has not begun."""
        self._silent: list[NodeId] = []
        self.ranked: tuple[NodeId, ...] = (me,)
        self._asked_at = 0.0
        self._tries = 0
        self._redirects = 0
        self._heard_at: float | None = None
        self._alone = False

    @property
    def unanswered(self) -> tuple[NodeId, ...]:
        """Who was asked in vain since the search began, the last ones."""
        return tuple(self._silent[-MAX_UNANSWERED:])

    def view(self, ranked: Sequence[NodeId]) -> None:
        """The live members of the cluster as ranked for the key, best first; an empty list changes nothing."""
        self.ranked = tuple(ranked) or self.ranked

    def begin(self) -> NodeId:
        """Whom to ask first."""
        self._silent = []
        return self.ranked[0]

    def sent(self, to: NodeId, now: float) -> None:
        """A join went to that node."""
        self._tries = self._tries + 1 if to == self.asked else 1
        self.asked, self._asked_at = to, now
        if self._heard_at is None:
            self._heard_at = now

    def heard(self, now: float) -> None:
        """Somebody speaks: this node is not alone."""
        self._heard_at, self._alone = now, False

    def welcomed(self) -> None:
        """The search is over."""
        self.asked, self._tries, self._redirects, self._silent = None, 0, 0, []

    def follows(self, to: NodeId) -> bool:
        """Whether a redirect to that node is followed now."""
        self._redirects += 1
        return self._redirects <= MAX_REDIRECTS and (to != self.asked or self._tries < TRIES)

    def overdue(self, now: float) -> NodeId | None:
        """Whom to ask now because nobody answered in time; None while there is time left."""
        if self.asked is None or now - self._asked_at < ANSWER_S:
            return None
        self._redirects = 0
        if self._tries < TRIES:
            return self.asked
        if self.asked not in self._silent:
            self._silent.append(self.asked)
        self.asked = None
        return next((node for node in self.ranked if node not in self._silent), None) or self.begin()

    def found_alone(self, now: float) -> bool:
        """Whether nobody was heard of for so long that the node goes on by itself; said once."""
        if self.asked is None or self._alone or self._heard_at is None or now - self._heard_at < ALONE_S:
            return False
        self._alone = True
        return True
