"""A toy origin: a real HTTP/1.1 server on loopback whose every path is scripted by the test, good or bad.

    async with Origin() as origin:                  # or `with Origin() as origin:` from code without a loop
        origin.serve("/big", content(5_000_000))
        origin.serve("/flaky", b"x" * 100_000, behaviour=Behaviour(close_after=50_000, faults=1))
        ... fetch origin.url("/big") ...
        assert [one.range for one in origin.requests("/big")] == [None]

It uses asyncio's streams and nothing of the package under test, so a defect there can't hide itself here.
"""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import trustme

from tests.origin_script import ENDLESS_BYTES, REASONS, UNSET, Answer, Behaviour, Headers, Resource, answer

__all__ = ["Behaviour", "Origin", "Request", "basic", "bearer", "content"]

SLICE_BYTES: Final = 256 << 10
CHUNK_BYTES: Final = 16 << 10
MAX_HEAD_BYTES: Final = 64 << 10
START_TIMEOUT_S: Final = 10.0
NEVER: Final = b"\x00 no client sends this \x00"
"""Reading up to it ends only with the connection, and takes nothing of what was read."""


def content(size_bytes: int, seed: int = 0) -> bytes:
    """Bytes like chance, the same for the same size and seed; no two places are alike: a splice shows."""
    return random.Random(f"{size_bytes}/{seed}").randbytes(size_bytes)


