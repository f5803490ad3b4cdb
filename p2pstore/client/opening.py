"""How `open` gets a file: complete ones as they are, growing ones with a connection of their own to ask for more."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from p2pstore.client.channel import Channel, unpacked
from p2pstore.client.files import BUFFER_BYTES, Growing, RangeFile
from p2pstore.client.wishes import open_local
from p2pstore.errors import P2PStoreError, RemoteProtocolError

MAX_IDLE: Final = 8
"""Connections kept for files that are opened later."""
CLOSE_TIMEOUT_S: Final = 5.0


class Idle:
    """Connections that no file uses now; at most MAX_IDLE."""

    def __init__(self) -> None:
        self._channels: list[Channel] = []

    def take(self, connect: Callable[[], Channel]) -> Channel:
        """A connection of this process, an idle one if there is any."""
        while self._channels:
            channel = self._channels.pop()
            if not channel.closed:
                return channel
        return connect()

    def give(self, channel: Channel) -> None:
        """Keep a connection for later, or close it."""
        if channel.closed or len(self._channels) >= MAX_IDLE:
            channel.close()
        else:
            self._channels.append(channel)


def open_url(
    idle: Idle, connect: Callable[[], Channel], url: str, args: dict[str, Any], timeout_s: float | None
) -> BinaryIO:
    """A file object over a URL: a plain file when it is complete, else one that asks before it reads."""

    def again() -> tuple[Growing, bool]:
        return _open(idle, connect, url, args, timeout_s)

    growing, complete = again()
    if complete:
        return os.fdopen(growing.fd, "rb")
    return io.BufferedReader(RangeFile(growing, lambda: again()[0], url), BUFFER_BYTES)


def _open(
    idle: Idle, connect: Callable[[], Channel], url: str, args: dict[str, Any], timeout_s: float | None
) -> tuple[Growing, bool]:
    local = open_local(url)
    if local >= 0:
        args = {**args, "fd": True}
    channel = idle.take(connect)
    try:
        body, fd = channel.request("open", args, fd=local, timeout_s=timeout_s)
    finally:
        if local >= 0:
            os.close(local)
    fields = unpacked(body)
    if fd < 0:
        channel.close()
        raise RemoteProtocolError(
            f"{url}: the agent opened it and sent no descriptor", hint="p2pstore status"
        )
    if not fields["complete"]:
        return _growing(idle, channel, fields, fd, timeout_s), False
    idle.give(channel)
    size = int(fields["size"])
    return Growing(fd, size, str(fields["ver"]), lambda *_: {"size": size, "complete": True}, _nothing), True


def _growing(
    idle: Idle, channel: Channel, fields: dict[str, Any], fd: int, timeout_s: float | None
) -> Growing:
    reader = int(fields["reader"])
    size = None if fields["size"] is None else int(fields["size"])
    more = {} if timeout_s is None else {"deadline_s": timeout_s}

    def ready(start: int, stop: int) -> dict[str, Any]:
        body, _ = channel.request(
            "ready", {"reader": reader, "start": start, "stop": stop, **more}, timeout_s=timeout_s
        )
        return unpacked(body)

    def close() -> None:
        if not channel.closed:
            try:
                channel.request("close", {"reader": reader}, timeout_s=CLOSE_TIMEOUT_S)
            except P2PStoreError:
                channel.close()
        idle.give(channel)

    return Growing(fd, size, str(fields["ver"]), ready, close)


def _nothing() -> None:
    """A complete file is closed by closing its descriptor."""
