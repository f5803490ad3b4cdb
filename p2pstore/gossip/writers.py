"""Whose word counts at a home: the members, and for each the one generation whose rows are believed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from p2pstore.types import NodeId

MAX_WRITERS: Final = 60_000
"""Holders, and older generations of them whose rows are not swept yet."""
HIDDEN_S: Final = 600.0
"""How long rows of a holder that is no member are kept."""
WARM_S: Final = 10.0
"""How long a home waits for the word of a holder before it says "nobody" without it."""
ASK_S: Final = 2.0
"""Time between requests to a member that has not confirmed its rows."""
MAX_ASKED: Final = 32
"""Members asked at once."""

NEVER: Final = float("inf")


@dataclass(slots=True)
class Writer:
    """One generation of one holder, as far as it was heard here."""

    node: NodeId
    gen: int
    index: int
    rows: int = 0
    """Rows that say that something is held."""
    packed: int = 0
    """Rows in the table, removals included."""
    fingerprint: int = 0
    rver: int = 0
    """The highest number heard."""
    heard_at: float = -NEVER
    confirmed: bool = False
    """Whether the holder said that this is all, since it became a member."""
    overfull: bool = False
    """Whether rows were refused because the table was full."""
    copies: int = 0
    """How many homes it announces each key to; 0 for all members."""


@dataclass(slots=True)
class _Member:
    gen: int
    since: float
    suspect: bool
    asked_at: float = -NEVER


class Writers:
    """The members other than this node, and who of them wrote what is in the table."""

    def __init__(self) -> None:
        self.retired = 0
        """Writers whose word counts no more and whose rows are still in the table."""
        self._members: dict[NodeId, _Member] = {}
        self._current: dict[NodeId, Writer] = {}
        self._by_index: dict[int, Writer] = {}
        self._hidden: dict[NodeId, float] = {}
        self._next_index = 0

    def set_members(self, members: Mapping[NodeId, tuple[int, bool]], now: float) -> None:
        """The members changed: generation, and whether suspected. Rows of the others are hidden, of older generations void."""
        for node in self._members.keys() - members.keys():
            del self._members[node]
            if node in self._current:
                self._current[node].confirmed = False
                self._hidden[node] = now
        for node, (gen, suspect) in members.items():
            member = self._members.get(node)
            self._hidden.pop(node, None)
            if member is None or gen > member.gen:
                member = self._members[node] = _Member(gen, now, suspect)
            member.suspect = suspect
            writer = self._current.get(node)
            if writer is not None and writer.gen < member.gen:
                self.retire(writer)

    def of(self, holder: NodeId, gen: int, now: float) -> Writer | None:
        """Who writes for this generation of a member, which ends every older one; None for strangers and older generations."""
        member = self._members.get(holder)
        writer = self._current.get(holder)
        if member is None or gen < member.gen or (writer is not None and gen < writer.gen):
            return None
        if writer is not None and gen > writer.gen:
            self.retire(writer)
            writer = None
        if writer is None:
            if len(self._by_index) >= MAX_WRITERS:
                return None
            while self._next_index in self._by_index:
                self._next_index = (self._next_index + 1) % MAX_WRITERS
            writer = self._current[holder] = Writer(holder, gen, self._next_index)
            self._by_index[writer.index] = writer
        writer.heard_at = now
        return writer

    def retire(self, writer: Writer) -> None:
        """Nothing that this writer said counts any more; its rows are to be swept."""
        del self._current[writer.node]
        self._hidden.pop(writer.node, None)
        if writer.packed:
            self.retired += 1
        else:
            del self._by_index[writer.index]

    def start_over(self, writer: Writer, now: float) -> None:
        """A member is about to send all of its rows once more; until then its silence means nothing."""
        self.retire(writer)
        self._members[writer.node].since = now

    def swept(self, writer: Writer) -> None:
        """One row of a writer was taken out of the table."""
        writer.packed -= 1
        if not writer.packed and not self.counts(writer):
            del self._by_index[writer.index]
            self.retired -= 1

    def by_index(self, index: int) -> Writer:
        """The writer of a row in the table."""
        return self._by_index[index]

    def current(self, node: NodeId) -> Writer | None:
        """The writer that counts for a holder, member or not."""
        return self._current.get(node)

    def counts(self, writer: Writer) -> bool:
        """Whether it is the generation that counts."""
        return self._current.get(writer.node) is writer

    def is_visible(self, writer: Writer) -> bool:
        """Whether its rows may be told: it counts and its holder is a member."""
        return writer.node in self._members and self.counts(writer)

    def is_suspect(self, node: NodeId) -> bool:
        """Whether a member is suspected."""
        member = self._members.get(node)
        return member is not None and member.suspect

    def is_warm(self, now: float) -> bool:
        """Whether every member confirmed its rows or had the time to, and none was refused."""
        return not any(writer.overfull for writer in self._current.values()) and not any(
            now < member.since + WARM_S and not self._is_confirmed(node)
            for node, member in self._members.items()
        )

    def fewest_copies(self) -> int | None:
        """The least number of homes that a member announces a key to; None when all announce to all."""
        copies = (self._current[node].copies for node in self._members if node in self._current)
        return min(filter(None, copies), default=None)

    def expire_hidden(self, now: float) -> None:
        """Give up on holders that have not been members for HIDDEN_S."""
        for node, at in list(self._hidden.items()):
            if now >= at + HIDDEN_S:
                self.retire(self._current[node])

    def hidden_until(self) -> float:
        """When `expire_hidden` has something to do."""
        return min(self._hidden.values(), default=NEVER) + HIDDEN_S

    def to_ask(self, now: float) -> list[NodeId]:
        """Members that have not confirmed their rows for a while; they count as asked."""
        due = [node for node, member in self._members.items() if self._ask_at(node, member) <= now][
            :MAX_ASKED
        ]
        for node in due:
            self._members[node].asked_at = now
        return due

    def ask_at(self) -> float:
        """When `to_ask` names somebody."""
        return min((self._ask_at(node, member) for node, member in self._members.items()), default=NEVER)

    def check(self) -> None:
        """Assert the bounds, and that no older generation is believed."""
        assert len(self._by_index) <= MAX_WRITERS
        assert self._hidden.keys() == self._current.keys() - self._members.keys()
        for node, writer in self._current.items():
            assert self._by_index[writer.index] is writer
            member = self._members.get(node)
            assert member is None or writer.gen >= member.gen, "an older generation is believed"
        assert self.retired == len(self._by_index) - len(self._current)

    def _is_confirmed(self, node: NodeId) -> bool:
        writer = self._current.get(node)
        return writer is not None and writer.confirmed

    def _ask_at(self, node: NodeId, member: _Member) -> float:
        writer = self._current.get(node)
        if writer is None:
            return max(member.since, member.asked_at) + ASK_S
        if writer.confirmed or writer.overfull:
            return NEVER
        return max(writer.heard_at, member.since, member.asked_at) + ASK_S