def basic(user: str, password: str) -> str:
    """The Authorization value of RFC 7617."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def bearer(token: str) -> str:
    """The Authorization value of RFC 6750."""
    return f"Bearer {token}"


@dataclass(slots=True)
class Request:
    """One request as it came and what became of it; `status` is 0 until (and unless) a head was sent."""

    method: str
    target: str
    pairs: tuple[tuple[str, str], ...]
    """Header names in lower case, in order."""
    status: int = 0
    bytes_sent: int = 0
    """Of the body, before chunk framing; handed to the socket, so a client that left may have got less."""
    finished: bool = False
    """The answer went out to its end, or was broken off as scripted."""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def headers(self) -> dict[str, str]:
        """Header values by lower-case name; of equal names the last."""
        return dict(self.pairs)

    @property
    def range(self) -> str | None:
        """The Range header, if any."""
        return self.headers.get("range")


class _Closed(Exception):
    """The script says that the connection ends here."""


class Origin:
    """The server; `serve` and the other scripting methods may be called at any time and from any thread.

    `tls=True` serves https with a certificate for 127.0.0.1 and localhost from an authority made for this
    object (`ca_pem`, `client_context`). `host` is what `url` puts in; the socket listens on 127.0.0.1 only.
    """

    def __init__(self, *, tls: bool = False, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = 0
        self.log: list[Request] = []
        """Every request since the start, in order of arrival."""
        self.connections = 0
        """Connections accepted since the start."""
        self._resources: dict[str, Resource] = {}
        self._changes: dict[tuple[str, int], Resource] = {}
        self._released: dict[str, asyncio.Event] = {}
        self._stalled: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._moved = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._thread: _LoopThread | None = None
        self._authority = trustme.CA() if tls else None

    # scripting

    def serve(
        self,
        path: str,
        body: bytes = b"",
        *,
        headers: Headers = (),
        etag: str | None = UNSET,
        last_modified: str | float | None = UNSET,
        behaviour: Behaviour | None = None,
    ) -> str:
        """Serve `body` at `path` (with its query, if it has one, else for any query) and return its URL.

        `etag` is sent as given, with its quotes (`'W/"1"'` for a weak one); None sends none. `last_modified`
        is a date or seconds since 1970. `headers` are added and replace those of the server. Answers under
        way keep the old content.
        """
        self._resources[path] = Resource.make(body, headers, etag, last_modified, behaviour)
        return self.url(path)

    def change(self, path: str, body: bytes, *, at_request: int | None = None, **others: Any) -> None:
        """Put other content at `path`: now, or when its nth request comes (counted from 1).

        Headers and behaviour stay and validators are made anew, unless given in `others` (as for `serve`).
        """
        old = self._resources[path]
        given = {"headers": old.headers, "behaviour": old.behaviour, **others}
        fresh = Resource.make(body, **given)
        if at_request is None:
            self._resources[path] = fresh
        else:
            self._changes[path, at_request] = fresh

    def behave(self, path: str, behaviour: Behaviour) -> None:
        """Give `path` another behaviour with the same content and validators."""
        self._resources[path] = replace(self._resources[path], behaviour=behaviour)

    def remove(self, path: str) -> None:
        """Answer 404 at `path` from now on."""
        del self._resources[path]

    def url(self, path: str = "/") -> str:
        """The URL of `path`."""
        return f"{'https' if self._authority else 'http'}://{self.host}:{self.port}{path}"

    # watching

    def requests(self, path: str) -> list[Request]:
        """The requests for `path` (or for a target with a query) so far."""
        return [one for one in self.log if path in (one.path, one.target)]

    def bytes_sent(self, path: str) -> int:
        """Body bytes sent for `path` so far, all answers together."""
        return sum(one.bytes_sent for one in self.requests(path))

    async def stalled(self, path: str, answers: int = 1) -> None:
        """Return once so many answers of `path` stand still by `stall_after` or `silent`."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._stalled.get(path, 0) >= answers)

    async def asked(self, path: str, requests: int = 1) -> None:
        """Return once `path` was asked for so many times."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._counts.get(path, 0) >= requests)

    async def finished(self, path: str, requests: int = 1) -> None:
        """Return once so many answers of `path` are at their end."""
        async with self._moved:
            await self._moved.wait_for(lambda: sum(one.finished for one in self.requests(path)) >= requests)

    def wait(self, job: Coroutine[Any, Any, object]) -> None:
        """Run `stalled` or `asked` from a test without a loop: `origin.wait(origin.stalled("/big"))`."""
        assert self._thread is not None, "entered with `async with`: await it instead"
        self._thread.run(job)

    def release(self, path: str) -> None:
        """Let the answers of `path` that stand still go on, and later ones not stop."""
        event = self._released.setdefault(path, asyncio.Event())
        if self._server is not None:
            self._server.get_loop().call_soon_threadsafe(event.set)

    @property
    def ca_pem(self) -> bytes:
        """The certificate of the authority that a client of the https server has to trust."""
        assert self._authority is not None, "made without tls=True"
        return self._authority.cert_pem.bytes()

    def client_context(self) -> ssl.SSLContext:
        """A client's TLS context that trusts this origin only."""
        return ssl.create_default_context(cadata=self.ca_pem.decode())

    # running

    async def __aenter__(self) -> Self:
        context = None
        if self._authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        self._server = await asyncio.start_server(
            self._connection, "127.0.0.1", self.port, ssl=context, limit=MAX_HEAD_BYTES
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def __enter__(self) -> Self:
        self._thread = _LoopThread()
        try:
            self._thread.run(self.__aenter__())
        except BaseException:
            self._thread.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._thread is not None
        self._thread.run(self.__aexit__())
        self._thread.stop()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, EOFError, ssl.SSLError, asyncio.LimitOverrunError, _Closed):
            pass  # the client left, or the script says so
        except asyncio.CancelledError:
            writer.transport.abort()  # the test is over; ending quietly is what the task was cancelled for
        finally:
            await _close(writer)
            self._tasks.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = _parse(await reader.readuntil(b"\r\n\r\n"))
        resource, earlier = self._take(request)
        how = resource.behaviour.at_request(earlier) if resource else Behaviour()
        try:
            await self._tell()
            await asyncio.sleep(how.delay_s)
            if how.silent:
                await self._stall(request.path, reader)
            if how.hang_up:
                raise _Closed
            if how.raw is not None:
                writer.write(how.raw)
                raise _Closed
            reply = answer(resource, request.method, request.headers, earlier, time.time())
            await self._send(request, reply, how, reader, writer)
        finally:
            request.finished = True
            await self._tell()
        keeps = how.framing != "close" and not how.lie_bytes
        return keeps and request.headers.get("connection", "").lower() != "close"

    def _take(self, request: Request) -> tuple[Resource | None, int]:
        name = request.target if request.target in self._resources else request.path
        earlier = self._counts.get(name, 0)
        self.log.append(request)
        for one in {request.target, request.path}:
            self._counts[one] = self._counts.get(one, 0) + 1
        if (changed := self._changes.pop((name, earlier + 1), None)) is not None:
            self._resources[name] = changed
        return self._resources.get(name), earlier

    async def _send(
        self,
        request: Request,
        reply: Answer,
        how: Behaviour,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        bodiless = request.method == "HEAD" or reply.status in (204, 304)
        endless = how.endless and reply.status in (200, 206)
        writer.write(_head(reply, how, bodiless and reply.status == 304, endless))
        request.status = reply.status
        chunked = how.framing == "chunked"
        async for part in self._parts(request.path, b"" if bodiless else reply.body, how, endless, reader):
            writer.write(b"%x\r\n%b\r\n" % (len(part), bytes(part)) if chunked else part)
            request.bytes_sent += len(part)
            await writer.drain()
            if how.drip_bytes:
                await asyncio.sleep(how.drip_s)
        if chunked and not bodiless:
            writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _parts(
        self, path: str, body: bytes | memoryview, how: Behaviour, endless: bool, reader: asyncio.StreamReader
    ) -> AsyncIterator[bytes | memoryview]:
        step = how.drip_bytes or (CHUNK_BYTES if how.framing == "chunked" else SLICE_BYTES)
        stops = [at for at in (how.stall_after, how.close_after) if at is not None]
        sent = 0
        while True:
            if how.close_after is not None and sent >= how.close_after:
                raise _Closed
            if sent == how.stall_after:
                await self._stall(path, reader)
            at = sent % max(1, len(body)) if endless else sent
            limit = min([step, *(stop - sent for stop in stops if stop > sent)])
            part = body[at : at + limit]
            if not part:
                return
            yield part
            sent += len(part)

    async def _stall(self, path: str, reader: asyncio.StreamReader) -> None:
        self._stalled[path] = self._stalled.get(path, 0) + 1
        await self._tell()
        released = asyncio.ensure_future(self._released.setdefault(path, asyncio.Event()).wait())
        gone = asyncio.ensure_future(reader.readuntil(NEVER))
        try:
            await asyncio.wait((released, gone), return_when=asyncio.FIRST_COMPLETED)
            if not released.done():
                raise _Closed
        finally:
            released.cancel()
            gone.cancel()
            await asyncio.gather(released, gone, return_exceptions=True)
            self._stalled[path] -= 1

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except (ConnectionError, ssl.SSLError):
        pass
    except asyncio.CancelledError:
        writer.transport.abort()  # a client that reads no more must not hold up the end of a test


def _parse(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _version = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    return Request(method, target, tuple((name.lower(), value.strip()) for name, _, value in pairs))


def _head(reply: Answer, how: Behaviour, no_length: bool, endless: bool) -> bytes:
    pairs = list(reply.headers)
    if no_length:
        pass  # RFC 9110 8.6: a 304 needs none
    elif how.framing == "chunked":
        pairs.append(("Transfer-Encoding", "chunked"))
    elif how.framing == "close":
        pairs.append(("Connection", "close"))
    elif not any(name.lower() == "content-length" for name, _ in pairs):
        length = ENDLESS_BYTES if endless else len(reply.body) + how.lie_bytes
        pairs.append(("Content-Length", str(length)))
    lines = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Scripted')}"]
    lines += [f"{name}: {value}" for name, value in pairs]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class _LoopThread:
    """An event loop of its own in a thread, for tests that have none."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="toy-origin", daemon=True)
        self._thread.start()

    def run(self, job: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(job, self._loop).result(START_TIMEOUT_S)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
