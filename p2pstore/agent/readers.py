"""Files that are read while they download: a read waits for its own bytes only, and moves them to the front.

The reader has a descriptor of the growing file, in which holes read as zeros; so it asks `ready` before each read. The
descriptor stays good when the file is complete and when it is evicted.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from p2pstore.agent.asks import Request, is_variant
from p2pstore.agent.handout import Way, result
from p2pstore.agent.loads import Load, Waiter
from p2pstore.agent.session import MAX_READERS_PER_SESSION, Push, Reply, Session
from p2pstore.cache.freshness import Answer, Judgement
from p2pstore.errors import BadRequest, CacheUnusable, DeadlineExceeded, NoSpace, OriginChanged, Overloaded
from p2pstore.storage.partial import Partial
from p2pstore.types import ByteRange, Entry, Root

if TYPE_CHECKING:
    from p2pstore.agent.agent import Agent


_NO_ROOT = Root("")
_JUST_NOW = Judgement(
    answer=Answer.FRESH, age_s=0.0, lifetime_s=0.0, stale=False, stale_on_error_s=0.0, why="being downloaded"
)


@dataclass(slots=True, eq=False)
class Reader:
    """One open file of one connection; as long as it is open it waits for the load."""

    number: int
    load: Load
    waiter: Waiter
    file: int
    """Which of the load's growing files its descriptor is of."""


class Readers:
    """The verbs `open`, `ready` and `close`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._next = 1

    async def open(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """Open a URL for reading: a complete file as `get` would, else the growing one as soon as it has a place.

        With a digest of the caller's the file is handed out only when all of it is there and agrees.
        """
        request = self._agent.asks.read_with(args, session.caller, fd)
        if request.url.scheme != "file":
            fd = -1
        if request.digests or request.url.scheme in ("file", "put") or await self._is_there(request):
            return await self._complete(session, args, push, fd)
        if len(session.readers) >= MAX_READERS_PER_SESSION:
            raise Overloaded(
                f"{MAX_READERS_PER_SESSION} files are open on this connection", hint="close some"
            )
        return await self._growing_or_ended(session, request) or await self._complete(session, args, push, fd)

    async def _growing_or_ended(self, session: Session, request: Request) -> Reply | None:
        """The file as soon as it has a place, or is there already; None when that is not this caller's to see yet."""
        started = self._agent.clock()
        loads = self._agent.loads
        load, waiter, new = loads.join(loads.key_for(request), request, None)
        stays = False
        try:
            await self._begun(load, request)
            if not new and request.caller.uid != load.request.caller.uid:
                return None  # whose it is shows only at the end
            if load.future.done():
                return self._ended(request, load, started)
            partial = load.partial
            if partial is None or not is_variant(partial.draft, request):
                return None
            try:
                fd = partial.fd()
            except CacheUnusable:
                return None  # between two tries, or published just now
            stays = True
            reader = Reader(self._next, load, waiter, load.file)
            self._next += 1
            session.readers[reader.number] = reader
            return Reply(self._growing(request, reader, partial), fd)
        finally:
            if not stays:
                loads.leave(load, waiter)

    async def _begun(self, load: Load, request: Request) -> None:
        """Until the bytes have a place, or the load ended."""
        try:
            async with asyncio.timeout(request.deadline_s):
                await _either(load)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{request.url.text}: nothing came ({load.state})",
                hint="give it more time",
                url=request.url.text,
            ) from None

    async def ready(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """Wait until bytes `start` to `stop`, or those up to the end of the file, are on disk."""
        reader = session.readers.get(args["reader"])
        if reader is None:
            raise BadRequest(f"no open file {args['reader']} on this connection", hint="open the URL again")
        load, start, stop = reader.load, int(args["start"]), int(args["stop"])
        deadline_s = float(args.get("deadline_s") or self._agent.config.jobs.wait_timeout_s)
        try:
            async with asyncio.timeout(deadline_s):
                while not load.future.done() and load.file == reader.file:
                    if load.has(ByteRange(start, max(stop, start + 1))):
                        return Reply({"size": load.progress.total, "complete": False})
                    await load.until_there(ByteRange(start, max(stop, start + 1)))
        except TimeoutError:
            raise DeadlineExceeded(
                f"{load.request.url.text}: bytes {start} to {stop} not there after {deadline_s:g} s ({load.state})",
                hint="give it more time",
            ) from None
        return Reply(self._end(reader))

    async def close(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """Forget an open file; the last one to go stops the download."""
        reader = session.readers.pop(args["reader"], None)
        if reader is not None:
            self._agent.loads.leave(reader.load, reader.waiter)
        return Reply({})

    def forget(self, session: Session) -> None:
        """The connection is gone, and what it had open."""
        session.closed = True
        while session.readers:
            _, reader = session.readers.popitem()
            self._agent.loads.leave(reader.load, reader.waiter)

    def _end(self, reader: Reader) -> dict[str, Any]:
        load = reader.load
        outcome = load.future.result() if load.future.done() else None
        if outcome is None or outcome.file != reader.file:
            raise OriginChanged(f"{load.request.url.text} changed while it was read", hint="open it again")
        return {"size": outcome.entry.size_bytes, "complete": True}

    async def _is_there(self, request: Request) -> bool:
        # A copy past its lifetime too: asking whether it still holds is quicker than downloading it.
        entry, _ = await self._agent.find(request)
        return entry is not None or request.wish.offline

    def _ended(self, request: Request, load: Load, started: float) -> Reply | None:
        """What a load brought that is through already, kept or not; None when there is another way to it."""
        if isinstance(load.future.exception(), NoSpace | CacheUnusable):
            return None
        outcome = load.future.result()
        if not is_variant(outcome.entry, request):
            return None
        reply = self._agent.hand_outcome(request, outcome, started)
        assert isinstance(reply.body, dict)
        return Reply({**reply.body, "reader": 0, "complete": True}, reply.fd)

    async def _complete(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        reply = await self._agent.get(session, {**args, "want": "fd"}, push, fd)
        assert isinstance(reply.body, dict)
        return Reply({**reply.body, "reader": 0, "complete": True}, reply.fd)

    def _growing(self, request: Request, reader: Reader, partial: Partial) -> dict[str, Any]:
        draft, total = partial.draft, reader.load.progress.total
        entry = Entry(
            key=draft.key,
            url=draft.url,
            scope=draft.scope,
            ver=draft.ver,
            root=_NO_ROOT,
            size_bytes=total or 0,
            piece_bytes=partial.piece_bytes,
            headers=draft.headers,
        )
        way = Way(False, "being downloaded", total or 0, warnings=request.warnings)
        fields = result(entry, way, _JUST_NOW, "", fd=True)
        return {**fields, "size": total, "reader": reader.number, "complete": False}


async def _either(load: Load) -> None:
    """Until the bytes have a place, or the load ended."""
    begun = asyncio.ensure_future(load.begun.wait())
    try:
        waited: list[asyncio.Future[Any]] = [begun, load.future]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    finally:
        begun.cancel()
