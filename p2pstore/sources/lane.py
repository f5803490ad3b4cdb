"""The lane: one plain-HTTP connection whose bodies go from the socket straight into a sink's blocks.

Only answers with a plain head and a Content-Length stay here; anything else raises OddHead and another way asks again. Bytes
are counted, never timed one by one: the pool calls `check` now and then. Nothing here waits; waiting is a future.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Final, TypeAlias, cast

from p2pstore.errors import OriginBroken, OriginTimeout, OriginUnreachable, P2PStoreError
from p2pstore.sources.base import Pace, unpaced
from p2pstore.sources.filling import Filling
from p2pstore.sources.heads import MAX_HEAD_BYTES, Framing, Head, OddHead, parse_head
from p2pstore.sources.stall import Stall

BUFFER_BYTES: Final = 2 * MAX_HEAD_BYTES
"""Head and beginning of the body; a body that fits is received without a block."""
PACED_READ_BYTES: Final = (4 << 10, 64 << 10)
"""The least and the most that is read at once while a rate limit holds: about a quarter of a second's worth."""

Plan: TypeAlias = Callable[[Head], Filling | None]
"""Judges a head as soon as it is there: where the body goes, or None to hold it in the buffer. May raise."""


class StaleLane(Exception):
    """A kept connection was closed before it answered: the origin had given it up, so asking again is safe."""


class State(IntEnum):
    """What the next bytes are."""

    IDLE = 0
    HEAD = 1
    HELD = 2
    POUR = 3
    CLOSED = 4


class _Pause(IntEnum):
    """Why nothing is read; bits."""

    BUFFER = 1
    ROOM = 2
    PACE = 4


