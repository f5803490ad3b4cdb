"""Events of one request, as far as its connection keeps up with them."""

from __future__ import annotations

from typing import Any, Final, Protocol

OUTPUT_MARK_BYTES: Final = 4 << 20
"""Above this much unread output a connection is not read from, and events are dropped and counted."""
PROGRESS_MARK_BYTES: Final = 256 * 1024
"""Above this much unread output progress events are dropped: the next one says more."""
_SQUEEZED: Final = frozenset({"progress"})


class Channel(Protocol):
    """Where events go."""

    @property
    def waiting_bytes(self) -> int:
        """Output not yet taken by the socket."""

    def push(self, request_id: int, event: dict[str, Any], fd: int) -> None:
        """Send an event with a descriptor or -1."""


class Pusher:
    """Sends the events of one request, as far as the connection keeps up; what was missed is told by number."""

    __slots__ = ("_channel", "_missed", "_request_id")

    def __init__(self, channel: Channel, request_id: int) -> None:
        self._channel, self._request_id, self._missed = channel, request_id, 0

    def __call__(self, event: dict[str, Any], fd: int = -1) -> None:
        """Send the event; a descriptor becomes the channel's, and such an event is never dropped."""
        waiting_bytes = self._channel.waiting_bytes
        if fd < 0 and waiting_bytes > PROGRESS_MARK_BYTES and event.get("event") in _SQUEEZED:
            return
        if fd < 0 and waiting_bytes > OUTPUT_MARK_BYTES:
            self._missed += 1
            return
        if self._missed:
            self._channel.push(self._request_id, {"event": "missed", "count": self._missed}, -1)
            self._missed = 0
        self._channel.push(self._request_id, event, fd)
