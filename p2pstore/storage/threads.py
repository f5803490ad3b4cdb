"""Threads at the one boundary between the loop and the disk: a lane keeps order, a pool does not.

What a lane finished while the loop was busy goes over in one wake-up, and so does what the loop asked for meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from p2pstore.errors import Overloaded

MAX_CALLS: Final = 200_000
"""Calls that wait in one lane; every one belongs to a request, and requests have their own bound below this."""
BATCH: Final = 64
"""Results carried over together at most, so that the first caller need not wait for the last."""

T = TypeVar("T")
Done = tuple["asyncio.Future[Any]", Callable[[Any], None] | None, Any, BaseException | None]


class Lane:
    """One thread that runs calls in order of arrival and gives their results back on the loop."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: SimpleQueue[
            tuple[Callable[[], Any], asyncio.Future[Any], Callable[[Any], None] | None] | None
        ] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], T], then: Callable[[T], None] | None = None) -> asyncio.Future[T]:
        """Queue a call; on the loop, `then` gets its result even if nobody waits for the future any more.

        Raises Overloaded when too many wait.
        """
        if self._calls.qsize() >= MAX_CALLS:
            raise Overloaded("too many requests wait for the disk", hint="ask again later")
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((call, future, then))
        return future

    async def close(self) -> None:
        """End the thread after what is queued."""
        self._calls.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        done: list[Done] = []
        while (item := self._calls.get()) is not None:
            call, future, then = item
            try:
                done.append((future, then, call(), None))
            # Whatever a call raises belongs to whoever waits for it; the lane goes on.
            except BaseException as error:
                done.append((future, then, None, error))
            item = call = future = then = None  # type: ignore[assignment]
            if self._calls.empty() or len(done) >= BATCH:
                _hand_over(self._loop, done)
                done = []
        if done:
            _hand_over(self._loop, done)


def _hand_over(loop: asyncio.AbstractEventLoop, done: list[Done]) -> None:
    try:
        loop.call_soon_threadsafe(_deliver, done)
    except RuntimeError:
        # The loop ended first: nobody is left to be told.
        return


def _deliver(done: list[Done]) -> None:
    for future, then, result, error in done:
        if error is None and then is not None:
            then(result)
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


class Pool:
    """A few threads for calls that take long and need no order; a call must not raise."""

    def __init__(self, name: str, size: int) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[..., None], *args: Any) -> None:
        """Queue a call. What is queued is bounded by what the callers hold: blocks of memory, or one request each."""
        self._calls.put((call, args))

    async def run(self, call: Callable[[], T]) -> T:
        """The result of a call, which may raise."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self.submit(_run, loop, future, call)
        return await future

    async def close(self) -> None:
        """End the threads after what is queued."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            call, args = item
            call(*args)
            item = call = args = None  # type: ignore[assignment]


def _run(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], call: Callable[[], Any]) -> None:
    try:
        done: Done = (future, None, call(), None)
    # It belongs to whoever waits for it, as in a lane.
    except BaseException as error:
        done = (future, None, None, error)
    _hand_over(loop, [done])
