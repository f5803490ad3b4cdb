"""A client of the job socket that shares no code with the product, so that neither can hide the other's mistakes."""

from __future__ import annotations

import array
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgpack

DONE: Final = 0
FAILED: Final = 1
EVENT: Final = 2
GREETING: Final = 3
MAX_FRAME_BYTES: Final = 16 << 20


class AgentSaidNo(Exception):
    """The agent answered with an error."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__(f"{fields.get('code')}: {fields.get('message')}")
        self.code = str(fields.get("code"))
        self.fields = fields


@dataclass
class Result:
    """A finished request; `fd` belongs to whoever holds this, -1 is none."""

    body: dict[str, Any]
    fd: int = -1
    events: list[dict[str, Any]] = field(default_factory=list)
    event_fds: list[int] = field(default_factory=list)

    def read(self) -> bytes:
        """Everything behind the descriptor, which is closed."""
        try:
            size = os.fstat(self.fd).st_size
            return _whole(self.fd, size)
        finally:
            self.close()

    def close(self) -> None:
        """Close every descriptor."""
        for fd in (self.fd, *self.event_fds):
            if fd >= 0:
                os.close(fd)
        self.fd = -1
        self.event_fds = []


def _whole(fd: int, size: int) -> bytes:
    parts: list[bytes] = []
    offset = 0
    while offset < size:
        part = os.pread(fd, min(1 << 24, size - offset), offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def frame(payload: object) -> bytes:
    """One frame as it goes over the socket."""
    body: bytes = msgpack.packb(payload)
    return struct.pack(">I", len(body)) + body


class Wire:
    """One connection; not thread-safe. Raises ConnectionError when the agent goes away."""

    def __init__(self, path: Path | str, *, timeout_s: float = 60.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout_s)
        self._buffer = bytearray()
        self._fds: deque[int] = deque()
        self._next_id = 1
        try:
            self.socket.connect(str(path))
            number, kind, body, _ = self.receive()
        except BaseException:
            self.close()
            raise
        if (number, kind) != (0, GREETING):
            self.close()
            raise AssertionError(f"the first frame is no greeting: {[number, kind, body]}")
        self.greeting: dict[str, Any] = body

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and every descriptor that nobody took."""
        self.socket.close()
        while self._fds:
            os.close(self._fds.popleft())

    def send(self, verb: str, args: dict[str, Any] | None = None, *, fd: int = -1) -> int:
        """Send a request and return its number; `fd` stays the caller's."""
        number = self._next_id
        self._next_id += 1
        args = dict(args or {})
        if fd >= 0:
            args["fd"] = True
        data = frame([number, verb, args])
        if fd >= 0:
            sent = socket.send_fds(self.socket, [data], [fd])
            self.socket.sendall(data[sent:])
        else:
            self.socket.sendall(data)
        return number

    def receive(self) -> tuple[int, int, Any, int]:
        """The next frame: number, kind, body and the descriptor that it announced (or -1)."""
        while True:
            if len(self._buffer) >= 4:
                length = struct.unpack_from(">I", self._buffer)[0]
                if length > MAX_FRAME_BYTES:
                    raise AssertionError(f"the agent sent a frame of {length} bytes")
                if len(self._buffer) >= 4 + length:
                    payload = bytes(self._buffer[4 : 4 + length])
                    del self._buffer[: 4 + length]
                    number, kind, body = msgpack.unpackb(payload)
                    announced = isinstance(body, dict) and body.get("fd") is True
                    return number, kind, body, self._fds.popleft() if announced else -1
            self._fill()

    def _fill(self) -> None:
        data, ancillary, _, _ = self.socket.recvmsg(
            1 << 18, socket.CMSG_SPACE(64 * 4), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, raw in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
                self._fds.extend(fds)
        if not data:
            raise ConnectionError("the agent closed the connection")
        self._buffer += data

    def finish(self, number: int, on_event: Callable[[dict[str, Any]], None] | None = None) -> Result:
        """Wait for the end of one request; other requests' frames must not come meanwhile."""
        events: list[dict[str, Any]] = []
        event_fds: list[int] = []
        while True:
            got, kind, body, fd = self.receive()
            if got not in (number, 0):
                raise AssertionError(f"a frame of request {got} while waiting for {number}")
            if kind == EVENT:
                events.append(body)
                if fd >= 0:
                    event_fds.append(fd)
                if on_event is not None:
                    on_event(body)
            elif kind == DONE:
                return Result(body, fd, events, event_fds)
            else:
                for spare in event_fds:
                    os.close(spare)
                raise AgentSaidNo(body)

    def call(
        self,
        verb: str,
        args: dict[str, Any] | None = None,
        *,
        fd: int = -1,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> Result:
        """One request from beginning to end; raises AgentSaidNo."""
        return self.finish(self.send(verb, args, fd=fd), on_event)

    def put(self, name: str, content: bytes, *, replace: bool = False) -> dict[str, Any]:
        """Store bytes under a name; returns when the agent acknowledged."""
        fd = os.memfd_create("put")
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            os.lseek(fd, 0, os.SEEK_SET)
            return self.call("put", {"name": name, "replace": replace}, fd=fd).body
        finally:
            os.close(fd)

    def get(self, url: str, **args: Any) -> bytes:
        """The bytes of a URL, by descriptor or, when the cache can't hold them, through the pipe."""
        received: list[bytes] = []
        number = self.send("get", {"url": url, **args})
        while True:
            got, kind, body, fd = self.receive()
            if got not in (number, 0):
                raise AssertionError(f"a frame of request {got} while waiting for {number}")
            if kind == EVENT and fd >= 0:
                with os.fdopen(fd, "rb") as pipe:
                    received.append(pipe.read())
            elif kind == DONE:
                whole: bytes = Result(body, fd).read() if fd >= 0 else b"".join(received)
                return whole
            elif kind == FAILED:
                raise AgentSaidNo(body)


def rebuilt(wire: Wire, timeout_s: float) -> bool:
    """Wait until the index is whole again; False when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while wire.call("status").body["usage"]["rebuilding"]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
