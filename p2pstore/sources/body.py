"""The body of an answer that came through aiohttp: any framing, copied once into the sink's blocks.

A body with a length must be as long; a chunked one must end with its last chunk; one that ends with the connection can't be
checked and may be cut, so a digest or nothing decides about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp

from p2pstore.config import OriginConfig
from p2pstore.errors import OriginBroken, OriginRefused, OriginTimeout, P2PStoreError
from p2pstore.sources.base import Pace, Sink
from p2pstore.sources.filling import Filling
from p2pstore.sources.stall import Stall, tick_s
from p2pstore.sources.verdicts import named


class Copying:
    """Copies chunks into a filling, waiting for blocks; `end` gives the last one."""

    def __init__(self, filling: Filling) -> None:
        self._filling = filling
        self._room: memoryview | None = None
        self._used = 0

    async def write(self, data: bytes) -> None:
        """Copy `data`, as far as the filling wants it; raises the sink's error."""
        rest = memoryview(data)
        while len(rest):
            room = self._room
            if room is None:
                if self._filling.done:
                    return
                room = self._room = await self._next_room()
                self._used = 0
            size = min(len(rest), len(room) - self._used)
            room[self._used : self._used + size] = rest[:size]
            self._used += size
            rest = rest[size:]
            if self._used == len(room):
                self._room = None
                self._filling.give()

    def end(self) -> None:
        """No more comes: give what is in hand."""
        if self._room is not None:
            self._room = None
            self._filling.give(self._used)

    async def _next_room(self) -> memoryview:
        while (room := self._filling.room()) is None:
            turn = asyncio.Event()
            self._filling.sink.on_room(turn.set)
            await turn.wait()
        return room


class Watch:
    """Ends the wait for a stream's bytes when its transfer stalls; tell it what came and when we pause ourselves."""

    def __init__(self, config: OriginConfig, stream: aiohttp.StreamReader) -> None:
        self._stall = Stall(config.stall_timeout_s, config.min_rate_bytes_per_s)
        self._tick_s = tick_s(config.stall_timeout_s)
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self.received = 0
        self.paused = True
        self._stall.start(self._loop.time(), 0)
        self._timer = self._loop.call_later(self._tick_s, self._look)

    def stop(self) -> None:
        """The transfer is over."""
        self._timer.cancel()

    def _look(self) -> None:
        if self._stall.stalled(self._loop.time(), self.received, self.paused):
            self._stream.set_exception(OriginTimeout(self._stall.message))
        else:
            self._timer = self._loop.call_later(self._tick_s, self._look)


class HttpBody:
    """The body of one aiohttp response; `on_end` is called once, when its connection is no longer in use."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        url: str,
        start: int,
        length: int | None,
        config: OriginConfig,
        on_end: Callable[[], None],
    ) -> None:
        self._response = response
        self._url = url
        self._start = start
        self._length = length
        self._config = config
        self._on_end: Callable[[], None] | None = on_end

    async def read(self, limit: int) -> bytes:
        """As `Body.read`."""
        if self._length is not None and self._length > limit:
            raise named(OriginBroken(f"a body of {self._length} bytes, wanted at most {limit}"), self._url)
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks():
            size += len(part)
            if size > limit:
                raise named(OriginBroken(f"a body of more than {limit} bytes"), self._url)
            parts.append(part)
        return b"".join(parts)

    async def pour(self, sink: Sink, pace: Pace) -> int:
        """As `Body.pour`."""
        return await self.pour_into(Filling(sink, self._start, self._length), pace)

    async def pour_into(self, filling: Filling, pace: Pace) -> int:
        """Pour until the body ends or the filling wants no more; the number of bytes given."""
        copying = Copying(filling)
        watch = Watch(self._config, self._response.content)
        try:
            while not filling.done and (data := await self._next(watch)):
                if (wait_s := pace(len(data))) > 0.0:
                    await asyncio.sleep(wait_s)
                await copying.write(data)
            if not filling.done:
                self._check_end(watch.received)
            copying.end()
        except P2PStoreError as error:
            raise named(error, self._url) from error.__cause__
        finally:
            watch.stop()
            filling.drop()
            await self.aclose()
        return filling.poured

    async def chunks(self) -> AsyncIterator[bytes]:
        """As `Body.chunks`."""
        watch = Watch(self._config, self._response.content)
        try:
            while data := await self._next(watch):
                yield data
            self._check_end(watch.received)
        except P2PStoreError as error:
            raise named(error, self._url) from error.__cause__
        finally:
            watch.stop()
            await self.aclose()

    async def aclose(self) -> None:
        """As `Body.aclose`."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            self._response.release()  # which closes the connection when the body was not read to its end
            on_end()

    async def _next(self, watch: Watch) -> bytes:
        """The next bytes, empty at the end."""
        if self._on_end is None:
            raise OriginBroken("the body was given up or read before")
        watch.paused = False
        try:
            data = await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            raise OriginBroken(f"the body broke off after {watch.received} bytes: {exc}") from exc
        finally:
            watch.paused = True
        watch.received += len(data)
        if watch.received > self._config.max_object_bytes:
            raise OriginRefused(
                f"the body is longer than [origin] max_object_bytes ({watch.received} bytes so far)"
            )
        if self._length is not None and watch.received > self._length:
            raise OriginBroken(f"the origin sent more than the {self._length} bytes announced")
        return data

    def _check_end(self, received: int) -> None:
        if self._length is not None and received != self._length:
            raise OriginBroken(f"the body ended after {received} of the {self._length} bytes announced")
