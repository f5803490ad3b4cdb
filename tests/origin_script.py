"""What the toy origin answers: a pure function of what a test scripted and what a client asked. No IO here.

The rules for validators and ranges are those of RFC 9110 sections 13 and 14; a `Behaviour` says where to
break them.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate, parsedate_to_datetime
from typing import Final, Literal

LONG_AGO: Final = 1_600_000_000.0
"""Last-Modified of what is served unless a test says otherwise: old enough to be a strong validator."""
ENDLESS_BYTES: Final = 1 << 50
"""The Content-Length that an endless body with a length announces."""
UNSET: Final = "unset"
"""Stands for *make the validator from the content*; None means *send none*."""
REASONS: Final = {200: "OK", 206: "Partial Content", 304: "Not Modified", 404: "Not Found"}
"""Reason phrases; nobody may read them (RFC 9112 section 4), so the others go without."""

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one path differs from a good static file server; the default differs in nothing.

    The *faults* are `hang_up`, `silent`, `close_after`, `stall_after`, `lie_bytes` and `raw`. They strike
    every request of the path, or only the first `faults` of them, after which it is healthy. Counts of bytes
    are of the body, as sent.
    """

    ranges: bool = True
    """False: Range is ignored and Accept-Ranges not sent."""
    framing: Literal["length", "close", "chunked"] = "length"
    """Content-Length, or none and the end of the connection is the end of the body, or chunks of 16 KiB."""
    gzip: Literal["never", "asked", "always"] = "never"
    """When the body goes out compressed: another representation with its own ETag."""
    status: int | None = None
    """Answer this with the body, whatever was asked."""
    fail_times: int = 0
    """The first requests that are answered with `fail_status`; -1: all."""
    fail_status: int = 503
    retry_after: str | None = None
    """Retry-After of those answers."""
    redirect: str | None = None
    """The Location of a redirect, as given; a path that names itself is a loop."""
    redirect_status: int = 302
    auth: str | None = None
    """The Authorization value that is required, for example `basic("me", "secret")`; else 401."""
    ignore_if_range: bool = False
    """Send a part though the validator in If-Range is not that of the content."""
    content_range: str | None = None
    """Overrides Content-Range; `{start}`, `{end}` (last byte) and `{total}` are filled in."""
    unsatisfiable: bool = False
    """Answer 416 to every Range."""
    lie_bytes: int = 0
    """Added to the announced Content-Length; what is sent stays, then the connection closes."""
    stall_after: int | None = None
    """After so many bytes send nothing more until `Origin.release` (or the client goes)."""
    close_after: int | None = None
    """After so many bytes close the connection."""
    silent: bool = False
    """Read the request and never answer."""
    hang_up: bool = False
    """Read the request and close the connection."""
    raw: bytes | None = None
    """Send just these bytes and close."""
    faults: int | None = None
    """How many requests meet the faults above; None: all."""
    delay_s: float = 0.0
    """Wait before the head of each answer."""
    drip_bytes: int = 0
    """Send the body so many bytes at a time (0: as fast as it goes)..."""
    drip_s: float = 0.0
    """...with this pause after each."""
    endless: bool = False
    """Repeat the body until the client goes."""
    huge_header_bytes: int = 0
    """Adds a header of that size."""

    def at_request(self, earlier: int) -> Behaviour:
        """This behaviour, without its faults when `earlier` requests have used them up."""
        if self.faults is None or earlier < self.faults:
            return self
        return replace(
            self, hang_up=False, silent=False, close_after=None, stall_after=None, lie_bytes=0, raw=None
        )


