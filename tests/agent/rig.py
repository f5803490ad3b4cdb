"""An agent as the door meets it: real storage, real connections, and a wall clock that the test moves."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgpack

from p2pstore.agent.agent import Agent
from p2pstore.agent.session import Reply, Session
from p2pstore.config import MIB, Config
from p2pstore.sources.origin import OriginClient
from p2pstore.storage.store import Store
from p2pstore.types import Caller
from tests.origin import content as make_content

OWN_UID: Final = os.geteuid()
"""The agent's own user; whoever calls without another uid is that one."""
PIECE: Final = 256 << 10
"""Bytes of a piece of a file of at most 512 MiB."""
LARGE: Final = 2 * MIB + 12_345
"""Bytes of a file that comes in several requests."""


class Wall:
    """Seconds since 1970, and what the test added. Behind that of origins, so that no answer looks old when it comes."""

    def __init__(self) -> None:
        self.ahead_s = -1000 * 86400.0

    def __call__(self) -> float:
        """The time."""
        return time.time() + self.ahead_s


@dataclass(slots=True)
class Got:
    """What a request brought: the result, the bytes behind its descriptor, and what was pushed on the way."""

    fields: dict[str, Any]
    data: bytes | None
    heard: list[dict[str, Any]]
    stream: bytes | None = None
    """What came through a pipe."""

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


@dataclass(slots=True, eq=False)
class Hearing:
    """The client's end of one request's events."""

    heard: list[dict[str, Any]] = field(default_factory=list)
    pipe: asyncio.Task[bytes] | None = None

    def push(self, event: dict[str, Any], fd: int) -> None:
        """Take an event; a pipe is read to its end beside."""
        self.heard.append(event)
        if fd >= 0:
            self.pipe = asyncio.create_task(asyncio.to_thread(_read_pipe, fd))


class Rig:
    """One agent on one directory."""

    def __init__(self, directory: Path, config: Config) -> None:
        self.directory = directory
        self.config = config
        self.wall = Wall()
        self.sessions: dict[int, Session] = {}

    async def start(self) -> Rig:
        """Open everything."""
        self.store = Store.open(self.config.cache, str(self.directory), boot_id="one boot", clock=self.wall)
        await self.store.start()
        self.client = OriginClient(self.config.origin, wall=self.wall)
        self.agent = Agent(self.config, self.store, self.client, rng=random.Random(1), wall=self.wall)
        await self.agent.start()
        return self

    async def aclose(self) -> None:
        """Close everything, in order."""
        for session in self.sessions.values():
            self.agent.readers.forget(session)
        await self.agent.aclose()
        await self.client.aclose()
        await self.store.aclose()

    def session(self, uid: int = OWN_UID) -> Session:
        """The connection of a user; one for each."""
        if uid not in self.sessions:
            self.sessions[uid] = Session(Caller(uid=uid, gid=uid, pid=1))
        return self.sessions[uid]

    async def get(self, url: str, *, uid: int = OWN_UID, fd: int = -1, **args: Any) -> Got:
        """`get` as the door calls it: the short way first."""
        session, asked, hearing = self.session(uid), {"url": url, **args}, Hearing()
        reply = self.agent.try_get(session, asked) if fd < 0 else None
        if reply is None:
            try:
                reply = await self.agent.get(session, asked, hearing.push, fd)
            finally:
                stream = await hearing.pipe if hearing.pipe is not None else None
            return _got(reply, hearing, stream)
        return _got(reply, hearing, None)

    async def call(self, verb: str, *, uid: int = OWN_UID, fd: int = -1, **args: Any) -> dict[str, Any]:
        """Any verb whose result is a map without a descriptor."""
        hearing = Hearing()
        reply: Reply = await getattr(self.agent, verb)(self.session(uid), args, hearing.push, fd)
        assert reply.fd < 0
        assert isinstance(reply.body, dict)
        return reply.body

    async def stat(self, url: str, **args: Any) -> dict[str, Any]:
        """`stat` of a URL."""
        return await self.call("stat", url=url, **args)

    async def open(self, url: str, *, uid: int = OWN_UID, **args: Any) -> tuple[dict[str, Any], int]:
        """`open`: the result and the descriptor, which is the test's."""
        reply = await self.agent.open(self.session(uid), {"url": url, **args}, Hearing().push, -1)
        assert isinstance(reply.body, dict)
        assert (reply.fd >= 0) is reply.body["fd"]
        return reply.body, reply.fd

    async def ready(self, reader: int, start: int, stop: int, **args: Any) -> dict[str, Any]:
        """`ready` of an open file."""
        return await self.call("ready", reader=reader, start=start, stop=stop, **args)

    async def joined(self, count: int) -> None:
        """Return once so many requests have joined a load that another began."""
        for _ in range(5000):
            if self.agent.stats.joined >= count:
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"{self.agent.stats.joined} joined")

    async def settled(self) -> None:
        """Return once the loads that run now have ended."""
        tasks = [load.task for load in self.agent.loads if load.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    def as_if_killed(self, directory: Path) -> Rig:
        """Another agent that finds what this one would leave behind if it were killed now."""
        shutil.copytree(self.directory, directory)
        return Rig(directory, self.config)


def config_of(**tables: dict[str, Any]) -> Config:
    """A configuration that tries again at once and lets every uid ask loopback; `tables` change fields."""
    base = Config()
    origin = replace(base.origin, allow=("127.0.0.0/8",), retries=2, retry_wait_s=0.0)
    changed: dict[str, Any] = {"origin": origin, "cache": replace(base.cache, size_bytes=256 * MIB)}
    for table, fields in tables.items():
        changed[table] = replace(changed.get(table, getattr(base, table)), **fields)
    return replace(base, **changed)


content = functools.lru_cache(maxsize=64)(make_content)
"""`tests.origin.content`, made once for equal sizes and seeds."""


def read_all(fd: int) -> bytes:
    """All bytes behind a descriptor of a file, which is closed."""
    with open(fd, "rb") as file:
        return file.read()


def _read_pipe(fd: int) -> bytes:
    os.set_blocking(fd, True)
    return read_all(fd)


def _got(reply: Reply, hearing: Hearing, stream: bytes | None) -> Got:
    fields = msgpack.unpackb(reply.body) if isinstance(reply.body, bytes) else reply.body
    data = read_all(reply.fd) if reply.fd >= 0 else None
    assert fields["fd"] is (data is not None)
    assert sum(fields["bytes"].values()) == fields["size"]
    return Got(fields, data, hearing.heard, stream)
