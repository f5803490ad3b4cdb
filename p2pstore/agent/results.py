"""Files that jobs bring: results (`put:NAME`), and local files named by a `file:` URL.

The agent opens no path that a job names. The job opens the file as itself and passes the descriptor.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from p2pstore.agent.asks import Request
from p2pstore.agent.handout import Way
from p2pstore.agent.session import Push, Reply, Session
from p2pstore.cache.keys import check_put_name, put_key, version_of
from p2pstore.errors import AccessDenied, BadRequest, IntegrityError, NotCached, NotFound, OriginChanged
from p2pstore.types import PUBLIC, Caller, Draft, Key

if TYPE_CHECKING:
    from p2pstore.agent.agent import Agent


class Results:
    """The verb `put`, and `get` of `file:` URLs."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def put(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        """Store the bytes behind a descriptor under a name; answered when they are on disk to stay."""
        agent, started = self._agent, self._agent.clock()
        try:
            name = check_put_name(args["name"])
            found = _regular(fd, f"put:{name}")
            now = agent.wall()
            key = put_key(name)
            if args.get("replace"):
                await self._must_own(session.caller, key)
            draft = Draft(
                key=key,
                url=f"put:{name}",
                scope=PUBLIC,
                ver=version_of(key, f"{now!r}-{found.st_ino}", None, found.st_size),
                request_at=now,
                response_at=now,
                owner_uid=session.caller.uid,
            )
            entry = await agent.store.import_put(draft, fd, replace=bool(args.get("replace")))
        finally:
            _close(fd)
        agent.stats.puts += 1
        agent.bus.emit("ready", url=entry.url, key=entry.key, size=entry.size_bytes, root=entry.root)
        return Reply(
            {
                "name": name,
                "key": entry.key,
                "ver": entry.ver,
                "root": entry.root,
                "size": entry.size_bytes,
                "durable": 1,
                "seconds": round(agent.clock() - started, 6),
            }
        )

    async def missing(self, request: Request) -> IntegrityError | NotFound:
        """Why there is no such result: it was damaged, which its owner must hear of, or it was never stored."""
        where = await self._agent.store.damaged(request.key)
        if where is None:
            return NotFound(f"no result is stored under {request.url.text}", hint="p2pstore ls put:")
        lies = f"; the damaged file is {where}" if where else ""
        return IntegrityError(
            f"{request.url.text} was damaged on this disk and put aside{lies}",
            hint="make it again and put it",
        )

    async def file(self, request: Request, fd: int, started: float) -> Reply:
        """A local file through the cache: copied when it is new or changed, private to the uid that opened it."""
        agent = self._agent
        try:
            entry, judgement = await agent.find(request)
            if fd < 0 and not request.wish.offline:
                raise BadRequest(f"{request.url.text}: the client must open the file and pass its descriptor")
            found = _regular(fd, request.url.text) if fd >= 0 else None
            validator = _identity(found) if found is not None else ""
            copied = 0
            if entry is None or (found is not None and entry.header("etag") != validator):
                if found is None:
                    raise NotCached(
                        f"{request.url.text} is not in the cache", hint="get it without --offline"
                    )
                entry = await agent.store.import_file(self._draft(request, validator, found), fd)
                if _identity(os.fstat(fd)) != validator:
                    await agent.store.remove(entry.key, entry.ver)
                    raise OriginChanged(
                        f"{request.url.text} changed while it was copied", hint="get it again"
                    )
                copied = entry.size_bytes
        finally:
            _close(fd)
        entry = await agent.must_agree(request, entry)
        judgement = agent.judge(entry, request.wish)
        way = Way(False, "the file's own inode, time and length", copied, warnings=request.warnings)
        return agent.hand(request, entry, way, judgement, started)

    async def _must_own(self, caller: Caller, key: Key) -> None:
        entry = await self._agent.store.lookup(key)
        if entry is not None and not self._agent.inventory.may_remove(caller, entry):
            raise AccessDenied(f"{entry.url} is not yours to replace", hint="store it under another name")

    def _draft(self, request: Request, validator: str, found: os.stat_result) -> Draft:
        now = self._agent.wall()
        return Draft(
            key=request.key,
            url=request.url.text,
            scope=request.scope,
            ver=version_of(request.key, validator, None, found.st_size),
            headers=(("etag", validator),),
            request_at=now,
            response_at=now,
            owner_uid=request.caller.uid,
        )


def _regular(fd: int, name: str) -> os.stat_result:
    if fd < 0:
        raise BadRequest(f"{name}: no descriptor came with the request")
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise BadRequest(
            f"{name}: the descriptor is not one of a regular file", hint="copy it to a file first"
        )
    return found


def _identity(found: os.stat_result) -> str:
    """What stays as it is while the file does, as a strong validator."""
    return f'"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"'


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
