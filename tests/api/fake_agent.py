"""A small agent in memory, and a thread that serves it on a real unix socket: what the door and the clients are tested against."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from p2pstore.agent.session import Push, Reply, Session
from p2pstore.api.jobs.listening import listen
from p2pstore.api.jobs.server import JobServer
from p2pstore.config import JobsConfig
from p2pstore.errors import BadRequest, NameTaken, NoSpace, NotCached, P2PStoreError
from p2pstore.types import Caller


@dataclass(eq=False)
class Growing:
    """A file of which `available` bytes are there; it is complete when all are."""

    content: bytes
    path: Path
    size_known: bool = True
    available: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def complete(self) -> bool:
        return self.available >= len(self.content)

    def grow(self, available: int) -> None:
        """More is there; on the loop's thread."""
        with self.path.open("r+b") as file:
            file.write(self.content[:available])
        self.available = available
        self.changed.set()
        self.changed = asyncio.Event()


class FakeAgent:
    """Answers from tables that the test fills."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.readers = self
        self.files: dict[str, Path] = {}
        self.hot: dict[str, bytes] = {}
        """URL to contents, answered at once with an encoded body."""
        self.errors: dict[str, P2PStoreError] = {}
        self.growing: dict[str, Growing] = {}
        self.streams: dict[str, tuple[bytes, int]] = {}
        """URL to the bytes that go through the pipe, and the size that the result claims."""
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.sessions: list[Session] = []
        self.forgotten: list[Session] = []
        self.release = asyncio.Event()
        self.held = 0
        self.cancelled = 0
        self.open_readers: dict[int, Growing] = {}
        self.subscribers: list[Callable[[dict[str, Any]], None]] = []
        self.put_bytes: dict[str, bytes] = {}
        self.entries = 3
        self.entry_padding = 0
        self.ver = "b" * 32

    def add(self, url: str, content: bytes, *, hot: bool = False) -> None:
        """Make a URL known."""
        path = self.directory / f"object-{len(self.files)}"
        path.write_bytes(content)
        self.files[url] = path
        if hot:
            self.hot[url] = msgpack.packb({**self._result(url), "fd": True})

    def _result(self, url: str) -> dict[str, Any]:
        size = self.files[url].stat().st_size if url in self.files else 0
        return {
            "url": url,
            "key": "a" * 64,
            "ver": self.ver,
            "root": "c" * 64,
            "size": size,
            "path": str(self.files.get(url, "")),
            "private": False,
            "stale": False,
            "why": "fresh",
            "age_s": 1.5,
            "verified": "transfer",
            "seconds": 0.01,
            "bytes": {"cache": size, "peers": 0, "origin": 0},
            "digests": {},
            "warnings": [],
            "content_type": "text/plain",
        }

    def forget(self, session: Session) -> None:
        session.closed = True
        self.forgotten.append(session)

    def try_get(self, session: Session, args: dict[str, Any]) -> Reply | None:
        url = args["url"]
        if url == "defect:hot":
            raise RuntimeError("planted")
        if url in self.hot and args.keys() <= {"url", "stream"}:
            return Reply(self.hot[url], os.open(self.files[url], os.O_RDONLY | os.O_CLOEXEC))
        if url.startswith("hot-error:"):
            raise NotCached(f"{url} is not here", hint="look elsewhere")
        return None

    def try_stat(self, session: Session, args: dict[str, Any]) -> Reply | None:
        if args.get("url") in self.hot:
            return Reply({"cached": True, "url": args["url"]})
        return None

    async def get(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        self.calls.append(("get", args))
        self.sessions.append(session)
        url = args["url"]
        if fd >= 0:
            try:
                content = os.pread(fd, 1 << 20, 0)
            finally:
                os.close(fd)
            self.add(url, content)
        if url in self.errors:
            raise self.errors[url]
        if url.startswith("defect:"):
            raise RuntimeError("planted")
        if url.startswith("hold:"):
            self.held += 1
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if args.get("progress"):
            for done in (0, 50, 100):
                push({"event": "progress", "bytes": done, "total": 100}, -1)
        if url in self.streams:
            return await self._stream(url, args, push)
        if url not in self.files:
            raise NotCached(f"{url} is not here")
        result = self._result(url)
        if args.get("want", "fd") == "fd":
            return Reply(result, os.open(self.files[url], os.O_RDONLY | os.O_CLOEXEC))
        return Reply(result)

    async def _stream(self, url: str, args: dict[str, Any], push: Push) -> Reply:
        if not args.get("stream"):
            raise NoSpace("no room in the cache", hint="give -o FILE")
        content, claimed = self.streams[url]
        reading, writing = os.pipe2(os.O_CLOEXEC)
        push({"event": "stream", "size": len(content)}, reading)
        try:
            await asyncio.to_thread(_write, writing, content)
        except BrokenPipeError:
            raise NoSpace("the reader closed the stream") from None
        finally:
            os.close(writing)
        return Reply({**self._result(url), "size": claimed, "path": ""})

    async def open(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        self.calls.append(("open", args))
        url = args["url"]
        growing = self.growing.get(url)
        if growing is None or growing.complete:
            if growing is not None:
                self.files[url] = growing.path
            reply = await self.get(session, args, push, fd)
            assert isinstance(reply.body, dict)
            return Reply({**reply.body, "reader": 0, "complete": True}, reply.fd)
        number = len(self.open_readers) + 1
        self.open_readers[number] = growing
        size = len(growing.content) if growing.size_known else None
        opened = os.open(growing.path, os.O_RDONLY | os.O_CLOEXEC)
        return Reply({**self._result(url), "size": size, "reader": number, "complete": False}, opened)

    async def ready(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        growing = self.open_readers.get(args["reader"])
        if growing is None:
            raise BadRequest("no such reader")
        growing.asked.append((args["start"], args["stop"]))
        while not growing.complete and growing.available < min(args["stop"], len(growing.content)):
            await growing.changed.wait()
        size = len(growing.content) if growing.size_known or growing.complete else None
        return Reply({"size": size, "complete": growing.complete})

    async def close(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        self.open_readers.pop(args["reader"], None)
        return Reply({})

    async def prefetch(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        self.calls.append(("prefetch", args))
        cached = sum(url in self.files for url in args["urls"])
        return Reply({"accepted": len(args["urls"]) - cached, "cached": cached})

    async def wait(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        self.calls.append(("wait", args))
        results = []
        for url in args["urls"]:
            if url in self.files:
                results.append({"url": url, "ok": True})
            else:
                results.append({"url": url, "ok": False, "error": NotCached(f"{url} is not here").to_wire()})
            if args.get("progress"):
                push({"event": "waited", **results[-1]}, -1)
        return Reply({"results": results})

    async def cancel_url(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        return Reply({"cancelled": args["url"].startswith("hold:")})

    async def stat(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        self.calls.append(("stat", args))
        return Reply({"cached": args.get("url") in self.files, "name": args.get("name")})

    async def ls(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        first = int(args.get("after", "0"))
        last = min(first + args.get("limit", 100), self.entries)
        entries = [{"url": f"u{number}", "pad": "x" * self.entry_padding} for number in range(first, last)]
        return Reply({"entries": entries, "next": str(last) if last < self.entries else None})

    async def rm(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        self.calls.append(("rm", args))
        return Reply({"removed": 1, "bytes": 10})

    async def put(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        try:
            content = os.pread(fd, 1 << 20, 0)
        finally:
            os.close(fd)
        if args["name"] in self.put_bytes and not args.get("replace"):
            raise NameTaken(f"put:{args['name']} exists", hint="use --replace")
        self.put_bytes[args["name"]] = content
        self.add(f"put:{args['name']}", content)
        return Reply(
            {"name": args["name"], "size": len(content), "durable": 1, "seconds": 0.0, "ver": self.ver}
        )

    async def check(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        push({"event": "checked", "url": "u1", "ok": True}, -1)
        return Reply({"checked": 1, "bad": 0, "bytes": 10, "unreadable": 0})

    async def status(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        return Reply({"version": "0.1.0", "counters": {}})

    async def show_config(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        return Reply({"config": {"cache": {"size_bytes": 1}}})

    def subscribe(
        self, kinds: Collection[str], caller: Caller, sink: Callable[[dict[str, Any]], None]
    ) -> Callable[[], None]:
        if "nonsense" in kinds:
            raise BadRequest("no event kind 'nonsense'")
        self.subscribers.append(sink)
        return lambda: self.subscribers.remove(sink)


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


class Serving(threading.Thread):
    """A server in a thread of its own, for clients that block."""

    def __init__(self, directory: Path, path: Path, prepare: Callable[[FakeAgent], None]) -> None:
        super().__init__(name="serving")
        self.path = str(path)
        self._directory, self._prepare = directory, prepare
        self.up = threading.Event()
        self.stopping: asyncio.Event
        self.loop: asyncio.AbstractEventLoop
        self.agent: FakeAgent
        self.server: JobServer

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.loop, self.stopping = asyncio.get_running_loop(), asyncio.Event()
        self.agent = FakeAgent(self._directory)
        self._prepare(self.agent)
        self.server = JobServer(self.agent, JobsConfig(), listen(self.path, everybody=False))
        await self.server.start()
        self.up.set()
        await self.stopping.wait()
        await self.server.aclose()

    def do(self, call: Callable[[], object]) -> None:
        """Run something on the server's loop and wait for it."""
        done = threading.Event()

        def run() -> None:
            call()
            done.set()

        self.loop.call_soon_threadsafe(run)
        assert done.wait(20)

    def hang_up(self) -> None:
        """Close every connection; on the server's loop."""
        for connection in list(self.server._connections):
            connection.close()

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Wait until something holds, looked at on the server's loop."""
        for _ in range(2000):
            seen: list[bool] = []
            self.do(lambda seen=seen: seen.append(true()))  # type: ignore[misc]
            if seen[0]:
                return
            threading.Event().wait(0.005)
        raise AssertionError("it never came to hold")


@contextlib.contextmanager
def serving(
    directory: Path, path: Path | None = None, prepare: Callable[[FakeAgent], None] = lambda _: None
) -> Iterator[Serving]:
    """An agent on `path`, in a thread, until the block ends."""
    thread = Serving(directory, path or directory / "s", prepare)
    thread.start()
    assert thread.up.wait(20)
    try:
        yield thread
    finally:
        thread.loop.call_soon_threadsafe(thread.stopping.set)
        thread.join(20)


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def settles_at(count: int) -> bool:
    """Whether this process comes to have so many descriptors open; the server's thread closes what it sent a little later."""
    for _ in range(2000):
        if open_descriptors() == count:
            return True
        threading.Event().wait(0.005)
    return False


async def until(true: Callable[[], object]) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 -- what is waited for has no event
            await asyncio.sleep(0.001)
