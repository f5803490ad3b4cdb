"""The head of an answer: parsed by httptools for the lane, judged by the same rules whoever parsed it. No IO.

Limits as documented in docs/reference/origins.md: a line 8 KiB, a head 64 KiB, 128 fields.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from p2pstore.errors import OriginBroken
from p2pstore.types import ByteRange

MAX_LINE_BYTES: Final = 8 << 10
MAX_HEAD_BYTES: Final = 64 << 10
MAX_FIELDS: Final = 128
BODILESS: Final = frozenset({204, 304})
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})\Z", re.IGNORECASE)
_LENGTH: Final = re.compile(r"[0-9]{1,18}\Z")


class Framing(Enum):
    """How the end of a body is told (RFC 9112 6.3)."""

    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class OddHead(Exception):
    """The lane does not read this head or body; another way has to ask again."""


class Head:
    """Status and fields, names in lower case; `keeps` says whether the connection may be used again."""

    __slots__ = ("_joined", "headers", "keeps", "status")

    def __init__(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        self.status = status
        self.headers = headers
        self.keeps = True
        joined = dict(headers)
        if len(joined) < len(headers):
            joined = {}
            for name, value in headers:
                joined[name] = f"{joined[name]}, {value}" if name in joined else value
        self._joined = joined

    def get(self, name: str) -> str | None:
        """All values of a field joined by commas (RFC 9110 5.3), or None."""
        return self._joined.get(name)

    def framing(self) -> tuple[Framing, int | None]:
        """How the body ends, and its length when that is announced; raises OriginBroken on a contradiction."""
        coding, length = self.get("transfer-encoding"), self.get("content-length")
        if self.status in BODILESS:
            return Framing.LENGTH, 0
        if coding is not None:
            if length is not None:
                raise OriginBroken("the answer has both Content-Length and Transfer-Encoding (RFC 9112 6.3)")
            if coding.strip().lower() != "chunked":
                raise OriginBroken(
                    f"the answer has Transfer-Encoding {coding[:80]!r}, which was not asked for"
                )
            return Framing.CHUNKED, None
        if length is None:
            return Framing.CLOSE, None
        if not _LENGTH.match(length):
            raise OriginBroken(f"the answer has Content-Length {length[:80]!r}, which is not one number")
        return Framing.LENGTH, int(length)

    def content_range(self) -> tuple[ByteRange, int]:
        """Range and total of a 206; raises OriginBroken when there is none or it makes no sense."""
        text = self.get("content-range")
        if text is None:
            kind = (self.get("content-type") or "").lower()
            what = "multipart/byteranges" if kind.startswith("multipart/byteranges") else "no Content-Range"
            raise OriginBroken(f"the partial answer has {what}")
        match = _CONTENT_RANGE.match(text.strip())
        if match is None:
            raise OriginBroken(f"the partial answer has Content-Range {text[:80]!r}")
        start, last, total = (int(digits) for digits in match.groups())
        if not start <= last < total:
            raise OriginBroken(
                f"the partial answer has Content-Range {text[:80]!r}, which contradicts itself"
            )
        return ByteRange(start, last + 1), total


def check_size(headers: tuple[tuple[str, str], ...]) -> None:
    """Refuse a head beyond the limits; raises OriginBroken."""
    if len(headers) > MAX_FIELDS:
        raise OriginBroken(f"the answer's head has more than {MAX_FIELDS} fields")
    total = 0
    for name, value in headers:
        size = len(name) + len(value) + 4
        total += size
        if size > MAX_LINE_BYTES:
            raise OriginBroken(f"the answer has a field of more than {MAX_LINE_BYTES} bytes")
    if total > MAX_HEAD_BYTES:
        raise OriginBroken(f"the answer's head is longer than {MAX_HEAD_BYTES} bytes")


class _Fields:
    """Collects what httptools finds; field names and values may come in pieces."""

    __slots__ = ("complete", "headers")

    def __init__(self) -> None:
        self.headers: list[tuple[str, str]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_head(data: memoryview | bytes) -> Head:
    """The head in `data`, which ends with its empty line; raises OddHead when it is not plain HTTP/1 (1xx too).

    Raises OriginBroken beyond the limits, which are the same for whoever would ask again.
    """
    found = _Fields()
    parser = HttpResponseParser(found)
    try:
        parser.feed_data(data)
        status = parser.get_status_code()
        version = parser.get_http_version()
    except (HttpParserError, HttpParserUpgrade) as exc:
        raise OddHead(str(exc)) from exc
    headers = tuple(found.headers)
    if not found.complete or status < 200:
        raise OddHead(f"status {status}")
    check_size(headers)
    head = Head(status, headers)
    head.keeps = version == "1.1" and "close" not in (head.get("connection") or "").lower()
    return head
