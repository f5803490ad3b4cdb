"""The body of an answer that came over a lane: in the lane's buffer already when small, else still on its way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from p2pstore.errors import OriginBroken, P2PStoreError
from p2pstore.sources.base import Pace, Sink, unpaced
from p2pstore.sources.body import Copying
from p2pstore.sources.filling import Filling, Memory
from p2pstore.sources.lane import Lane
from p2pstore.sources.pool import LanePool
from p2pstore.sources.verdicts import named

RELAY_BLOCK_BYTES: Final = 256 << 10
RELAY_BLOCKS: Final = 2


class _Relay:
    """A sink whose blocks are handed on as bytes, in order; there is room while the reader keeps up."""

    def __init__(self) -> None:
        self.block_bytes = RELAY_BLOCK_BYTES
        self.error: P2PStoreError | None = None
        self.came = asyncio.Event()
        self.ready: deque[bytes] = deque()
        self._on_room: Callable[[], None] | None = None

    def take(self) -> memoryview | None:
        return memoryview(bytearray(RELAY_BLOCK_BYTES)) if len(self.ready) < RELAY_BLOCKS else None

    def on_room(self, callback: Callable[[], None]) -> None:
        self._on_room = callback

    def give(self, offset: int, block: memoryview, size: int) -> None:
        self.ready.append(bytes(block[:size]))
        self.came.set()

    def give_back(self, block: memoryview) -> None:
        block.release()

    def pop(self) -> bytes:
        data = self.ready.popleft()
        callback, self._on_room = self._on_room, None
        if callback is not None:
            callback()
        return data


class LaneBody:
    """What `LanePool.ask` left in a lane; gives the lane back as soon as it has the bytes."""

    def __init__(self, pool: LanePool, lane: Lane, url: str, start: int) -> None:
        self._pool = pool
        self._lane: Lane | None = lane
        self._url = url
        self._start = start
        self._length = lane.length
        self._data: bytes | None = None
        if lane.held_whole:
            self._data = lane.take_held()
            self._let_go()

    async def read(self, limit: int) -> bytes:
        """As `Body.read`."""
        if self._length > limit:
            raise named(OriginBroken(f"a body of {self._length} bytes, wanted at most {limit}"), self._url)
        if self._data is not None:
            return self._data
        memory = Memory(self._length)
        await self.pour(memory, unpaced)
        return bytes(memory.data)

    async def pour(self, sink: Sink, pace: Pace) -> int:
        """As `Body.pour`."""
        filling = Filling(sink, self._start, self._length)
        try:
            if self._data is not None:
                if (wait_s := pace(self._length)) > 0.0:
                    await asyncio.sleep(wait_s)
                await Copying(filling).write(self._data)
            else:
                await self._open_lane().pour(filling, pace)
        except P2PStoreError as error:
            raise named(error, self._url) from error.__cause__
        finally:
            filling.drop()
            self._let_go()
        return self._length

    async def chunks(self) -> AsyncIterator[bytes]:
        """As `Body.chunks`."""
        if self._data is not None:
            if self._data:
                yield self._data
            return
        relay = _Relay()
        filling = Filling(relay, self._start, self._length)
        try:
            poured = self._open_lane().pour(filling, unpaced)
            poured.add_done_callback(lambda _: relay.came.set())
            while True:
                await relay.came.wait()
                relay.came.clear()
                while relay.ready:
                    yield relay.pop()
                if poured.done() and not relay.ready:
                    poured.result()
                    return
        except P2PStoreError as error:
            raise named(error, self._url) from error.__cause__
        finally:
            self._let_go()

    async def aclose(self) -> None:
        """As `Body.aclose`."""
        self._let_go()

    def _open_lane(self) -> Lane:
        if self._lane is None:
            raise OriginBroken("the body was given up or read before")
        return self._lane

    def _let_go(self) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            self._pool.give_back(lane)
