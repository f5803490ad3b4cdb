"""From the arguments of a request to what is wanted, under which key, and for whom.

The only place where the words of the socket, the canonical URL and the privacy of a request meet.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from p2pstore.cache.freshness import Wish, vary_key
from p2pstore.cache.keys import CanonicalUrl, canonical, check_put_name, key_of, put_key, scope_of
from p2pstore.config import Config
from p2pstore.errors import BadRequest
from p2pstore.sources.base import Ask
from p2pstore.sources.request import check_headers
from p2pstore.trust.privacy import classify_request
from p2pstore.types import CALLER_ALGORITHMS, PUBLIC, ByteRange, Caller, Digest, Draft, Entry, Key

PUT: Final = "put:"
"""The scheme of stored results."""
MAX_KNOWN_URLS: Final = 16384
"""Canonical forms kept, so that a URL asked for again is not parsed again."""
MAX_KNOWN_CHARS: Final = 512
"""Longer URLs are parsed each time."""
_TELLING: Final = frozenset("?@#")
MAX_DIGESTS: Final = 8
"""Digests that one caller may give for one file."""
WEAK_DIGEST: Final = "md5 does not protect against a forged file; give sha256 where you can"


@dataclass(frozen=True, slots=True)
class Request:
    """One caller's wish, checked."""

    caller: Caller
    url: CanonicalUrl
    key: Key
    own_key: Key
    """Where the entry lies when the answer turns out to be for this uid only."""
    scope: str
    digests: tuple[Digest, ...]
    headers: tuple[tuple[str, str], ...]
    userinfo: tuple[str, str] | None
    bearer: str
    wish: Wish
    deadline_s: float
    limit_rate: int
    progress: bool
    want: str
    warnings: tuple[str, ...]

    @property
    def private(self) -> bool:
        """Whether the request itself makes the answer private."""
        return self.scope != PUBLIC

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys under which a copy that this caller may have can lie, in order."""
        return (self.key,) if self.key == self.own_key else (self.key, self.own_key)


class Asks:
    """Reads requests; remembers canonical forms (at most MAX_KNOWN_URLS)."""

    def __init__(self, config: Config, agent_uid: int) -> None:
        self._config = config
        self._agent_uid = agent_uid
        self._known: OrderedDict[str, CanonicalUrl] = OrderedDict()

    def canonical(self, url: str, ignore_query: tuple[str, ...] = ()) -> CanonicalUrl:
        """The canonical form, also of `put:NAME`; raises BadUrl, BadRequest."""
        if url.startswith(PUT):
            name = check_put_name(url.removeprefix(PUT))
            return CanonicalUrl(PUT + name, PUT + name, None, None, "", "put", "", 0)
        if ignore_query:
            return canonical(url, ignore_query)
        found = self._known.get(url)
        if found is None:
            found = canonical(url)
            # Secrets stand in user information and queries: such URLs are parsed each time and not remembered.
            if len(url) <= MAX_KNOWN_CHARS and not _TELLING.intersection(url):
                self._known[url] = found
                if len(self._known) > MAX_KNOWN_URLS:
                    self._known.popitem(last=False)
        return found

    def read_with(self, args: Mapping[str, Any], caller: Caller, fd: int) -> Request:
        """`read`, and close the descriptor that came along unless the request is for the file behind it."""
        is_needed = False
        try:
            request = self.read(args, caller)
            is_needed = request.url.scheme == "file"
            return request
        finally:
            if fd >= 0 and not is_needed:
                os.close(fd)

    def read(self, args: Mapping[str, Any], caller: Caller) -> Request:
        """The request of these arguments; raises BadUrl, BadDigest, BadRequest."""
        url = self.canonical(args["url"], tuple(args.get("ignore_query") or ()))
        auth = args.get("auth") or {}
        userinfo = (str(auth["user"]), str(auth.get("password", ""))) if "user" in auth else url.userinfo
        bearer = str(auth.get("bearer", ""))
        headers = tuple((str(name).lower(), str(value)) for name, value in args.get("headers") or ())
        check_headers(headers)
        credential = self._credential(url, headers, userinfo, bearer)
        private = url.scheme == "file" or (credential is not None and url.scheme != "put")
        scope = scope_of(caller.uid if private else None, credential or "")
        own = scope if private else scope_of(caller.uid)
        digests = _digests(args.get("digests") or ())
        return Request(
            caller=caller,
            url=url,
            key=key_for(url, scope),
            own_key=key_for(url, own if url.scheme != "put" else scope),
            scope=scope,
            digests=digests,
            headers=headers,
            userinfo=userinfo,
            bearer=bearer,
            wish=Wish(
                refresh=bool(args.get("refresh")),
                offline=bool(args.get("offline")),
                max_age_s=args.get("max_age_s"),
            ),
            deadline_s=float(args.get("deadline_s") or self._config.jobs.wait_timeout_s),
            limit_rate=int(args.get("limit_rate") or 0),
            progress=bool(args.get("progress")),
            want=str(args.get("want") or "fd"),
            warnings=(WEAK_DIGEST,) if any(digest.algorithm == "md5" for digest in digests) else (),
        )

    def _credential(
        self,
        url: CanonicalUrl,
        headers: tuple[tuple[str, str], ...],
        userinfo: tuple[str, str] | None,
        bearer: str,
    ) -> str | None:
        shown = (*headers, ("authorization", f"Bearer {bearer}")) if bearer else headers
        asked = classify_request(
            shown,
            userinfo=userinfo,
            signer=url.signer,
            signer_credential=url.credential,
            host_is_private=url.host in self._config.origin.private_hosts,
        )
        return asked.credential if asked.private else None

    def origin_ask(
        self, request: Request, conditional: dict[str, str], first: ByteRange | None, if_range: str = ""
    ) -> Ask:
        """What to ask the origin for this request."""
        return Ask(
            url=request.url.fetch,
            headers=request.headers,
            userinfo=request.userinfo,
            bearer=request.bearer,
            own_uid=request.caller.uid == self._agent_uid,
            conditional=conditional,
            first=first,
            if_range=if_range,
        )


def is_variant(entry: Entry | Draft, request: Request) -> bool:
    """Whether the fields that chose this entry are those of the request (RFC 9111 4.1)."""
    return entry.vary == vary_key(entry.headers, request.headers)


def key_for(url: CanonicalUrl, scope: str) -> Key:
    """The key of a URL or of a stored name, which has one key only."""
    return put_key(url.text.removeprefix(PUT)) if url.scheme == "put" else key_of(url.text, scope)


def _digests(texts: Any) -> tuple[Digest, ...]:
    if len(texts) > MAX_DIGESTS:
        raise BadRequest(f"{len(texts)} digests for one file; at most {MAX_DIGESTS}")
    digests = tuple(Digest.parse(str(text)) for text in texts)
    for digest in digests:
        if digest.algorithm not in CALLER_ALGORITHMS:
            raise BadRequest(f"can't check a {digest.algorithm} digest; use {', '.join(CALLER_ALGORITHMS)}")
    return digests
