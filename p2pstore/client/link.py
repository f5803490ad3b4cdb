"""One connection of the asyncio client: any number of requests in flight, told apart by their ids."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import struct
from collections import deque
from typing import Any, Final

from p2pstore.client.channel import CONNECT_TIMEOUT_S, GRACE_S, WAIT_S, ConnectionLost, OnEvent, no_agent
from p2pstore.errors import DeadlineExceeded, P2PStoreError, RemoteProtocolError, from_wire
from p2pstore.wire.frames import MAX_ID, MAX_REPLY_BYTES, Decoder, encode
from p2pstore.wire.messages import DONE, EVENT, FAILED, GREETING, PROTOCOL

CONNECT_AGAIN_S: Final = 0.01
RECEIVE_BYTES: Final = 64 * 1024
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(8)
_FLAGS: Final = int(socket.MSG_CMSG_CLOEXEC)


class _Flight:
    """A request in flight: where its end goes, and who hears of events."""

    __slots__ = ("future", "on_event")

    def __init__(self, future: asyncio.Future[tuple[dict[str, Any], int]], on_event: OnEvent | None) -> None:
        self.future, self.on_event = future, on_event


class Link:
    """One connection on one loop; owns its socket and the descriptors that nobody has taken yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, path: str) -> None:
        self.loop, self.path, self.closed = loop, path, False
        self.pid = os.getpid()
        self._sock = sock
        self._decoder = Decoder(MAX_REPLY_BYTES)
        self._view = memoryview(bytearray(RECEIVE_BYTES))
        self._descriptors: deque[int] = deque()
        self._flights: dict[int, _Flight] = {}
        self._sending = asyncio.Lock()
        self._last_id = 0
        loop.add_reader(sock, self._readable)

    @classmethod
    async def connect(cls, path: str) -> Link:
        """A new connection; raises AgentUnreachable."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                # Not by sock_connect: when the listener's queue is full it takes the socket for connected.
                while True:
                    try:
                        sock.connect(path)
                        break
                    except BlockingIOError:
                        await asyncio.sleep(CONNECT_AGAIN_S)
        except OSError as error:
            sock.close()
            raise no_agent(path, error) from error
        except BaseException:
            sock.close()
            raise
        return cls(loop, sock, path)

    def close(self, why: str = "the client was closed") -> None:
        """Close the connection; whatever waits on it fails with ConnectionLost."""
        if self.closed:
            return
        self.closed = True
        self.loop.remove_reader(self._sock)
        self._sock.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        for flight in self._flights.values():
            if not flight.future.done():
                flight.future.set_exception(
                    ConnectionLost(f"the agent on {self.path} is gone: {why}", sent=True)
                )
        self._flights.clear()

    def drop(self) -> None:
        """Close this process's copy of a connection that its parent made; the loop is the parent's and is not touched."""
        self.closed = True
        self._sock.close()

    async def request(
        self, verb: str, args: dict[str, Any], fd: int, timeout_s: float | None, on_event: OnEvent | None
    ) -> tuple[dict[str, Any], int]:
        """Ask and wait for the end of it; the descriptor, or -1, is the caller's. A cancelled wait cancels the request.

        `timeout_s` None waits as long as the agent may, infinity for ever.
        """
        request_id = self._last_id = self._last_id % MAX_ID + 1
        frame = encode([request_id, verb, args])
        flight = self._flights[request_id] = _Flight(self.loop.create_future(), on_event)
        limit_s = WAIT_S if timeout_s is None else timeout_s + GRACE_S
        try:
            async with asyncio.timeout(None if limit_s == math.inf else limit_s):
                await self._send(frame, fd)
                return await flight.future
        except TimeoutError:
            self._forget(request_id)
            raise DeadlineExceeded(
                f"no answer to {verb} from the agent on {self.path} in time", hint="p2pstore status"
            ) from None
        except asyncio.CancelledError:
            self._forget(request_id)
            raise
        finally:
            self._flights.pop(request_id, None)
            if flight.future.done() and not flight.future.cancelled():
                # Looked at, so that nobody is told that nobody looked.
                flight.future.exception()

    def _forget(self, request_id: int) -> None:
        """Tell the agent that nobody waits any more, if it can be told at once."""
        flight = self._flights.get(request_id)
        if flight is not None and flight.future.done() and not flight.future.cancelled():
            if flight.future.exception() is None and flight.future.result()[1] >= 0:
                os.close(flight.future.result()[1])
        elif not self.closed and not self._sending.locked():
            self._last_id = self._last_id % MAX_ID + 1
            frame = encode([self._last_id, "cancel", {"id": request_id}])
            with contextlib.suppress(OSError):
                if self._sock.send(frame) != len(frame):
                    self.close("a request was cut short")

    async def _send(self, frame: bytes, fd: int) -> None:
        async with self._sending:
            if self.closed:
                raise ConnectionLost(f"the agent on {self.path} is gone", sent=False)
            whole = False
            try:
                sent = await self._send_first(frame, fd) if fd >= 0 else 0
                await self.loop.sock_sendall(self._sock, memoryview(frame)[sent:])
                whole = True
            except OSError as error:
                raise ConnectionLost(
                    f"the agent on {self.path} is gone: {error.strerror}", sent=False
                ) from error
            finally:
                if not whole:
                    self.close("a request was cut short")

    async def _send_first(self, frame: bytes, fd: int) -> int:
        """The first bytes of a frame, which the descriptor rides on."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))]
        while True:
            try:
                return self._sock.sendmsg([frame], rights)
            except BlockingIOError:
                room = asyncio.Event()
                self.loop.add_writer(self._sock, room.set)
                try:
                    await room.wait()
                finally:
                    self.loop.remove_writer(self._sock)

    def _readable(self) -> None:
        try:
            size, ancillary, _, _ = self._sock.recvmsg_into([self._view], _ANCILLARY_BYTES, _FLAGS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(error.strerror or "error")
            return
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._descriptors.extend(struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4]))
        if not size:
            self.close("it closed the connection")
            return
        try:
            for request_id, code, body in self._decoder.feed(self._view[:size]):
                self._take(request_id, code, body)
        except P2PStoreError as error:
            self.close(error.message)

    def _take(self, request_id: int, code: int, body: dict[str, Any]) -> None:
        fd = -1
        if body.get("fd") is True:
            if not self._descriptors:
                raise RemoteProtocolError("the agent announced a descriptor and none came")
            fd = self._descriptors.popleft()
        flight = self._flights.get(request_id)
        if flight is not None and code == EVENT and flight.on_event is not None:
            flight.on_event(body, fd)
            return
        if flight is not None and code == DONE and not flight.future.done():
            flight.future.set_result((body, fd))
            return
        if fd >= 0:
            os.close(fd)
        if code == GREETING and body.get("protocol") != PROTOCOL:
            raise RemoteProtocolError(f"it speaks protocol {body.get('protocol')!r}, this client {PROTOCOL}")
        if code == FAILED:
            if not request_id:
                raise from_wire(body)
            if flight is not None and not flight.future.done():
                flight.future.set_exception(from_wire(body))
