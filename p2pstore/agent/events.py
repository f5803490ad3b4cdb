"""What happens in the agent, told to whoever subscribed; nobody is ever waited for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from p2pstore.errors import BadRequest, Overloaded
from p2pstore.types import PUBLIC, Caller

KINDS: Final = (
    "queued",
    "started",
    "progress",
    "verified",
    "ready",
    "failed",
    "revalidated",
    "evicted",
    "removed",
    "quarantined",
)
"""Every kind of event, in the order of an entry's life."""
DEFAULT_KINDS: Final = tuple(kind for kind in KINDS if kind != "progress")
"""What a subscription without a choice hears; progress is for those who ask."""
MAX_SUBSCRIBERS: Final = 1024
"""Subscriptions at once; one more is refused."""

Sink = Callable[[dict[str, Any]], None]


class Bus:
    """Sends each event to the subscribers that may see it; what they do with it must not block."""

    def __init__(self, wall: Callable[[], float], agent_uid: int) -> None:
        self._wall = wall
        self._agent_uid = agent_uid
        self._subscribers: dict[int, tuple[frozenset[str], Caller, Sink]] = {}
        self._next = 1

    def subscribe(self, kinds: Collection[str], caller: Caller, sink: Sink) -> Callable[[], None]:
        """Tell `sink` of these kinds (DEFAULT_KINDS when empty); returns how to end it. Raises BadRequest, Overloaded."""
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            raise BadRequest(f"no event kind {unknown[0]!r}; there are {', '.join(KINDS)}")
        if len(self._subscribers) >= MAX_SUBSCRIBERS:
            raise Overloaded(f"{MAX_SUBSCRIBERS} subscriptions are open", hint="close some")
        number, self._next = self._next, self._next + 1
        self._subscribers[number] = (frozenset(kinds or DEFAULT_KINDS), caller, sink)
        return lambda: void(self._subscribers.pop(number, None))

    def wanted(self, kind: str) -> bool:
        """Whether anybody listens for this kind."""
        return any(kind in kinds for kinds, _, _ in self._subscribers.values())

    def emit(self, kind: str, *, url: str, key: str, scope: str = PUBLIC, **more: Any) -> None:
        """Tell of one event; events of private entries go to their owner's uid, the agent's own and root only."""
        if not self._subscribers:
            return
        event = {"event": kind, "url": url, "key": key, "at": self._wall(), **more}
        for kinds, caller, sink in list(self._subscribers.values()):
            if kind in kinds and self._may_hear(caller, scope):
                sink(event)

    def _may_hear(self, caller: Caller, scope: str) -> bool:
        if scope == PUBLIC or caller.uid in (0, self._agent_uid):
            return True
        return scope.split(":")[1:2] == [str(caller.uid)]


def void(_: object) -> None:
    """Swallow a value."""
