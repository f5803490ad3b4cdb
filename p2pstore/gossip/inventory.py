"""What the whole cluster holds: sorted pages of all members merged into one stream, and a statement of how complete it is. Pure.

Every member is the authority on its own rows and is asked for them in order of their names, a page at a time. Memory is one page a
member, whatever the number of rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from p2pstore.types import NodeId

MAX_BUFFERED_ROWS: Final = 16_384
"""Rows of all members that wait to be merged."""
MAX_ASKED: Final = 32
"""Members asked at once."""
MAX_REASON_CHARS: Final = 200
"""Of why a member's rows are missing."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Missing:
    """A member whose rows are not all there, and why."""

    node: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Completeness:
    """Who answered, who did not, how old: what every listing of the cluster ends with."""

    members: int
    """Members in this node's view, itself included."""
    answered: int
    """Those whose rows are all there."""
    missing: tuple[Missing, ...]
    """The others, in order of their ids."""
    oldest_age_s: float
    """Age of the oldest word of a member that the listing rests on."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing as far as this node's view of the members is right."""
        return not self.missing


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a member for its next page: at most `limit` rows behind `after`, in order; empty is the beginning."""

    node: NodeId
    after: bytes
    limit: int


@dataclass(frozen=True, slots=True)
class Held(Generic[R]):
    """One name and the rows of all who hold it, in order of the holders' ids."""

    name: bytes
    rows: tuple[tuple[NodeId, R], ...]


@dataclass(slots=True)
class _Stream(Generic[R]):
    rows: deque[tuple[bytes, R]] = field(default_factory=deque)
    last: bytes = b""
    asked: bool = False
    ended: bool = False
    failed: str = ""
    oldest_at: float = float("inf")


class Merge(Generic[R]):
    """One listing of all members. `name` tells the name of a row, by which every member's rows ascend.

    The owner does what `asks` says and gives every answer to `page` or `failed`; `take` has what is merged so far.
    """

    def __init__(self, members: Iterable[NodeId], name: Callable[[R], bytes]) -> None:
        self._streams: dict[NodeId, _Stream[R]] = {node: _Stream() for node in sorted(set(members))}
        self._name = name
        self.page_rows: int = max(MAX_BUFFERED_ROWS // max(len(self._streams), 1), 1)
        """Rows of one page."""

    def asks(self) -> list[Ask]:
        """Which members to ask now; they count as asked. Only those whose rows are needed next."""
        under_way = sum(1 for stream in self._streams.values() if stream.asked)
        asks: list[Ask] = []
        for node, stream in self._streams.items():
            if under_way + len(asks) >= MAX_ASKED:
                break
            if not (stream.rows or stream.asked or stream.ended):
                stream.asked = True
                asks.append(Ask(node, stream.last, self.page_rows))
        return asks

    def page(self, node: NodeId, rows: Sequence[R], *, last: bool, now: float) -> None:
        """A member's answer; `last` when there are no rows behind these. Pages that were not asked for change nothing.

        A member whose rows do not ascend, or are more than asked for, or none where there should be more, counts as failed.
        """
        stream = self._streams.get(node)
        if stream is None or not stream.asked or stream.ended:
            return
        stream.asked = False
        if len(rows) > self.page_rows or not (rows or last):
            return self.failed(node, "gave a page of a wrong size")
        for row in rows:
            name = self._name(row)
            if name <= stream.last:
                return self.failed(node, "gave rows out of order")
            stream.last = name
            stream.rows.append((name, row))
        stream.oldest_at = min(stream.oldest_at, now)
        stream.ended = last

    def failed(self, node: NodeId, reason: str) -> None:
        """A member will not give the rest of its rows; those that it gave stay. Nothing happens when it gave all."""
        stream = self._streams.get(node)
        if stream is not None and not stream.ended:
            stream.ended, stream.asked, stream.failed = True, False, reason[:MAX_REASON_CHARS] or "failed"

    def take(self, limit: int) -> list[Held[R]]:
        """At most `limit` names, ascending, each with all of its rows; fewer when a member's next rows are not there yet."""
        merged: list[Held[R]] = []
        while len(merged) < limit and not self._is_waiting():
            heads = [stream.rows[0][0] for stream in self._streams.values() if stream.rows]
            if not heads:
                break
            name = min(heads)
            rows = [
                (node, stream.rows.popleft()[1])
                for node, stream in self._streams.items()
                if stream.rows and stream.rows[0][0] == name
            ]
            merged.append(Held(name, tuple(rows)))
        return merged

    @property
    def done(self) -> bool:
        """Whether everything was taken."""
        return all(stream.ended and not stream.rows for stream in self._streams.values())

    def completeness(self, now: float) -> Completeness:
        """Who gave all of its rows so far; `oldest_age_s` is the age of the oldest page."""
        missing = tuple(
            Missing(node, stream.failed or "did not answer yet")
            for node, stream in self._streams.items()
            if stream.failed or not stream.ended
        )
        oldest_at = min((stream.oldest_at for stream in self._streams.values()), default=now)
        members = len(self._streams)
        return Completeness(members, members - len(missing), missing, max(now - min(oldest_at, now), 0.0))

    def check(self) -> None:
        """Assert the bounds."""
        assert sum(len(stream.rows) for stream in self._streams.values()) <= max(
            MAX_BUFFERED_ROWS, len(self._streams)
        )
        assert sum(1 for stream in self._streams.values() if stream.asked) <= MAX_ASKED

    def _is_waiting(self) -> bool:
        return any(not (stream.rows or stream.ended) for stream in self._streams.values())
