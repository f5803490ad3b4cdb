"""Getting does not fail because caching does: bytes that the disk can't hold pass through a pipe to the one who asks.

Nothing is kept, so nothing is shared: each such request asks the origin for itself. The reader's end of the pipe paces
the origin; what the origin announced is checked at the end, and the result says so.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, cast

from blake3 import blake3

from p2pstore.agent import verify
from p2pstore.agent.asks import Request
from p2pstore.agent.loads import BURST_BYTES
from p2pstore.agent.session import Push, Reply
from p2pstore.agent.verdict import announced_of
from p2pstore.cache.digests import Announced
from p2pstore.cache.keys import version_of
from p2pstore.errors import Cancelled, DigestMismatch, P2PStoreError
from p2pstore.sources.base import Answer
from p2pstore.sources.origin import OriginClient
from p2pstore.swarm.limits import TokenBucket
from p2pstore.types import PUBLIC, Root

if TYPE_CHECKING:
    from p2pstore.agent.agent import Agent

PIPE_BYTES: Final = 1 << 20
"""Room in the pipe, where the system allows it."""
_F_SETPIPE_SZ: Final = 1031


class Passing:
    """Requests served past the cache."""

    def __init__(self, agent: Agent, origin: OriginClient, bucket: TokenBucket) -> None:
        self._agent = agent
        self._origin = origin
        self._bucket = bucket

    async def through(self, request: Request, why: P2PStoreError, push: Push, started: float) -> Reply:
        """Pass the bytes to the caller through a pipe; the result follows when all have gone.

        Raises DigestMismatch after the last byte: who reads the pipe waits for the result before he believes it.
        """
        answer = await self._origin.first(self._agent.asks.origin_ask(request, {}, None))
        try:
            self._agent.stats.streamed_through += 1
            told = announced_of(answer)
            hashes = _hashes(verify.algorithms(told, [request.digests]))
            reading, writing = _pipe()
            try:
                push({"event": "stream", "size": answer.total}, reading)
                size = await self._pump(request, answer, writing, list(hashes.values()))
            finally:
                os.close(writing)
        finally:
            await answer.aclose()
        found = {algorithm: one.hexdigest() for algorithm, one in hashes.items()}
        verified = self._check(request, told, found)
        self._agent.stats.origin_bytes += size
        body = self._result(request, answer, size, why, started)
        return Reply({**body, "verified": "digest" if verified else "transfer", "digests": found})

    async def _pump(self, request: Request, answer: Answer, writing: int, hashes: list[Any]) -> int:
        size, clock = 0, self._agent.clock
        own = TokenBucket(request.limit_rate, BURST_BYTES, clock())
        # Closed here and now: a generator left to the collector would keep the connection till then.
        async with aclosing(cast(AsyncGenerator[bytes, None], answer.chunks())) as chunks:
            async for chunk in chunks:
                for one in hashes:
                    one.update(chunk)
                await _write_all(writing, chunk, request.url.text)
                size += len(chunk)
                now = clock()
                wait_s = max(own.take(len(chunk), now), self._bucket.take(len(chunk), now))
                if wait_s > 0.0:
                    await asyncio.sleep(wait_s)
        return size

    def _check(self, request: Request, told: list[Announced], found: dict[str, str]) -> bool:
        wrong = verify.disagreeing(request.digests, found)
        try:
            vouched = verify.check_origin(request.url.text, told, found)
            if wrong is not None:
                raise verify.mismatch(request.url.text, wrong, found, "the caller's digest")
        except DigestMismatch:
            self._agent.stats.digest_failures += 1
            raise
        return vouched or bool(request.digests)

    def _result(
        self, request: Request, answer: Answer, size: int, why: P2PStoreError, started: float
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
            "seconds": round(self._agent.clock() - started, 6),
            "bytes": {"cache": 0, "peers": 0, "origin": size},
            "warnings": [*request.warnings, f"not kept in the cache: {why.message}"],
            "content_type": next((value for name, value in answer.headers if name == "content-type"), ""),
            "fd": False,
        }


def _hashes(algorithms: set[str]) -> dict[str, Any]:
    return {one: blake3() if one == "blake3" else hashlib.new(one) for one in sorted(algorithms)}


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
