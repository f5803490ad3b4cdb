"""What is here: `stat`, `ls`, `rm`, `check`, `status`. Callers see public entries and their own."""

from __future__ import annotations

import grp
import os
from collections.abc import AsyncIterator
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from p2pstore import __version__
from p2pstore.agent.handout import described
from p2pstore.agent.session import Push, Reply, Session
from p2pstore.cache.keys import put_key, redact
from p2pstore.errors import AccessDenied, BadRequest, NotCached, NotFound
from p2pstore.trust.ownership import may_remove, may_see
from p2pstore.types import Caller, Entry, Key, Version

if TYPE_CHECKING:
    from p2pstore.agent.agent import Agent

PAGE: Final = 500
"""Entries read from the index at a time."""
TOLD_EVERY: Final = 100
"""`check` tells of every bad object, and of each hundredth good one."""


class Inventory:
    """The verbs that look at entries and take them away."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._started_at = agent.clock()

    async def stat(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """What is known of a URL or a stored name here, without asking the origin."""
        agent = self._agent
        if "name" in args:
            entry = await agent.store.lookup(put_key(args["name"]))
            keys: tuple[Key, ...] = (put_key(args["name"]),)
            url = f"put:{args['name']}"
        else:
            request = agent.asks.read(args, session.caller)
            entry, _ = await agent.find(request)
            keys, url = request.keys, request.url.text
        if "ver" in args:
            found = [await agent.store.lookup_version(key, Version(args["ver"])) for key in keys]
            entry = next((one for one in found if one is not None), None)
        load = agent.loads.find((keys[0], None))
        loading = (
            {
                "bytes": load.progress.cached_bytes + load.progress.received_bytes,
                "total": load.progress.total,
            }
            if load is not None
            else None
        )
        if entry is None:
            return Reply({"url": url, "key": keys[0], "cached": False, "complete": False, "loading": loading})
        judgement = agent.judge(entry)
        versions = await agent.store.versions(entry.key)
        told = described(entry, judgement)
        return Reply({"cached": True, "complete": True, "loading": loading, "versions": versions, **told})

    async def ls(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """A page of entries: those that the caller may see, in the order asked for."""
        listed, after = await self._agent.store.entries(
            prefix=args.get("prefix", ""),
            sort=args.get("sort", "url"),
            descending=bool(args.get("descending")),
            limit=int(args.get("limit", 100)),
            after=args.get("after"),
            versions=bool(args.get("versions")),
        )
        entries = [
            {
                "url": one.entry.url,
                "key": one.entry.key,
                "ver": one.entry.ver,
                "root": one.entry.root,
                "size": one.entry.size_bytes,
                "disk_bytes": one.disk_bytes,
                "last_access": one.last_access,
                "stored_at": one.entry.stored_at,
                "current": one.current,
                "private": one.entry.scope != "public",
            }
            for one in listed
            if may_see(session.caller, one.entry.owner_uid, one.entry.scope, self._agent.uid, self._admins)
        ]
        return Reply({"entries": entries, "next": after})

    async def rm(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """Remove one URL, one stored name, or everything below a prefix that is the caller's to remove."""
        removed = freed = 0
        async for entry in self._named(session, args):
            if not self.may_remove(session.caller, entry):
                if "prefix" in args:
                    continue
                raise AccessDenied(
                    f"{entry.url} is not yours to remove", hint="ask its owner or the administrator"
                )
            ver = entry.ver if args.get("prefix") is not None and not args.get("versions") else None
            count = await self._agent.store.remove(entry.key, ver)
            removed += count
            freed += entry.size_bytes if count else 0
        if not removed and "prefix" not in args:
            raise NotFound(
                f"{redact(args.get('url') or 'put:' + str(args.get('name')))} is not in the cache",
                hint="p2pstore ls",
            )
        return Reply({"removed": removed, "bytes": freed})

    async def check(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """Read objects again and compare them with their names; damaged ones are set aside."""
        subset = float(args.get("subset", 1.0))
        checked = bad = size = unreadable = 0
        damaged: set[str] = set()
        async for entry in self._all(session, args.get("prefix", "")):
            # A share of all names: the same ones each time for the same share, spread evenly because names are hashes.
            if int(entry.root[:8], 16) / 0xFFFFFFFF > subset:
                continue
            try:
                good = await self._agent.store.verify(entry)
            except NotCached:
                # It went meanwhile, or it was put aside with another entry of the same bytes.
                if entry.root in damaged:
                    checked, bad = checked + 1, bad + 1
                    push({"event": "checked", "url": entry.url, "root": entry.root, "ok": False}, -1)
                continue
            except OSError:
                unreadable += 1
                push(
                    {
                        "event": "checked",
                        "url": entry.url,
                        "root": entry.root,
                        "ok": False,
                        "why": "unreadable",
                    },
                    -1,
                )
                continue
            checked, size = checked + 1, size + entry.size_bytes
            if not good:
                bad += 1
                damaged.add(entry.root)
                await self._agent.store.quarantine(entry, "check: the bytes are not those of its name")
            if not good or checked % TOLD_EVERY == 0:
                push({"event": "checked", "url": entry.url, "root": entry.root, "ok": good}, -1)
        return Reply({"checked": checked, "bad": bad, "bytes": size, "unreadable": unreadable})

    async def status(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """The agent's own state in numbers."""
        usage = await self._agent.store.usage()
        return Reply(
            {
                "version": __version__,
                "pid": os.getpid(),
                "uid": self._agent.uid,
                "uptime_s": round(self._agent.clock() - self._started_at, 3),
                "loads": len(self._agent.loads),
                "usage": asdict(usage),
                "counters": self._agent.stats.snapshot(),
                "cache_dir": self._agent.store.directory,
            }
        )

    async def show_config(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """The configuration in force."""
        return Reply({"config": asdict(self._agent.config)})

    def may_remove(self, caller: Caller, entry: Entry) -> bool:
        """Whether the caller may remove or replace the entry."""
        return may_remove(caller, entry.owner_uid, entry.scope, self._agent.uid, self._admins)

    async def _named(self, session: Session, args: dict[str, Any]) -> AsyncIterator[Entry]:
        if "prefix" in args:
            async for entry in self._all(session, args["prefix"], versions=bool(args.get("versions"))):
                yield entry
        elif "name" in args:
            entry_or_none = await self._agent.store.lookup(put_key(args["name"]))
            if entry_or_none is not None:
                yield entry_or_none
        elif "url" in args:
            request = self._agent.asks.read(args, session.caller)
            for key in request.keys:
                found = await self._agent.store.lookup(key)
                if found is not None:
                    yield found
        else:
            raise BadRequest("rm needs url, name or prefix")

    async def _all(self, session: Session, prefix: str, *, versions: bool = False) -> AsyncIterator[Entry]:
        after: str | None = None
        while True:
            listed, after = await self._agent.store.entries(
                prefix=prefix, sort="url", limit=PAGE, after=after, versions=versions
            )
            for one in listed:
                if may_see(
                    session.caller, one.entry.owner_uid, one.entry.scope, self._agent.uid, self._admins
                ):
                    yield one.entry
            if after is None:
                return

    @cached_property
    def _admins(self) -> frozenset[int]:
        found = set()
        for name in self._agent.config.jobs.admin_groups:
            try:
                found.add(grp.getgrnam(name).gr_gid)
            except KeyError:
                continue  # a group that this machine does not have
        return frozenset(found)
