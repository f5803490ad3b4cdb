"""What all connections of a job socket share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from p2pstore.api.jobs.verbs import HotVerb, Verbs, checked
from p2pstore.errors import P2PStoreError
from p2pstore.wire.frames import decode

if TYPE_CHECKING:
    from p2pstore.api.jobs.connection import Connection

RECEIVE_BYTES: Final = 64 * 1024
"""Taken from a socket at once."""
MAX_REMEMBERED: Final = 4096
"""Requests whose bytes are remembered."""
MAX_REMEMBERED_BYTES: Final = 1024
"""Longest request that is remembered."""
_SECRET: Final = frozenset({"auth", "headers"})
_ANY_ID: Final = b"\x93\x01"

Known: TypeAlias = tuple[HotVerb, dict[str, Any]]


@dataclass(slots=True)
class Door:
    """Shared by all connections of one loop; `gone` is told of each that closed."""

    loop: asyncio.AbstractEventLoop
    verbs: Verbs
    max_requests: int
    greeting: dict[str, Any]
    gone: Callable[[Connection], None]
    remembered: dict[bytes, Known] = field(default_factory=dict)
    """Checked requests that may be answered at once, by their bytes after the id: a job asks for the same again and again,
    and decoding costs as much as answering. The same for all callers, and without secrets."""
    buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(RECEIVE_BYTES)))
    """What one connection received; read out before the next one receives."""

    def learn(self, tail: bytes) -> Known | None:
        """Remember the request of these bytes if it may be answered at once; None for every other, wrong ones too."""
        if len(tail) > MAX_REMEMBERED_BYTES:
            return None
        try:
            _, verb, args = decode(_ANY_ID + tail)
            hot = self.verbs.hot.get(verb)
            if hot is None or "fd" in args or not _SECRET.isdisjoint(args):
                return None
            checked(verb, args, -1)
        except P2PStoreError:
            return None
        if len(self.remembered) >= MAX_REMEMBERED:
            del self.remembered[next(iter(self.remembered))]
        self.remembered[tail] = known = (hot, args)
        return known
