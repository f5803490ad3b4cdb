"""The client for asyncio: one connection, any number of requests on it at once; files are aiofiles handles."""

from __future__ import annotations

import asyncio
import math
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar, Unpack

from p2pstore.client import wishes
from p2pstore.client.channel import ConnectionLost, OnEvent
from p2pstore.client.got import Got
from p2pstore.client.link import Link
from p2pstore.client.paths import find_socket
from p2pstore.client.sync import HARMLESS, PATIENCE_S, RETRY_WAIT_S, SHORT_TIMEOUT_S, Client
from p2pstore.client.wishes import Outcome, Output, Progress, Wish
from p2pstore.errors import AgentUnreachable

if TYPE_CHECKING:
    from pathlib import Path

    from aiofiles.base import AiofilesContextManager
    from aiofiles.threadpool.binary import AsyncBufferedReader

MAX_EVENTS: Final = 4096
"""Events that wait for a slow reader of `events`; more are dropped, and told by number."""
_T = TypeVar("_T")


class AsyncClient:
    """Asks the agent on this node, for one event loop. As Client, with coroutines; use it with `async with`, or `aclose` it."""

    def __init__(self, socket: Output | None = None) -> None:
        self._socket = None if socket is None else os.fspath(socket)
        self._link: Link | None = None
        self._connecting = asyncio.Lock()
        self._blocking = Client(socket)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; what waits on them fails."""
        if self._link is not None:
            self._link.close()
        await asyncio.to_thread(self._blocking.close)

    async def get(
        self,
        url: str,
        *,
        output: Output | None = None,
        link: str = "auto",
        progress: Progress | None = None,
        **wish: Unpack[Wish],
    ) -> Path:
        """As Client.get."""
        from pathlib import Path

        if output is not None:
            with await self.fetch(url, output=output, link=link, progress=progress, **wish) as got:
                return Path(got.output)
        args = wishes.arguments(url, wish)
        args["want"] = "path"
        with await self._got(url, args, wish, progress) as got:
            return Path(wishes.must_be_local(got.path, url))

    async def fetch(
        self,
        url: str,
        *,
        output: Output | int | None = None,
        link: str = "auto",
        progress: Progress | None = None,
        **wish: Unpack[Wish],
    ) -> Got:
        """As Client.fetch; files are written in worker threads."""
        args = wishes.arguments(url, wish)
        if output is None:
            return await self._got(url, args, wish, progress)
        from p2pstore.client.delivery import Delivery

        streams: list[asyncio.Task[None]] = []
        delivery = Delivery(url, output, link, args, progress)

        def on_event(event: dict[str, Any], fd: int) -> None:
            if fd < 0:
                delivery.on_event(event, fd)
            else:
                streams.append(asyncio.create_task(asyncio.to_thread(delivery.on_event, event, fd)))

        try:
            with delivery:
                try:
                    got = await self._got(url, args, wish, progress, on_event)
                finally:
                    # The agent is through, or gone: the pipe ends.
                    await _to_the_end(asyncio.gather(*streams))
                return await _to_the_end(asyncio.to_thread(delivery.finish, got))
        except BaseException:
            delivery.abandon()
            raise

    def open(self, url: str, **wish: Unpack[Wish]) -> AiofilesContextManager[AsyncBufferedReader]:
        """As Client.open; to be awaited or used with `async with`, as aiofiles.open is. Its reads wait in worker threads."""
        from aiofiles.base import AiofilesContextManager

        return AiofilesContextManager(self._open(url, wish))

    async def _open(self, url: str, wish: Wish) -> AsyncBufferedReader:
        from aiofiles.threadpool import wrap

        opening = asyncio.get_running_loop().run_in_executor(None, lambda: self._blocking.open(url, **wish))
        try:
            file = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unseen)
            raise
        handle: AsyncBufferedReader = wrap(file)
        return handle

    async def put(
        self, name: str, source: Output | int, *, replace: bool = False, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """As Client.put."""
        args = wishes.storing(name, replace)
        fd = await asyncio.to_thread(wishes.source_fd, source)
        try:
            return await self._ask("put", args, timeout_s, fd=fd)
        finally:
            os.close(fd)

    async def prefetch(self, urls: str | Iterable[str], **wish: Unpack[Wish]) -> dict[str, int]:
        """As Client.prefetch."""
        args = wishes.arguments(None, wish)
        total = {"accepted": 0, "cached": 0}
        for batch in wishes.batches([urls] if isinstance(urls, str) else urls):
            result = await self._ask("prefetch", {**args, "urls": batch}, SHORT_TIMEOUT_S)
            for name in total:
                total[name] += int(result[name])
        return total

    async def wait(
        self, urls: str | Iterable[str], *, progress: Progress | None = None, **wish: Unpack[Wish]
    ) -> list[Outcome]:
        """As Client.wait."""
        args = wishes.arguments(None, wish)
        if progress is not None:
            args["progress"] = True
        timeout_s = wish.get("timeout_s")
        give_up_at = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        ended: list[Outcome] = []
        for batch in wishes.batches([urls] if isinstance(urls, str) else urls):
            if give_up_at is not None:
                timeout_s = args["deadline_s"] = max(give_up_at - asyncio.get_running_loop().time(), 0.001)
            ended += wishes.outcomes(
                await self._ask("wait", {**args, "urls": batch}, timeout_s, wishes.told(progress))
            )
        return ended

    async def cancel(self, url: str, **wish: Unpack[Wish]) -> bool:
        """As Client.cancel."""
        return bool((await self._ask("cancel", wishes.arguments(url, wish), SHORT_TIMEOUT_S))["cancelled"])

    async def events(self, kinds: Iterable[str] = ()) -> AsyncIterator[dict[str, Any]]:
        """As Client.events; when the reader is slower than the agent, `missed` tells how many were dropped."""
        link = await self._connected()
        queue: deque[dict[str, Any]] = deque()
        came = asyncio.Event()
        missed = 0

        def on_event(event: dict[str, Any], fd: int) -> None:
            nonlocal missed
            if len(queue) < MAX_EVENTS:
                queue.append(event)
            else:
                missed += 1
            came.set()

        request = asyncio.create_task(link.request("events", {"kinds": list(kinds)}, -1, math.inf, on_event))
        request.add_done_callback(lambda _: came.set())
        try:
            while True:
                while queue:
                    yield queue.popleft()
                if missed:
                    yield {"event": "missed", "count": missed}
                    missed = 0
                if request.done():
                    request.result()
                    return
                came.clear()
                await came.wait()
        finally:
            request.cancel()
            await asyncio.wait([request])

    async def stat(self, url: str, *, ver: str | None = None, **wish: Unpack[Wish]) -> dict[str, Any]:
        """As Client.stat."""
        return await self._ask("stat", wishes.looking(url, ver, wish), SHORT_TIMEOUT_S)

    async def ls(
        self,
        prefix: str = "",
        *,
        sort: str = "url",
        descending: bool = False,
        versions: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """As Client.ls."""
        args: dict[str, Any] = {
            "prefix": prefix,
            "sort": sort,
            "descending": descending,
            "versions": versions,
        }
        left = limit
        while left is None or left > 0:
            args["limit"] = wishes.PAGE if left is None else min(left, wishes.PAGE)
            page = await self._ask("ls", args, SHORT_TIMEOUT_S)
            for entry in page["entries"]:
                yield entry
            if page["next"] is None:
                return
            args["after"] = page["next"]
            left = None if left is None else left - len(page["entries"])

    async def rm(
        self,
        url: str | None = None,
        *,
        prefix: str | None = None,
        versions: bool = False,
        **wish: Unpack[Wish],
    ) -> dict[str, int]:
        """As Client.rm."""
        return await self._ask("rm", wishes.removal(url, prefix, versions, wish), None)

    async def status(self) -> dict[str, Any]:
        """As Client.status."""
        return await self._ask("status", {}, SHORT_TIMEOUT_S)

    async def check(
        self, *, subset: float | None = None, prefix: str = "", on_checked: Progress | None = None
    ) -> dict[str, Any]:
        """As Client.check."""
        args: dict[str, Any] = {"prefix": prefix}
        if subset is not None:
            args["subset"] = subset
        return await self._ask("check", args, None, wishes.told(on_checked))

    async def _connected(self) -> Link:
        async with self._connecting:
            link = self._link
            if link is not None and link.pid != os.getpid():
                link.drop()
            if link is None or link.closed or link.loop is not asyncio.get_running_loop():
                link = self._link = await Link.connect(
                    self._socket if self._socket is not None else find_socket()
                )
            return link

    async def _request(
        self,
        verb: str,
        args: dict[str, Any],
        timeout_s: float | None,
        on_event: OnEvent | None = None,
        fd: int = -1,
    ) -> tuple[dict[str, Any], int]:
        """Ask; again on a new connection when the agent was restarted since."""
        try:
            return await (await self._connected()).request(verb, args, fd, timeout_s, on_event)
        except ConnectionLost as lost:
            if lost.sent and verb not in HARMLESS:
                raise
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + (PATIENCE_S if timeout_s is None else min(PATIENCE_S, timeout_s))
        while True:
            try:
                return await (await self._connected()).request(verb, args, fd, timeout_s, on_event)
            except AgentUnreachable:
                if loop.time() >= give_up_at:
                    raise
            await asyncio.sleep(RETRY_WAIT_S)

    async def _got(
        self,
        url: str,
        args: dict[str, Any],
        wish: Wish,
        progress: Progress | None,
        on_event: OnEvent | None = None,
    ) -> Got:
        fd = await asyncio.to_thread(wishes.open_local, url) if url.startswith("file:") else -1
        if fd >= 0:
            args["fd"] = True
        if progress is not None:
            args["progress"] = True
            on_event = on_event or wishes.told(progress)
        try:
            body, descriptor = await self._request("get", args, wish.get("timeout_s"), on_event, fd)
        finally:
            if fd >= 0:
                os.close(fd)
        return Got(body, descriptor, url)

    async def _ask(
        self,
        verb: str,
        args: dict[str, Any],
        timeout_s: float | None,
        on_event: OnEvent | None = None,
        fd: int = -1,
    ) -> dict[str, Any]:
        body, descriptor = await self._request(verb, args, timeout_s, on_event, fd)
        if descriptor >= 0:
            os.close(descriptor)
        return body


def _close_unseen(opening: asyncio.Future[BinaryIO]) -> None:
    """Close a file that was opened after nobody waited for it any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


async def _to_the_end(work: Awaitable[_T]) -> _T:
    """Wait for a worker thread even when this wait is cancelled: what it writes to must not be taken from under it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
