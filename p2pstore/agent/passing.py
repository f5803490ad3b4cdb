"""Getting does not fail because caching does: bytes that the disk can't hold pass through a pipe to the one who asks.

Nothing is kept, so nothing is shared: each such request asks the origin for itself. The reader's end of the pipe paces
the origin; what the origin announced is checked at the end, and the result says so.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from blake3 import blake3

from p2pstore.agent import verify
from p2pstore.agent.asks import Request
from p2pstore.agent.session import Push, Reply
from p2pstore.cache.digests import Announced, announced
from p2pstore.cache.keys import version_of
from p2pstore.errors import Cancelled, P2PStoreError
from p2pstore.sources.base import Answer
from p2pstore.sources.origin import OriginClient
from p2pstore.types import PUBLIC, Root

if TYPE_CHECKING:
    from p2pstore.agent.agent import Agent

PIPE_BYTES: Final = 1 << 20
"""Room in the pipe, where the system allows it."""
_F_SETPIPE_SZ: Final = 1031


class Passing:
    """Requests served past the cache."""

    def __init__(self, agent: Agent, origin: OriginClient) -> None:
        self._agent = agent
        self._origin = origin

    async def through(self, request: Request, why: P2PStoreError, push: Push, started: float) -> Reply:
        """Pass the bytes to the caller through a pipe; the result follows when all have gone."""
        answer = await self._origin.first(self._agent.asks.origin_ask(request, {}, None))
        try:
            self._agent.stats.streamed_through += 1
            reading, writing = _pipe()
            try:
                push({"event": "stream", "size": answer.total}, reading)
                hashes = _hashes(announced(answer.headers, urlsplit(answer.url).hostname or "", whole=True))
                size = await self._pump(request, answer, writing, list(hashes.values()))
            finally:
                os.close(writing)
        finally:
            await answer.aclose()
        verified = self._check(request, answer, hashes)
        self._agent.stats.origin_bytes += size
        return Reply(self._result(request, answer, size, verified, why, started))

    async def _pump(self, request: Request, answer: Answer, writing: int, hashes: list[Any]) -> int:
        size = 0
        async for chunk in answer.chunks():
            for one in hashes:
                one.update(chunk)
            await _write_all(writing, chunk, request.url.text)
            size += len(chunk)
        return size

    def _check(self, request: Request, answer: Answer, hashes: dict[str, Any]) -> bool:
        told = announced(answer.headers, urlsplit(answer.url).hostname or "", whole=True)
        found = {algorithm: one.hexdigest() for algorithm, one in hashes.items()}
        return verify.check_origin(request.url.text, told, found)

    def _result(
        self, request: Request, answer: Answer, size: int, verified: bool, why: P2PStoreError, started: float
    ) -> dict[str, Any]:
        return {
            "url": request.url.text,
            "key": request.key,
            "ver": version_of(request.key, answer.validator, None, answer.total),
            "root": Root(""),
            "size": size,
            "path": "",
            "private": request.scope != PUBLIC,
            "stale": False,
            "why": f"passed through, not kept: {why.message}",
            "age_s": 0.0,
            "verified": "digest" if verified else "transfer",
            "seconds": round(self._agent.clock() - started, 6),
            "bytes": {"cache": 0, "peers": 0, "origin": size},
            "digests": {},
            "warnings": [*request.warnings, f"not kept in the cache: {why.message}"],
            "content_type": next((value for name, value in answer.headers if name == "content-type"), ""),
            "fd": False,
        }


def _hashes(told: list[Announced]) -> dict[str, Any]:
    makers: dict[str, Callable[[], Any]] = {
        one.digest.algorithm: blake3
        if one.digest.algorithm == "blake3"
        else getattr(hashlib, one.digest.algorithm)
        for one in told
    }
    return {algorithm: make() for algorithm, make in makers.items()}


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writing, False)
    try:
        fcntl.fcntl(writing, _F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass  # a smaller pipe is only slower
    return reading, writing


async def _write_all(fd: int, chunk: bytes, url: str) -> None:
    view = memoryview(chunk)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _writable(fd)
        except BrokenPipeError:
            raise Cancelled(f"{url}: the reader closed the stream") from None


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
