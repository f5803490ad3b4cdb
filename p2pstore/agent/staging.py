"""Bringing files before they are asked for: `prefetch` begins, `wait` waits, nobody polls.

Prefetched URLs stand in one bounded queue that a few workers empty; a request for one of them goes past the queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from p2pstore.agent.asks import Request
from p2pstore.agent.session import Push, Reply, Session
from p2pstore.errors import DeadlineExceeded, NotCached, Overloaded, P2PStoreError
from p2pstore.types import Key

if TYPE_CHECKING:
    from p2pstore.agent.agent import Agent

logger = logging.getLogger(__name__)

MAX_QUEUED: Final = 200_000
"""URLs that wait to be prefetched; more are refused."""
MAX_FAILURES: Final = 4096
"""Prefetches that failed, remembered so that `wait` can tell why."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One URL to prefetch; `done` holds None or the error."""

    request: Request
    session: Session
    args: dict[str, Any]
    done: asyncio.Future[P2PStoreError | None] = field(repr=False)
    task: asyncio.Task[None] | None = None


class Staging:
    """The queue of what to prefetch, and who waits for it."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._queue: deque[Ticket] = deque()
        self._tickets: dict[Key, Ticket] = {}
        self._failures: OrderedDict[Key, P2PStoreError] = OrderedDict()
        self._workers: set[asyncio.Task[None]] = set()
        self._idle_since: float | None = agent.clock()

    async def prefetch(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """Begin to bring URLs; answers at once with how many are new, and how many are there already."""
        accepted = cached = 0
        common = {name: value for name, value in args.items() if name != "urls"} | {"want": "none"}
        wanted = [{**common, "url": url} for url in args["urls"]]
        # All are read before any is begun: a wrong one refuses them all.
        for one, request in [(one, self._agent.asks.read(one, session.caller)) for one in wanted]:
            entry, judgement = await self._agent.find(request)
            if entry is not None and judgement is not None and not judgement.stale:
                cached += 1
            elif request.key in self._tickets:
                accepted += 1
            else:
                self._enqueue(Ticket(request, session, one, asyncio.get_running_loop().create_future()))
                accepted += 1
        return Reply({"accepted": accepted, "cached": cached})

    async def wait(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """Wait until each URL is there or failed; each has its own outcome. It begins nothing."""
        deadline_s = float(args.get("deadline_s") or self._agent.config.jobs.wait_timeout_s)
        results: list[dict[str, Any]] = []
        give_up_at = self._agent.clock() + deadline_s
        for url in args["urls"]:
            try:
                await self._until_there(session, url, args, push, give_up_at)
                results.append({"url": url, "ok": True})
            except P2PStoreError as error:
                results.append({"url": url, "ok": False, "error": error.to_wire()})
            if args.get("progress"):
                push(
                    {"event": "waited", "bytes": len(results), "total": len(args["urls"]), **results[-1]}, -1
                )
        return Reply({"results": results})

    async def cancel_url(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """Take back a prefetch of this uid; whoever else waits for the same URL is not touched."""
        request = self._agent.asks.read(args, session.caller)
        ticket = self._tickets.get(request.key)
        if ticket is None or session.caller.uid not in (ticket.request.caller.uid, self._agent.uid):
            return Reply({"cancelled": False})
        self._finish(
            ticket, NotCached(f"the prefetch of {request.url.text} was cancelled", hint="prefetch it again")
        )
        if ticket.task is not None:
            ticket.task.cancel()
        return Reply({"cancelled": True})

    def idle_since(self) -> float | None:
        """Since when nothing is queued, prefetched or loaded; None while something is."""
        if self._tickets or len(self._agent.loads):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._agent.clock()
        return self._idle_since

    async def aclose(self) -> None:
        """Stop the workers; what is queued is forgotten, what has come stays."""
        self._queue.clear()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def _enqueue(self, ticket: Ticket) -> None:
        if len(self._tickets) >= MAX_QUEUED:
            raise Overloaded(
                f"{MAX_QUEUED} URLs wait to be prefetched already", hint="wait for some, then go on"
            )
        request = ticket.request
        self._tickets[request.key] = ticket
        self._failures.pop(request.key, None)
        self._queue.append(ticket)
        self._agent.bus.emit("queued", url=request.url.text, key=request.key, scope=request.scope)
        if len(self._workers) < self._agent.config.jobs.max_loads:
            worker = asyncio.create_task(self._work(), name="prefetch")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        while self._queue:
            ticket = self._queue.popleft()
            if ticket.done.done():
                continue
            ticket.task = asyncio.create_task(self._bring(ticket), name=f"prefetch {ticket.request.url.text}")
            try:
                await asyncio.wait([ticket.task])
            finally:
                ticket.task.cancel()

    async def _bring(self, ticket: Ticket) -> None:
        error: P2PStoreError | None = None
        try:
            await self._agent.get(ticket.session, ticket.args, _unheard)
        except P2PStoreError as failure:
            error = failure
        except Exception:
            logger.exception("prefetch failed by a defect url=%s", ticket.request.url.text)
            raise
        finally:
            self._finish(ticket, error)

    def _finish(self, ticket: Ticket, error: P2PStoreError | None) -> None:
        key = ticket.request.key
        if self._tickets.get(key) is ticket:
            del self._tickets[key]
        if error is not None:
            self._failures[key] = error
            if len(self._failures) > MAX_FAILURES:
                self._failures.popitem(last=False)
        if not ticket.done.done():
            ticket.done.set_result(error)

    async def _until_there(
        self, session: Session, url: str, args: dict[str, Any], push: Push, give_up_at: float
    ) -> None:
        request = self._agent.asks.read({**args, "url": url, "progress": False}, session.caller)
        failure: BaseException | None = None
        left_s = give_up_at - self._agent.clock()
        try:
            async with asyncio.timeout(max(left_s, 0.0)):
                ticket = self._tickets.get(request.key)
                if ticket is not None:
                    error = await asyncio.shield(ticket.done)
                    if error is not None:
                        raise error
                load = self._agent.loads.find(self._agent.loads.key_for(request))
                if load is not None:
                    await asyncio.wait([load.future])
                    failure = load.future.exception()
                entry, _ = await self._agent.find(request)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{request.url.text}: not there yet", hint="wait again, the download goes on"
            ) from None
        if entry is None:
            if isinstance(failure, P2PStoreError):
                raise failure
            raise self._failures.get(request.key) or NotCached(
                f"{request.url.text} is not in the cache and nothing brings it",
                hint=f"p2pstore prefetch {request.url.text}",
                url=request.url.text,
            )


def _unheard(event: dict[str, Any], fd: int) -> None:
    """Nobody hears of a prefetch's progress but through `events`."""
