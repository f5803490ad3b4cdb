"""What a request gets back: how an entry and its way here are told on the socket."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from p2pstore.cache.freshness import Judgement
from p2pstore.types import PUBLIC, Entry


@dataclass(frozen=True, slots=True)
class Way:
    """How the bytes came to this request."""

    stale: bool = False
    why: str = ""
    origin_bytes: int = 0
    seconds: float = 0.0
    warnings: Collection[str] = ()


def result(entry: Entry, way: Way, judgement: Judgement, path: str, *, fd: bool) -> dict[str, Any]:
    """The result map of `get`; `bytes` sum to `size`."""
    return {
        "url": entry.url,
        "key": entry.key,
        "ver": entry.ver,
        "root": entry.root,
        "size": entry.size_bytes,
        "path": path,
        "private": entry.scope != PUBLIC,
        "stale": way.stale,
        "why": way.why or judgement.why,
        "age_s": round(judgement.age_s, 3),
        "verified": entry.verified,
        "seconds": round(way.seconds, 6),
        "bytes": {"cache": entry.size_bytes - way.origin_bytes, "peers": 0, "origin": way.origin_bytes},
        "digests": entry.digests,
        "warnings": list(way.warnings),
        "content_type": entry.header("content-type") or "",
        "fd": fd,
    }


def described(entry: Entry, judgement: Judgement | None) -> dict[str, Any]:
    """What `stat` says of an entry that is there."""
    fresh = judgement is not None and not judgement.stale
    return {
        "url": entry.url,
        "key": entry.key,
        "ver": entry.ver,
        "root": entry.root,
        "size": entry.size_bytes,
        "piece_bytes": entry.piece_bytes,
        "private": entry.scope != PUBLIC,
        "verified": entry.verified,
        "durable": entry.durable,
        "digests": entry.digests,
        "stored_at": entry.stored_at,
        "fresh": fresh or entry.is_put,
        "stale": not fresh and not entry.is_put,
        "age_s": round(judgement.age_s, 3) if judgement is not None else 0.0,
        "lifetime_s": judgement.lifetime_s if judgement is not None and not entry.is_put else None,
        "why": judgement.why if judgement is not None else "a stored result stays as it is",
        "headers": [list(pair) for pair in entry.headers],
    }
