"""One connection to the agent, blocking: frames out, frames and descriptors in.

One thread at a time. Whatever goes wrong in the middle of a request closes the channel: what would come next on it is
not known. No selector is asked before a read: the kernel's own receive timeout (SO_RCVTIMEO, socket(7)) ends it.
"""

from __future__ import annotations

import os
import socket
import struct
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgpack

from p2pstore.errors import (
    AgentUnreachable,
    DeadlineExceeded,
    LocalProtocolError,
    P2PStoreError,
    RemoteProtocolError,
    from_wire,
)
from p2pstore.wire.frames import MAX_FRAME_BYTES, MAX_ID, MAX_REPLY_BYTES, Decoder
from p2pstore.wire.messages import DONE, EVENT, FAILED, GREETING, PROTOCOL

CONNECT_TIMEOUT_S: Final = 10.0
SEND_TIMEOUT_S: Final = 30.0
WAIT_S: Final = 86400.0 + 60.0
"""Wait for an answer when the caller names no time: a little longer than the agent lets a request wait."""
GRACE_S: Final = 2.0
"""Beyond the deadline that the agent was told, so that it can say what it was waiting for."""
RECEIVE_BYTES: Final = 64 * 1024

_TIMEVAL: Final = struct.Struct("ll")
_LENGTH: Final = struct.Struct(">I")
_ANSWER_HEAD: Final = struct.Struct(">IHIB")
_DESCRIPTOR: Final = struct.Struct("i")
_ARRAY_OF_3_AND_UINT32: Final = 0x93CE
_NONE: Final[list[tuple[int, int, bytes]]] = []
_FIRST_ID: Final = 1 << 16
"""Ids from here on are packed in five bytes: the agent knows a repeated request by the bytes that follow them."""
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(8)
_FLAGS: Final = int(socket.MSG_CMSG_CLOEXEC)
_SOCKET: Final = socket.SOL_SOCKET
_RIGHTS: Final = socket.SCM_RIGHTS

OnEvent: TypeAlias = Callable[[dict[str, Any], int], None]
"""Gets each event of a request, with a descriptor, which becomes the callee's, or -1."""


