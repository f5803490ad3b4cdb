"""What all connections of a job socket share."""

from __future__ import annotations

import asyncio
import struct
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
MIN_LONE_BYTES: Final = 11
MAX_LONE_BYTES: Final = 1024
"""Frames longer than the one and shorter than the other are looked up by their bytes."""
_ID_ENDS: Final = bytes([0] + [2] * 0x7F + [0] * 0x4C + [3, 4, 6] + [0] * 0x31)
"""By the first byte of a packed id: where the id ends in the payload `[id, ...]`; 0 for what is no id, 0 itself too."""
_ARRAY_OF_3: Final = 0x93
_LENGTH: Final = struct.Struct(">I")
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

    def lone(self, size: int) -> tuple[bytes, HotVerb, dict[str, Any]] | None:
        """The request in the buffer, when it is one whole frame of `size` bytes that may be answered at once.

        With it, the bytes of array mark and id, with which the answer begins.
        """
        payload = bytes(self.buffer[4:size])
        end = _ID_ENDS[payload[1]]
        if not end or payload[0] != _ARRAY_OF_3 or _LENGTH.unpack_from(self.buffer)[0] != size - 4:
            return None
        tail = payload[end:]
        known = self.remembered.get(tail) or self.learn(tail)
        return None if known is None else (payload[:end], known[0], known[1])

    def learn(self, tail: bytes) -> Known | None:
        """Remember the request of these bytes if it may be answered at once; None for every other, wrong ones too."""
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
