"""One connection of the job socket, on the bare socket: asyncio's streams would drop the descriptors.

All frames of one wake-up are decoded together, hits are answered without a task, and all answers leave together. Whatever
waits is bounded: a connection that does not read its answers is not read from either.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgpack

from p2pstore.agent.session import Reply, Session
from p2pstore.api.jobs.accounts import Account, weight
from p2pstore.api.jobs.door import MAX_LONE_BYTES, MIN_LONE_BYTES, Door
from p2pstore.api.jobs.outbox import Outbox
from p2pstore.api.jobs.pusher import OUTPUT_MARK_BYTES, Pusher
from p2pstore.api.jobs.verbs import HotVerb, checked
from p2pstore.errors import Cancelled, InternalError, Overloaded, P2PStoreError, RemoteProtocolError
from p2pstore.types import Caller
from p2pstore.wire.frames import MAX_FRAME_BYTES, MAX_REPLY_BYTES, Decoder, encode, encode_answer
from p2pstore.wire.messages import DONE, EVENT, FAILED, GREETING

logger = logging.getLogger(__name__)

REQUESTS_PER_WAKE: Final = 256
"""Requests of one connection handled before others have their turn."""
DESCRIPTOR_MARK: Final = 64
"""Above this many unread descriptors a connection is not read from."""
STUCK_RETRY_S: Final = 0.05
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(8)
"""Room for two descriptors: the second one shows that the rule of one a frame is broken."""
_FLAGS: Final = int(socket.MSG_CMSG_CLOEXEC)
_TRUNCATED: Final = int(socket.MSG_CTRUNC)
_LENGTH: Final = struct.Struct(">I")
_DONE: Final = bytes([DONE])


class Connection:
    """Serves one principal until either side closes; owns its socket, its tasks, and descriptors not yet handed on."""

    def __init__(self, door: Door, sock: socket.socket, caller: Caller, account: Account) -> None:
        self.session = Session(caller)
        self.account = account
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self._door = door
        self._hot: dict[str, HotVerb] = door.verbs.hot
        self._sock = sock
        self._buffers = (door.buffer,)
        self._receive = sock.recvmsg_into
        self._decoder = Decoder(MAX_FRAME_BYTES)
        self._received: deque[int] = deque()
        self._outbox = Outbox()
        self._subscriptions: dict[int, Callable[[], None]] = {}
        self._drained = asyncio.Event()
        self._reading = self._writing = self._closed = False
        self._settling: asyncio.Handle | None = None
        self._going_on: asyncio.Handle | None = None
        self._counted = (0, 0)

    def start(self) -> None:
        """Greet and begin to read."""
        self._outbox.put(encode([0, GREETING, self._door.greeting]))
        self._settle()

    @property
    def waiting_bytes(self) -> int:
        """Output not yet taken by the socket."""
        return self._outbox.size_bytes

    # From the socket

    def _readable(self) -> None:
        try:
            size, ancillary, flags, _ = self._receive(self._buffers, _ANCILLARY_BYTES, _FLAGS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        try:
            lone = MIN_LONE_BYTES < size < MAX_LONE_BYTES and not ancillary and not self._decoder.rest
            if lone and self._repeated(size):
                return
            if not size:
                self.close()
                return
            if ancillary:
                self._receive_descriptors(ancillary, flags)
            self._take(self._door.buffer[:size])
        except Exception as error:
            self._break(error)
            return
        self._settle()

    def _repeated(self, size: int) -> bool:
        """Answer a lone request by its bytes, if such a one was asked before; most requests of a busy job are like that."""
        known = None if self._outbox.frames else self._door.lone(size)
        if known is None:
            return False
        head, hot, args = known
        try:
            reply = hot(self.session, args)
        except Exception:
            # The longer way asks again and tells why.
            return False
        if reply is None:
            return False
        body, fd = reply
        if type(body) is bytes:
            # The id goes back as it came, unread.
            frame = _LENGTH.pack(len(head) + 1 + len(body)) + head + _DONE + body
            self._outbox.pass_on(self._sock, frame, fd)
        else:
            self._answer(head[1] if len(head) == 2 else int.from_bytes(head[2:], "big"), reply)
        if self._outbox.frames:
            self._settle()
        return True

    def _take(self, data: memoryview | bytes) -> None:
        """Handle the requests that are whole now, up to a bound."""
        most = max(1, min(REQUESTS_PER_WAKE, self._door.max_requests - len(self.tasks)))
        for request_id, verb, args in self._decoder.feed(data, most):
            if not request_id or type(verb) is not str:
                raise RemoteProtocolError("a request must be an array of an id above 0, a verb, and a map")
            hot = self._hot.get(verb)
            if hot is None or "fd" in args or not self._answered(hot, request_id, verb, args):
                self._begin(request_id, verb, args)
        if self._received and not self._decoder.waiting:
            self._close_received(keep=1 if self._decoder.rest else 0)

    def _receive_descriptors(self, ancillary: list[tuple[int, int, bytes]], flags: int) -> None:
        count = 0
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors = struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4])
                self._received.extend(descriptors)
                count += len(descriptors)
        if count > 1 or flags & _TRUNCATED:
            raise RemoteProtocolError("more than one descriptor came with a frame")

    def _close_received(self, keep: int = 0) -> None:
        while len(self._received) > keep:
            os.close(self._received.popleft())

    # Requests

    def _answered(self, hot: HotVerb, request_id: int, verb: str, args: dict[str, Any]) -> bool:
        """The short way: no task, no future; False sends the request the long way."""
        try:
            checked(verb, args, -1)
            self.account.must_have_room()
            reply = hot(self.session, args)
        except P2PStoreError as error:
            self._fail(request_id, error)
            return True
        except Exception:
            self._defect(request_id, verb)
            return True
        if reply is None:
            return False
        self._answer(request_id, reply)
        return True

    def _begin(self, request_id: int, verb: str, args: dict[str, Any]) -> None:
        if request_id in self.tasks or request_id in self._subscriptions:
            raise RemoteProtocolError(f"request id {request_id} is in use")
        fd = -1
        if args.get("fd") is True:
            if not self._received:
                raise RemoteProtocolError(f"request {request_id} announces a descriptor and none came")
            fd = self._received.popleft()
        try:
            checked(verb, args, fd)
            if verb == "cancel" and "id" in args:
                self._cancel(request_id, args["id"])
                return
            self.account.must_have_room()
            if verb == "events":
                self._subscribe(request_id, args.get("kinds", ()))
                return
        except P2PStoreError as error:
            if fd >= 0:
                os.close(fd)
            self._fail(request_id, error)
            return
        run = self._run(request_id, verb, args, fd)
        self.tasks[request_id] = self._door.loop.create_task(
            run, name=f"{verb} for pid {self.session.caller.pid}"
        )

    async def _run(self, request_id: int, verb: str, args: dict[str, Any], fd: int) -> None:
        held_bytes = weight(args)
        self.account.held_bytes += held_bytes
        try:
            if verb == "ls":
                reply = await self._list(args)
            else:
                reply = await self._door.verbs.slow[verb](self.session, args, Pusher(self, request_id), fd)
            self._answer(request_id, reply)
        except P2PStoreError as error:
            self._fail(request_id, error)
        except asyncio.CancelledError:
            self._fail(request_id, Cancelled(f"request {request_id} ({verb}) was cancelled"))
            raise
        except Exception:
            self._defect(request_id, verb)
        finally:
            self.account.held_bytes -= held_bytes
            del self.tasks[request_id]
            self._settle_soon()

    async def _list(self, args: dict[str, Any]) -> Reply:
        """Listings are long: few at once, and none while the last ones are unread."""
        await self._drained.wait()
        async with self.account.listings:
            self.account.must_have_room()
            return await self._door.verbs.slow["ls"](self.session, args, Pusher(self, 0), -1)

    def _subscribe(self, request_id: int, kinds: list[str]) -> None:
        if len(self._subscriptions) + len(self.tasks) >= self._door.max_requests:
            raise Overloaded(f"{self._door.max_requests} requests are in flight", hint="[jobs] max_requests")
        pusher = Pusher(self, request_id)
        self._subscriptions[request_id] = self._door.verbs.subscribe(kinds, self.session.caller, pusher)

    def _cancel(self, request_id: int, target: int) -> None:
        task, unsubscribe = self.tasks.get(target), self._subscriptions.pop(target, None)
        if task is not None:
            # Not at once: a task cancelled before its first step would never run, nor close its descriptor.
            self._door.loop.call_soon(task.cancel)
        if unsubscribe is not None:
            unsubscribe()
            self._fail(target, Cancelled(f"request {target} (events) was cancelled"))
        self._answer(request_id, Reply({"cancelled": task is not None or unsubscribe is not None}))

    # To the socket

    def push(self, request_id: int, event: dict[str, Any], fd: int) -> None:
        """Send an event of a request, with a descriptor or -1, which becomes the connection's."""
        self._send(request_id, EVENT, event, fd)
        self._settle_soon()

    def _answer(self, request_id: int, reply: Reply) -> None:
        body, fd = reply
        if type(body) is bytes and not self._closed:
            self._outbox.put(encode_answer(request_id, DONE, body), fd)
        else:
            self._send(request_id, DONE, body, fd)  # type: ignore[arg-type]

    def _fail(self, request_id: int, error: P2PStoreError) -> None:
        self._send(request_id, FAILED, error.to_wire(), -1)

    def _defect(self, request_id: int, verb: str) -> None:
        logger.exception("request failed by a defect verb=%s pid=%d", verb, self.session.caller.pid)
        self._fail(
            request_id, InternalError(f"{verb} failed by a defect of p2pstore", hint="see the agent's log")
        )

    def _send(self, request_id: int, code: int, body: dict[str, Any], fd: int) -> None:
        if self._closed:
            if fd >= 0:
                os.close(fd)
            return
        if fd >= 0:
            body = {**body, "fd": True}
        try:
            packed: bytes = msgpack.packb(body)
        except (TypeError, ValueError, OverflowError):
            logger.exception("an answer can't be encoded pid=%d", self.session.caller.pid)
            packed = msgpack.packb(
                InternalError("the answer can't be encoded", hint="see the agent's log").to_wire()
            )
            code, fd = FAILED, _closed(fd)
        if len(packed) > MAX_REPLY_BYTES - 16:
            error = Overloaded(f"the answer has {len(packed)} bytes", hint="ask for less in one request")
            packed, code, fd = msgpack.packb(error.to_wire()), FAILED, _closed(fd)
        self._outbox.put(encode_answer(request_id, code, packed), fd)

    def _settle_soon(self) -> None:
        if self._settling is None and not self._closed:
            self._settling = self._door.loop.call_soon(self._settle)

    def _settle(self) -> None:
        """Send what there is, then decide whether to go on reading."""
        self._settling = None
        if self._closed:
            return
        outbox = self._outbox
        if outbox.frames and not self._writing and not self._write():
            return
        counted = (outbox.size_bytes, outbox.descriptors)
        if counted != self._counted:
            self._count(*counted)
        drained = counted[0] <= OUTPUT_MARK_BYTES and counted[1] <= DESCRIPTOR_MARK
        if drained is not self._drained.is_set():
            (self._drained.set if drained else self._drained.clear)()
        room = drained and len(self.tasks) < self._door.max_requests
        if self._decoder.waiting:
            if room and self._going_on is None:
                self._going_on = self._door.loop.call_soon(self._go_on)
            room = False
        if room is not self._reading:
            self._read(room)

    def _go_on(self) -> None:
        """Requests left over from the last wake-up have their turn."""
        self._going_on = None
        if self._closed:
            return
        try:
            self._take(b"")
        except Exception as error:
            self._break(error)
            return
        self._settle()

    def _read(self, on: bool) -> None:
        self._reading = on
        if on:
            self._door.loop.add_reader(self._sock, self._readable)
        else:
            self._door.loop.remove_reader(self._sock)

    def _write(self) -> bool:
        """Send; False when the connection closed over it."""
        try:
            done = self._outbox.send(self._sock)
        except OSError:
            self.close()
            return False
        if done or self._writing:
            return True
        self._writing = True
        if self._outbox.stuck:
            self._door.loop.call_later(STUCK_RETRY_S, self._writable)
        else:
            self._door.loop.add_writer(self._sock, self._writable)
        return True

    def _writable(self) -> None:
        if not self._closed:
            self._door.loop.remove_writer(self._sock)
            self._writing = False
            self._settle()

    def _count(self, size_bytes: int, descriptors: int) -> None:
        """Keep the sums of this uid."""
        self.account.held_bytes += size_bytes - self._counted[0]
        self.account.descriptors += descriptors - self._counted[1]
        self._counted = (size_bytes, descriptors)

    def _break(self, error: Exception) -> None:
        """Say why, as far as the socket takes it, and close; what is not the other side's fault is a defect."""
        caller = self.session.caller
        if isinstance(error, P2PStoreError):
            logger.info("connection broken pid=%d uid=%d why=%s", caller.pid, caller.uid, error)
            self._fail(0, error)
        else:
            logger.error(
                "connection broken by a defect pid=%d uid=%d", caller.pid, caller.uid, exc_info=error
            )
            self._fail(
                0, InternalError("the connection broke by a defect of p2pstore", hint="see the agent's log")
            )
        if not self._writing:
            self._write()
        self.close()

    def close(self) -> None:
        """End the connection and everything that hangs on it; does nothing the second time."""
        if self._closed:
            return
        self._closed = True
        self._read(False)
        self._door.loop.remove_writer(self._sock)
        self._sock.close()
        self._outbox.close()
        self._count(0, 0)
        self._close_received()
        for unsubscribe in self._subscriptions.values():
            unsubscribe()
        self._subscriptions.clear()
        for task in self.tasks.values():
            self._door.loop.call_soon(task.cancel)
        self._door.verbs.forget(self.session)
        self._door.gone(self)


def _closed(fd: int) -> int:
    if fd >= 0:
        os.close(fd)
    return -1