class ConnectionLost(AgentUnreachable):
    """The agent ended the connection in the middle of a request; `sent` says whether it may have read it."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message, hint="p2pstore status")
        self.sent = sent


class Channel:
    """A connection of one process; `request` is all that most callers need."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._sock = _connect(path)
        self.closed = False
        self.greeting: dict[str, Any] = {}
        self._send, self._receive_into = self._sock.send, self._sock.recvmsg_into
        self._timeout_s: float | None = CONNECT_TIMEOUT_S
        self._last_id = _FIRST_ID
        self._pack = msgpack.Packer().pack
        self._view = memoryview(bytearray(RECEIVE_BYTES))
        self._buffers = (self._view,)
        self._decoder = Decoder(MAX_REPLY_BYTES)
        self._descriptors: deque[int] = deque()
        self._payloads: deque[list[Any]] = deque()
        _open_channels.add(self)

    def __repr__(self) -> str:
        return f"<Channel {self.path}{' closed' if self.closed else ''}>"

    def __del__(self) -> None:
        if not getattr(self, "closed", True):
            self.close()

    def close(self) -> None:
        """Close the connection and the descriptors that nobody took; the agent ends what was asked on it."""
        self.closed = True
        self._sock.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def request(
        self,
        verb: str,
        args: dict[str, Any],
        fd: int = -1,
        timeout_s: float | None = None,
        on_event: OnEvent | None = None,
    ) -> tuple[dict[str, Any] | bytes, int]:
        """Ask and wait for the end of it: the result, perhaps still packed (`unpacked`), and a descriptor, the caller's, or -1.

        Raises what the agent answered; ConnectionLost, DeadlineExceeded and RemoteProtocolError of its own.
        """
        limit_s = WAIT_S if timeout_s is None else timeout_s + GRACE_S
        try:
            request_id = self.send(verb, args, fd)
            if limit_s != self._timeout_s:
                self._set_timeout(limit_s)
            size, ancillary = 0, _NONE
            if not self._payloads and not self._decoder.rest and not self._descriptors:
                size, ancillary, _, _ = self._receive_into(self._buffers, _ANCILLARY_BYTES, _FLAGS)
                if size > _ANSWER_HEAD.size:
                    length, marks, answer_id, code = _ANSWER_HEAD.unpack_from(self._view)
                    if (
                        answer_id == request_id
                        and code == DONE
                        and length == size - 4
                        and marks == _ARRAY_OF_3_AND_UINT32
                    ):
                        # One frame, and it is the answer: a descriptor that came with it can only be its own.
                        descriptor = _DESCRIPTOR.unpack(ancillary[0][2])[0] if ancillary else -1
                        return bytes(self._view[_ANSWER_HEAD.size : size]), descriptor
                self._take(size, ancillary)
            code, body, descriptor = self._until_done(request_id, limit_s, on_event)
        except OSError as error:
            self.close()
            raise self._lost(error) from error
        except BaseException:
            self.close()
            raise
        if code == FAILED:
            raise from_wire(body)
        return body, descriptor

    def send(self, verb: str, args: dict[str, Any], fd: int = -1) -> int:
        """Send a request, with a descriptor, which stays the caller's, or -1; returns its id. Closes when it can't be sent."""
        request_id = self._last_id = self._last_id + 1 if self._last_id < MAX_ID else _FIRST_ID
        try:
            payload = self._pack((request_id, verb, args))
        except (TypeError, ValueError, OverflowError) as error:
            raise LocalProtocolError(f"these arguments of {verb} can't be sent: {error}") from error
        if len(payload) > MAX_FRAME_BYTES:
            raise LocalProtocolError(
                f"a request of {len(payload)} bytes is over the limit of {MAX_FRAME_BYTES}",
                hint="ask for less at once",
            )
        frame = _LENGTH.pack(len(payload)) + payload
        sent = 0
        try:
            if fd < 0:
                sent = self._send(frame)
            else:
                sent = self._sock.sendmsg([frame], [(_SOCKET, _RIGHTS, _DESCRIPTOR.pack(fd))])
            if sent < len(frame):
                self._sock.sendall(memoryview(frame)[sent:])
        except BlockingIOError:
            self.close()
            raise DeadlineExceeded(
                f"the agent on {self.path} took no request for {SEND_TIMEOUT_S:g} s", hint="is it stopped?"
            ) from None
        except OSError as error:
            self.close()
            raise ConnectionLost(
                f"the agent on {self.path} is gone: {error.strerror}", sent=sent > 0
            ) from error
        return request_id

    def receive(self, timeout_s: float | None) -> tuple[int, int, dict[str, Any], int]:
        """The next frame but the greeting: id, code, map, and a descriptor, the caller's, or -1. None waits for ever."""
        while True:
            while not self._payloads:
                if timeout_s != self._timeout_s:
                    self._set_timeout(timeout_s)
                try:
                    size, ancillary, _, _ = self._receive_into(self._buffers, _ANCILLARY_BYTES, _FLAGS)
                except OSError as error:
                    raise self._lost(error) from error
                self._take(size, ancillary)
            request_id, code, body = self._payloads.popleft()
            if code == GREETING:
                self._greeted(body)
            elif code == FAILED and not request_id:
                raise from_wire(body)
            else:
                return request_id, code, body, self._descriptor_of(body)

    def event_of(self, request_id: int, timeout_s: float | None) -> dict[str, Any]:
        """The next event of a request; raises the error that ended it."""
        while True:
            answer_id, code, body, descriptor = self.receive(timeout_s)
            if descriptor >= 0:
                os.close(descriptor)
            if answer_id == request_id and code == EVENT:
                return body
            if answer_id == request_id and code == FAILED:
                raise from_wire(body)

    def _until_done(
        self, request_id: int, limit_s: float, on_event: OnEvent | None
    ) -> tuple[int, dict[str, Any], int]:
        give_up_at = time.monotonic() + limit_s
        while True:
            answer_id, code, body, descriptor = self.receive(max(give_up_at - time.monotonic(), 0.001))
            if answer_id == request_id and code == EVENT and on_event is not None:
                on_event(body, descriptor)
            elif answer_id == request_id and code in (DONE, FAILED):
                return code, body, descriptor
            elif descriptor >= 0:
                os.close(descriptor)

    def _lost(self, error: OSError) -> P2PStoreError:
        if isinstance(error, BlockingIOError):
            return DeadlineExceeded(
                f"no answer from the agent on {self.path} in time", hint="p2pstore status"
            )
        return ConnectionLost(f"the agent on {self.path} is gone: {error.strerror}", sent=True)

    def _take(self, size: int, ancillary: list[tuple[int, int, bytes]]) -> None:
        if not size:
            raise ConnectionLost(f"the agent on {self.path} closed the connection", sent=True)
        for level, kind, data in ancillary:
            if level == _SOCKET and kind == _RIGHTS:
                self._descriptors.extend(struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4]))
        self._payloads.extend(self._decoder.feed(self._view[:size]))

    def _descriptor_of(self, body: dict[str, Any]) -> int:
        if body.get("fd") is not True:
            return -1
        if not self._descriptors:
            raise RemoteProtocolError(
                "the agent announced a descriptor and none came",
                hint="is the limit of open files reached (ulimit -n)?",
            )
        return self._descriptors.popleft()

    def _greeted(self, greeting: dict[str, Any]) -> None:
        self.greeting = greeting
        if greeting.get("protocol") != PROTOCOL:
            raise RemoteProtocolError(
                f"the agent on {self.path} speaks protocol {greeting.get('protocol')!r}, this client {PROTOCOL}",
                hint="use the client of the agent's version",
            )

    def _set_timeout(self, timeout_s: float | None) -> None:
        seconds = 0.0 if timeout_s is None else max(timeout_s, 0.001)
        self._sock.setsockopt(_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))
        self._timeout_s = timeout_s