@dataclass(frozen=True, slots=True)
class Resource:
    """What is served at a path; replaced as a whole when the content changes."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    """Names keep their case."""
    etag: str | None = None
    last_modified: str | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)

    @classmethod
    def make(
        cls,
        body: bytes,
        headers: Headers = (),
        etag: str | None = UNSET,
        last_modified: str | float | None = UNSET,
        behaviour: Behaviour | None = None,
    ) -> Resource:
        """A resource with a good server's validators: strong ETag of the content, Last-Modified long ago."""
        if etag == UNSET:
            etag = '"' + hashlib.sha256(body).hexdigest()[:16] + '"'
        if last_modified == UNSET:
            last_modified = LONG_AGO
        if isinstance(last_modified, float | int):
            last_modified = formatdate(last_modified, usegmt=True)
        pairs = tuple(headers.items() if isinstance(headers, Mapping) else headers)
        return cls(body, pairs, etag, last_modified, behaviour or Behaviour())

    def compressed(self) -> Resource:
        """The same content as a gzip representation."""
        etag = self.etag[:-1] + '-gzip"' if self.etag else None
        headers = (*self.headers, ("Content-Encoding", "gzip"))
        return Resource(gzip.compress(self.body, mtime=0), headers, etag, self.last_modified, self.behaviour)


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: head and the bytes of its body (Content-Length is the shell's to add)."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | memoryview = b""


def answer(
    resource: Resource | None, method: str, headers: Mapping[str, str], earlier: int, now: float
) -> Answer:
    """The answer to a request (header names in lower case); `earlier` counts the path's requests before."""
    if resource is None:
        return Answer(404, body=b"no such path\n")
    if method not in ("GET", "HEAD"):
        return Answer(405, (("Allow", "GET, HEAD"),))
    how = resource.behaviour
    if how.fail_times < 0 or earlier < how.fail_times:
        extra = (("Retry-After", how.retry_after),) if how.retry_after is not None else ()
        return Answer(how.fail_status, extra, b"not now\n")
    if how.auth is not None and headers.get("authorization") != how.auth:
        return Answer(401, (("WWW-Authenticate", how.auth.split(" ")[0] + ' realm="toy"'),), b"who?\n")
    if how.redirect is not None:
        return Answer(how.redirect_status, (("Location", how.redirect), *resource.headers))
    if how.gzip == "always" or (how.gzip == "asked" and "gzip" in headers.get("accept-encoding", "")):
        resource = resource.compressed()
    return _represent(resource, headers, now)


def _represent(resource: Resource, asked: Mapping[str, str], now: float) -> Answer:
    how = resource.behaviour
    sent = _head(resource, now)
    if how.status is not None:
        return Answer(how.status, sent, resource.body)
    if _not_modified(resource, asked):
        return Answer(304, sent)
    if "range" not in asked or not how.ranges or not _if_range_holds(resource, asked):
        return Answer(200, sent, resource.body)
    total = len(resource.body)
    span = parse_range(asked["range"], total)
    if span is None:
        return Answer(200, sent, resource.body)
    start, stop = span
    if start >= stop or how.unsatisfiable:
        return Answer(416, (*sent, ("Content-Range", f"bytes */{total}")), b"no such range\n")
    template = how.content_range or "bytes {start}-{end}/{total}"
    content_range = ("Content-Range", template.format(start=start, end=stop - 1, total=total))
    return Answer(206, (*sent, content_range), memoryview(resource.body)[start:stop])


def _head(resource: Resource, now: float) -> tuple[tuple[str, str], ...]:
    how = resource.behaviour
    made = [("Date", formatdate(now, usegmt=True)), ("Content-Type", "application/octet-stream")]
    if resource.etag:
        made.append(("ETag", resource.etag))
    if isinstance(resource.last_modified, str):
        made.append(("Last-Modified", resource.last_modified))
    if how.ranges:
        made.append(("Accept-Ranges", "bytes"))
    if how.gzip == "asked":
        made.append(("Vary", "Accept-Encoding"))
    if how.huge_header_bytes:
        made.append(("X-Huge", "x" * how.huge_header_bytes))
    own = {name.lower() for name, _ in resource.headers}
    return (*(pair for pair in made if pair[0].lower() not in own), *resource.headers)


def _not_modified(resource: Resource, asked: Mapping[str, str]) -> bool:
    if (wanted := asked.get("if-none-match")) is not None:  # RFC 9110 13.1.2: weak comparison, and it wins
        tags = {tag.strip().removeprefix("W/") for tag in wanted.split(",")}
        return resource.etag is not None and ("*" in tags or resource.etag.removeprefix("W/") in tags)
    since = asked.get("if-modified-since")
    if since is None or resource.last_modified is None:
        return False
    return parsedate_to_datetime(resource.last_modified) <= parsedate_to_datetime(since)


def _if_range_holds(resource: Resource, asked: Mapping[str, str]) -> bool:
    wanted = asked.get("if-range")
    if wanted is None or resource.behaviour.ignore_if_range:
        return True
    if wanted.startswith(('"', "W/")):  # RFC 9110 13.1.5: strong comparison
        return wanted == resource.etag and not wanted.startswith("W/")
    return wanted == resource.last_modified


def parse_range(text: str, total: int) -> tuple[int, int] | None:
    """Start and stop of a single byte range, cut to the content; None when to be ignored (RFC 9110 14.2)."""
    unit, _, spec = text.partition("=")
    first, mark, last = spec.strip().partition("-")
    digits = first + last
    if unit.strip() != "bytes" or not mark or not (digits.isascii() and digits.isdigit()):
        return None
    if not first:
        return max(0, total - int(last)), total
    if last and int(last) < int(first):
        return None
    return int(first), min(total, int(last) + 1) if last else total
