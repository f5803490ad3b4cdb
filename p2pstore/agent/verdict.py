"""What the head of an answer says of the bytes to come: whose they are, which version, whether they may be kept. No IO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from p2pstore.agent.asks import Request
from p2pstore.cache import freshness
from p2pstore.cache.digests import Announced, announced
from p2pstore.cache.keys import key_of, scope_of, version_of
from p2pstore.sources.base import Answer
from p2pstore.storage.resumable import PartialInfo
from p2pstore.types import PUBLIC, Draft

Headers: TypeAlias = tuple[tuple[str, str], ...]

_NOT_KEPT: Final = frozenset(
    "set-cookie set-cookie2 authentication-info proxy-authentication-info www-authenticate proxy-authenticate "
    "content-range content-length connection keep-alive transfer-encoding".split()
)


@dataclass(frozen=True, slots=True)
class Found:
    """What is known before the first byte."""

    draft: Draft
    announced: list[Announced]
    keep: bool
    """False: the origin forbids storing it (no-store)."""
    only_uid: int | None
    """The answer is for the uid that asked, and nobody else."""
    why: str


def appraise(request: Request, answer: Answer, part: PartialInfo | None = None) -> Found:
    """What an answer brings for a request; with `part`, a 304 that says that this unfinished object is still right."""
    private = None if request.private else freshness.response_is_private(answer.headers)
    status = 200 if part is not None else answer.status
    scope = scope_of(request.caller.uid) if private is not None else request.scope
    keep, why = freshness.storable(status, answer.headers, shared=scope == PUBLIC)
    if not keep and scope == PUBLIC:
        scope = scope_of(request.caller.uid)
    key = key_of(request.url.text, scope)
    validator, total = (part.validator, part.length) if part is not None else (answer.validator, answer.total)
    resumable = part is not None or answer.span is not None
    modified = next((value for name, value in answer.headers if name == "last-modified"), None)
    draft = Draft(
        key=key,
        url=request.url.text,
        scope=scope,
        ver=part.ver if part is not None else version_of(key, validator, modified, total),
        headers=keepable(answer.headers),
        vary=freshness.vary_key(answer.headers, request.headers),
        request_at=answer.request_at,
        response_at=answer.response_at,
        owner_uid=-1 if scope == PUBLIC else request.caller.uid,
        validator=(validator or "") if keep and resumable else "",
    )
    only_uid = request.caller.uid if scope != request.scope else None
    return Found(draft, announced_of(answer), keep, only_uid, private or why)


def keepable(headers: Headers) -> Headers:
    """The fields to keep: nothing that speaks for the one who asked, nor of the one part or message that came."""
    return tuple(pair for pair in headers if pair[0] not in _NOT_KEPT)


def announced_of(answer: Answer) -> list[Announced]:
    """The digests that an answer announces of the whole file; a part that is all of it carries digests of all of it."""
    whole = answer.span is None or len(answer.span) == answer.total
    return announced(answer.headers, urlsplit(answer.url).hostname or "", whole=whole)