def unpacked(body: dict[str, Any] | bytes) -> dict[str, Any]:
    """A result as a map; raises RemoteProtocolError."""
    if type(body) is not bytes:
        return body  # type: ignore[return-value]
    try:
        fields = msgpack.unpackb(body, max_ext_len=0)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"the agent's answer can't be decoded: {error}") from error
    if type(fields) is not dict:
        raise RemoteProtocolError("the agent's answer is not a map")
    return fields


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return _TIMEVAL.pack(whole, int((seconds - whole) * 1e6))


def _connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setsockopt(_SOCKET, socket.SO_SNDTIMEO, _timeval(CONNECT_TIMEOUT_S))
        sock.connect(path)
        sock.setsockopt(_SOCKET, socket.SO_SNDTIMEO, _timeval(SEND_TIMEOUT_S))
        sock.setsockopt(_SOCKET, socket.SO_RCVTIMEO, _timeval(CONNECT_TIMEOUT_S))
    except OSError as error:
        sock.close()
        raise no_agent(path, error) from error
    return sock


def no_agent(path: str, error: OSError) -> AgentUnreachable:
    """The error of a connection that could not be made, with what to do."""
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return AgentUnreachable(f"no agent listens on {path}", hint="start one with: p2pstore agent")
    if isinstance(error, BlockingIOError | TimeoutError):
        return AgentUnreachable(f"the agent on {path} accepts no connection", hint="is it stopped?")
    why = error.strerror or str(error)
    return AgentUnreachable(
        f"can't connect to the agent on {path}: {why}", hint="name its socket with --socket"
    )


_open_channels: weakref.WeakSet[Channel] = weakref.WeakSet()


def _forked() -> None:
    """A child of fork closes its copies of its parent's connections: what it said there would be heard as the parent's."""
    for channel in list(_open_channels):
        channel.close()


os.register_at_fork(after_in_child=_forked)
