"""What one connection still has to send: frames in order, some with a descriptor on their first byte."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import deque
from typing import Final

SEND_BYTES: Final = 256 * 1024
"""Frames joined into one system call, about; a unix socket's buffer holds less."""
_DESCRIPTOR: Final = struct.Struct("i")
_SOCKET: Final = socket.SOL_SOCKET
_RIGHTS: Final = socket.SCM_RIGHTS


class Outbox:
    """A queue of (frame, descriptor or -1); it owns the descriptors until they are sent, then closes them."""

    __slots__ = ("descriptors", "frames", "size_bytes", "stuck")

    def __init__(self) -> None:
        self.frames: deque[tuple[bytes | memoryview, int]] = deque()
        """What waits; only looked at from outside."""
        self.size_bytes = 0
        self.descriptors = 0
        self.stuck = False
        """Whether the last `send` failed for want of descriptors, not of room: the socket won't say when to go on."""

    def put(self, frame: bytes | memoryview, descriptor: int = -1) -> None:
        """Add a frame; the descriptor becomes the outbox's."""
        self.frames.append((frame, descriptor))
        self.size_bytes += len(frame)
        if descriptor >= 0:
            self.descriptors += 1

    def pass_on(self, sock: socket.socket, frame: bytes, descriptor: int) -> None:
        """Send one frame past the queue, which must be empty; what the socket does not take now, or refuses, is put there."""
        try:
            if descriptor < 0:
                sent = sock.send(frame)
            else:
                sent = sock.sendmsg((frame,), ((_SOCKET, _RIGHTS, _DESCRIPTOR.pack(descriptor)),))
                os.close(descriptor)
        except OSError:
            self.put(frame, descriptor)
            return
        if sent < len(frame):
            self.put(memoryview(frame)[sent:])

    def send(self, sock: socket.socket) -> bool:
        """Send what the socket takes now; True when nothing is left. Raises OSError when the connection is gone.

        A frame with a descriptor begins a system call of its own, so that the descriptor rides on its first byte; frames without
        one go together.
        """
        frames = self.frames
        while frames:
            data, descriptor = self._next()
            try:
                if descriptor < 0:
                    sent = sock.send(data)
                else:
                    sent = sock.sendmsg((data,), ((_SOCKET, _RIGHTS, _DESCRIPTOR.pack(descriptor)),))
            except OSError as error:
                frames.appendleft((data, descriptor))
                # ETOOMANYREFS: as many descriptors of this user are on their way as it may have open; some must be read first.
                self.stuck = error.errno == errno.ETOOMANYREFS
                if self.stuck or error.errno in (errno.EAGAIN, errno.EINTR):
                    return False
                raise
            if descriptor >= 0:
                os.close(descriptor)
                self.descriptors -= 1
            self.size_bytes -= sent
            if sent < len(data):
                frames.appendleft((memoryview(data)[sent:], -1))
                return False
        return True

    def close(self) -> None:
        """Forget everything and close what is owned."""
        for _, descriptor in self.frames:
            if descriptor >= 0:
                os.close(descriptor)
        self.frames.clear()
        self.size_bytes = self.descriptors = 0

    def _next(self) -> tuple[bytes | memoryview, int]:
        """Take out the next frame, and those after it that can go in the same call."""
        frames = self.frames
        data, descriptor = frames.popleft()
        if not frames or frames[0][1] >= 0:
            return data, descriptor
        parts, size = [data], len(data)
        while frames and frames[0][1] < 0 and size < SEND_BYTES:
            part, _ = frames.popleft()
            parts.append(part)
            size += len(part)
        return b"".join(parts), descriptor
