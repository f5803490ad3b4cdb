"""Both ways to an origin, and sinks to pour into."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from p2pstore.config import OriginConfig
from p2pstore.errors import P2PStoreError
from p2pstore.sources.base import Ask
from p2pstore.sources.origin import OriginClient

BLOCK_BYTES = 64 << 10


class BlockSink:
    """A sink of `blocks` blocks that come back one loop turn after they were given; checks how it is used."""

    def __init__(self, blocks: int = 4, block_bytes: int = BLOCK_BYTES) -> None:
        self.block_bytes = block_bytes
        self.error: P2PStoreError | None = None
        self.data = bytearray()
        self.given: list[tuple[int, int]] = []
        self.blocks = blocks
        self.stuck = False
        """Blocks that are given don't come back until `unstick`."""
        self.exhausted = asyncio.Event()
        """A block was wanted and there was none."""
        self._free = [memoryview(bytearray(block_bytes)) for _ in range(blocks)]
        self._out: set[int] = set()
        self._held: list[memoryview] = []
        self._callbacks: list[Callable[[], None]] = []

    @property
    def out(self) -> int:
        """Blocks that were taken and neither given nor given back."""
        return len(self._out)

    def take(self) -> memoryview | None:
        if self.error is not None:
            raise self.error
        if not self._free:
            self.exhausted.set()
            return None
        block = self._free.pop()
        self._out.add(id(block))
        return block

    def on_room(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def give(self, offset: int, block: memoryview, size: int) -> None:
        self._out.remove(id(block))
        assert 0 < size <= self.block_bytes
        if len(self.data) < offset + size:
            self.data.extend(bytes(offset + size - len(self.data)))
        self.data[offset : offset + size] = block[:size]
        self.given.append((offset, size))
        if self.stuck:
            self._held.append(block)
        else:
            asyncio.get_running_loop().call_soon(self._back, block)

    def give_back(self, block: memoryview) -> None:
        self._out.remove(id(block))
        self._back(block)

    def unstick(self) -> None:
        self.stuck = False
        while self._held:
            self._back(self._held.pop())

    def _back(self, block: memoryview) -> None:
        self._free.append(block)
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


def _config(**changes: Any) -> OriginConfig:
    """Short timeouts, so that what hangs is cut while a test waits; long enough for a busy machine."""
    plain = {"connect_timeout_s": 5.0, "header_timeout_s": 5.0, "stall_timeout_s": 5.0, **changes}
    return OriginConfig(**plain)


@pytest.fixture
def sink() -> BlockSink:
    """Four blocks of 64 KiB."""
    return BlockSink()


@pytest.fixture
def make_sink() -> type[BlockSink]:
    """To make sinks of other sizes."""
    return BlockSink


@pytest.fixture
def make_config() -> Callable[..., OriginConfig]:
    """To make configurations with other limits."""
    return _config


@pytest.fixture(params=["lane", "aiohttp"])
def way(request: pytest.FixtureRequest) -> str:
    """The way on which the client goes; both must do the same."""
    return str(request.param)


@pytest.fixture
async def make_client(way: str) -> AsyncIterator[Callable[..., OriginClient]]:
    """Clients for one way, closed at the end."""
    made: list[OriginClient] = []

    def make(**changes: Any) -> OriginClient:
        made.append(OriginClient(_config(**changes), lanes=way == "lane"))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def client(make_client: Callable[..., OriginClient]) -> OriginClient:
    """A client with the usual limits."""
    return make_client()


@pytest.fixture
def ask() -> Callable[..., Ask]:
    """An ask by the agent's own uid, who may name loopback."""

    def make(url: str, **more: Any) -> Ask:
        return Ask(**{"url": url, "own_uid": True, **more})

    return make


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def raw_server() -> AsyncIterator[Callable[[Script], Awaitable[int]]]:
    """Starts servers that do on each connection just what the script says; returns their port."""
    servers: list[asyncio.Server] = []
    tasks: set[asyncio.Task[None]] = set()

    async def start(script: Script) -> int:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                with contextlib.suppress(ConnectionError, EOFError):
                    await script(reader, writer)
            except asyncio.CancelledError:
                pass  # the test is over
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for server in servers:
        await server.wait_closed()