class Lane(asyncio.BufferedProtocol):
    """One connection, one exchange at a time: `ask`, then perhaps `pour` what is held, then idle again or closed.

    After an error, or when a body was not taken whole, the connection is closed; `usable` tells.
    """

    __slots__ = (
        "_buffer", "_deadline", "_error", "_filled", "_filling", "_head", "_header_timeout_s", "_keeps", "_length", "_loop",
        "_on_lost", "_pace", "_pace_timer", "_paused", "_plan", "_rest", "_sock", "_stall", "_start", "_state", "_step",
        "_transport", "_view", "_waiter", "asked", "idle_since", "received",
    )  # fmt: skip

    def __init__(
        self, sock: socket.socket, header_timeout_s: float, stall: Stall, on_lost: Callable[[Lane], None]
    ) -> None:
        self.asked = 0
        """Requests sent so far."""
        self.received = 0
        """Bytes received so far, heads included."""
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._on_lost = on_lost
        self._header_timeout_s = header_timeout_s
        self._stall = stall
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._rest = self._view
        self._filled = self._start = self._length = 0
        self._state = State.IDLE
        self._paused = 0
        self._deadline = 0.0
        self._keeps = False
        self._step = 0
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Head] | None = None
        self._error: P2PStoreError | None = None
        self._head: Head | None = None
        self._filling: Filling | None = None
        self._plan: Plan | None = None
        self._pace: Pace = unpaced
        self._pace_timer: asyncio.TimerHandle | None = None

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._state is State.IDLE and self._transport is not None

    @property
    def length(self) -> int:
        """Length of the body of the present exchange."""
        return self._length

    @property
    def held_whole(self) -> bool:
        """Whether all of the body is in the buffer."""
        return self._state is State.HELD and self._filled - self._start == self._length

    def ask(self, request: bytes, plan: Plan, pace: Pace = unpaced) -> asyncio.Future[Head]:
        """Send a request; the future brings the head once the planned body was poured, or once it is held.

        A held body that fits into the buffer is waited for a moment. Raises (by the future) OddHead, StaleLane, OriginBroken,
        OriginTimeout and what `plan` raises.
        """
        self._state = State.HEAD
        self._plan, self._pace = plan, pace
        self._filled = self._start = self._step = 0
        self._rest = self._view
        self._deadline = self._loop.time() + self._header_timeout_s
        self.asked += 1
        self._waiter = self._loop.create_future()
        if self._transport is None or self._transport.is_closing() or self._extra():
            self._fail(StaleLane() if self.asked > 1 else OriginBroken("the connection was closed at once"))
        else:
            self._transport.write(request)
        return self._waiter

    def take_held(self) -> bytes:
        """The body, when `held_whole`; the exchange is over."""
        body = bytes(self._view[self._start : self._filled])
        self._end()
        return body

    def pour(self, filling: Filling, pace: Pace) -> asyncio.Future[Head]:
        """Let the held body go into `filling`; done when it is there. Raises (by the future) as `ask` does."""
        self._waiter = self._loop.create_future()
        self._pace = pace
        if self._error is not None:
            self._waiter.set_exception(self._error)
        else:
            self._guarded(self._begin, filling)
        return self._waiter

    def close(self) -> None:
        """Drop the connection, and with it whatever is under way; may be called twice."""
        self._fail(OriginUnreachable("the connection was given up on this side"))

    def check(self, now: float) -> None:
        """Enforce the deadlines; called a few times a second while an exchange is under way."""
        if self._state is State.HEAD:
            if now >= self._deadline:
                self._fail(OriginTimeout(f"no answer within {self._header_timeout_s:g} s"))
        elif self._state is State.HELD:
            self._wake()
        elif self._state is State.POUR and self._stall.stalled(now, self.received, self._paused != 0):
            self._fail(OriginTimeout(self._stall.message))

    # called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: the rest of the block, or of the buffer."""
        return self._rest[: self._step] if self._step else self._rest

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self.received += nbytes
        if self._state is not State.POUR:
            self._guarded(self._buffered, nbytes)
            return
        wait_s = self._pace(nbytes)
        rest = self._rest
        if nbytes < len(rest):
            self._rest = rest[nbytes:]
        else:
            self._guarded(self._block_full)
        if wait_s > 0.0 and self._state is State.POUR:
            self._slow_down(nbytes, wait_s)

    def eof_received(self) -> bool:
        """The origin will send no more: let the transport close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was under way failed, unless all of it is here."""
        self._transport = None
        why = f" ({exc})" if exc else ""
        if self._state is State.HEAD and self._filled == 0 and self.asked > 1:
            self._fail(StaleLane())
        elif self._state is State.HEAD:
            self._fail(OriginBroken(f"the connection was closed before the answer's head was complete{why}"))
        elif self._state is State.HELD and not self.held_whole:
            self._wake()  # the head is an answer all the same; whoever wants the body gets the error
            self._fail(OriginBroken(self._short(self._filled - self._start) + why))
        elif self._state is State.POUR:
            self._fail(OriginBroken(self._short(self._filling.poured if self._filling else 0) + why))
        elif self._state is State.IDLE:
            self._state = State.CLOSED
        self._on_lost(self)

    # from the head to the last byte

    def _buffered(self, size: int) -> None:
        seen = self._filled
        self._filled = seen + size
        if self._state is State.HEAD:
            end = self._buffer.find(b"\r\n\r\n", max(0, seen - 3), self._filled) + 4
            if 4 <= end <= MAX_HEAD_BYTES:
                self._head_came(end)
            elif self._filled > MAX_HEAD_BYTES:
                raise OriginBroken(f"the answer's head is longer than {MAX_HEAD_BYTES} bytes")
            else:
                self._rest = self._view[self._filled :]
        elif self._state is State.HELD:
            self._hold()
        else:  # idle: nobody asked for this
            self.close()

    def _head_came(self, start: int) -> None:
        head = parse_head(self._view[:start])
        framing, length = head.framing()
        if framing is not Framing.LENGTH or length is None:
            raise OddHead(f"a body with framing {framing.value}")
        self._head, self._start, self._length, self._keeps = head, start, length, head.keeps
        plan, self._plan = self._plan, None
        filling = plan(head) if plan else None
        self._state = State.HELD
        if filling is None or self._filled - start > length:
            self._hold()
        else:
            self._begin(filling)

    def _hold(self) -> None:
        """Let the body gather in the buffer until it is whole or the buffer is full."""
        have = self._filled - self._start
        if have > self._length:
            raise OriginBroken(f"the origin sent more than the {self._length} bytes announced")
        if self._filled == BUFFER_BYTES:
            self._pause(_Pause.BUFFER)
        else:
            self._rest = self._view[self._filled :]
        if have == self._length or self._start + self._length > BUFFER_BYTES:
            self._wake()

    def _begin(self, filling: Filling) -> None:
        self._state, self._filling = State.POUR, filling
        self._stall.start(self._loop.time(), self.received)
        self._pace(self._filled - self._start)
        self._advance(filling)
        self._resume(_Pause.BUFFER)

    def _block_full(self) -> None:
        filling = self._filling
        if filling is not None:
            filling.give()
            self._advance(filling)

    def _advance(self, filling: Filling) -> None:
        """Get the next block and move into it what the buffer still holds."""
        while not filling.done:
            room = filling.room()
            if room is None:
                self._pause(_Pause.ROOM)
                filling.sink.on_room(partial(self._room_again, filling))
                return
            size = min(self._filled - self._start, len(room))
            room[:size] = self._view[self._start : self._start + size]
            self._start += size
            if size < len(room):
                self._rest = room[size:]
                return
            filling.give()
        self._poured(filling)

    def _room_again(self, filling: Filling) -> None:
        if self._filling is filling and self._paused & _Pause.ROOM:
            self._paused &= ~_Pause.ROOM
            self._guarded(self._advance, filling)
            self._resume(0)

    def _poured(self, filling: Filling) -> None:
        self._filling = None
        if filling.left:
            self._keeps = False  # the limit cut it short: the rest of the body is still on its way
        elif self._extra():
            raise OriginBroken(f"the origin sent more than the {self._length} bytes announced")
        self._end()
        self._wake()

    def _extra(self) -> bool:
        """Whether there are bytes that nobody asked for; those that come later close the idle connection."""
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:  # nothing there, or closed: both are fine
            return False

    def _end(self) -> None:
        self._rest, self._step = self._view, 0
        if self._pace_timer is not None:
            self._pace_timer.cancel()
            self._pace_timer = None
        if self._keeps and self._transport is not None:
            self._state = State.IDLE
            self._resume(_Pause.BUFFER | _Pause.PACE)
        else:
            self._state = State.CLOSED
            if self._transport is not None:
                self._transport.abort()

    def _short(self, got: int) -> str:
        return f"the connection was closed after {got} or some more of the {self._length} bytes announced"

    def _guarded(self, step: Callable[..., None], *args: object) -> None:
        try:
            step(*args)
        except (P2PStoreError, OddHead) as exc:
            self._fail(exc)

    def _fail(self, exc: Exception) -> None:
        filling, self._filling = self._filling, None
        if filling is not None:
            filling.drop()
        self._state = State.CLOSED
        self._keeps = False
        if self._pace_timer is not None:
            self._pace_timer.cancel()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc)
        elif isinstance(exc, P2PStoreError):
            self._error = exc
        if self._transport is not None:
            self._transport.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done() and self._head is not None:
            self._waiter.set_result(self._head)

    def _slow_down(self, size: int, wait_s: float) -> None:
        low, high = PACED_READ_BYTES
        self._step = max(low, min(high, int(size / wait_s / 4)))
        self._pause(_Pause.PACE)
        self._pace_timer = self._loop.call_later(wait_s, self._resume, _Pause.PACE)

    def _pause(self, why: int) -> None:
        self._paused |= why
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume(self, why: int) -> None:
        self._paused &= ~why
        if not self._paused and self._transport is not None:
            self._transport.resume_reading()
