"""How many connections to one origin are in use at once, whichever way they go; the rest wait, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, TypeAlias

from p2pstore.errors import Overloaded

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host and port (RFC 6454)."""
MAX_WAITING: Final = 4096
"""Waiting for connections to one origin; more are refused."""
WAIT_TIMEOUT_S: Final = 3600.0
"""The longest wait; every transfer before it has a minimum rate, so this is for the very unlucky only."""


class Slots:
    """At most `limit` in use per origin; whoever took one frees it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used: dict[Origin, int] = {}
        self._waiting: dict[Origin, deque[asyncio.Future[None]]] = {}

    def used(self, origin: Origin) -> int:
        """In use now."""
        return self._used.get(origin, 0)

    def take_now(self, origin: Origin) -> bool:
        """Take one if one is free."""
        used = self._used.get(origin, 0)
        if used >= self._limit:
            return False
        self._used[origin] = used + 1
        return True

    async def take(self, origin: Origin) -> None:
        """Take one, waiting for it; raises Overloaded when too many wait, or for too long."""
        if self.take_now(origin):
            return
        waiting = self._waiting.setdefault(origin, deque())
        if len(waiting) >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} transfers wait for a connection to {origin[1]}:{origin[2]}")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            async with asyncio.timeout(WAIT_TIMEOUT_S):
                await turn
        except BaseException as exc:
            if turn.done() and not turn.cancelled():
                self.free(origin)  # it was our turn all the same
            else:
                waiting.remove(turn)
            if isinstance(exc, TimeoutError):
                raise Overloaded(f"no free connection to {origin[1]}:{origin[2]} for an hour") from exc
            raise

    def free(self, origin: Origin) -> None:
        """Give one back; the next in line has it at once."""
        waiting = self._waiting.get(origin)
        while waiting:
            turn = waiting.popleft()
            if not waiting:
                del self._waiting[origin]
            if not turn.done():
                turn.set_result(None)
                return
        used = self._used[origin] - 1
        if used:
            self._used[origin] = used
        else:
            del self._used[origin]
