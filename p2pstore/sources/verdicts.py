"""What an answer's status and fields mean: an answer, a redirect, an error, another version. No IO."""

from __future__ import annotations

from typing import Final

from p2pstore.cache.canonical import redact
from p2pstore.cache.validators import retry_after_s
from p2pstore.errors import (
    AccessDenied,
    CallerError,
    NotFound,
    OriginBroken,
    OriginBusy,
    OriginChanged,
    OriginError,
    OriginRefused,
    P2PStoreError,
)
from p2pstore.sources.heads import Head
from p2pstore.types import ByteRange

UNCHANGING: Final = ("etag", "last-modified", "content-encoding")
"""Fields that, where both answers have them, must be equal in all answers for one representation (RFC 9110 15.3.7)."""


def error_of(head: Head, now: float) -> P2PStoreError | None:
    """The error that a status stands for; None for those that may be an answer (200, 206, 304) or a redirect."""
    status = head.status
    if status in (200, 206, 304):
        return None
    if status in (404, 410):
        return NotFound(f"the origin answered {status}: there is no such file", status=status)
    if status in (401, 403):
        hint = "give credentials with --user, --header or a netrc file" if status == 401 else ""
        return AccessDenied(f"the origin answered {status}: it does not admit us", hint=hint, status=status)
    if status in (429, 503):
        wait_s = retry_after_s(head.get("retry-after") or "", now)
        when = f" in {wait_s:g} s" if wait_s is not None else " later"
        busy = OriginBusy(f"the origin answered {status}: come back{when}", status=status)
        if wait_s is not None:
            busy.details["retry_after_s"] = wait_s
        return busy
    if 400 <= status < 500:
        return OriginRefused(f"the origin answered {status}", status=status)
    if 500 <= status < 600:
        return OriginError(f"the origin answered {status}", status=status)
    return OriginBroken(f"the origin answered {status}, which is no answer to this request", status=status)


def first_span(head: Head, wanted: ByteRange | None, if_range: str) -> tuple[ByteRange, int]:
    """Range and total of a first answer's 206; raises OriginBroken when it does not begin with what was asked for.

    So does a part of another version than `if_range` names, which an origin that ignores If-Range sends.
    """
    if wanted is None:
        raise OriginBroken("the origin sent a part (206) though no range was asked for")
    span, total = head.content_range()
    if span.start != wanted.start or span.stop > wanted.stop:
        raise OriginBroken(_other_bytes(span, wanted))
    check_part_length(head, span)
    validator = head.get("etag" if if_range.startswith('"') else "last-modified")
    if if_range and validator is not None and validator != if_range:
        raise OriginBroken("the origin sent a part of another version than If-Range named")
    return span, total


def check_part_length(head: Head, span: ByteRange) -> None:
    """A part's body must be as long as its Content-Range says; raises OriginBroken."""
    _, length = head.framing()
    if length is not None and length != len(span):
        raise OriginBroken(f"the partial answer announces {length} bytes, its Content-Range {len(span)}")


def check_range(head: Head, span: ByteRange, first: Head, total: int, now: float, redirected: bool) -> None:
    """Judge the answer to a range request against the first answer: return if its body is `span` of the same version.

    Raises OriginChanged for another version, OriginBroken for an answer that contradicts the request, else the status's
    error. A redirect's target that no longer admits us has expired, not refused: the first URL must be asked again, and
    OriginChanged says just that.
    """
    if head.status in (200, 412, 416):
        raise OriginChanged(
            f"the file changed while it was being read: the range request was answered {head.status}"
        )
    if redirected and head.status in (401, 403, 404, 410):
        raise OriginChanged(f"the redirect's target answered {head.status} while the file was being read")
    error = error_of(head, now)
    if error is not None:
        raise error
    if head.status != 206:
        raise OriginBroken(f"the range request was answered {head.status}")
    got, got_total = head.content_range()
    for name in UNCHANGING:
        old, new = first.get(name), head.get(name)
        if (old is not None and new is not None and old != new) or (
            name == "content-encoding" and new and not old
        ):
            raise OriginChanged(f"the file changed while it was being read: {name} {old!r} became {new!r}")
    if got_total != total:
        raise OriginChanged(
            f"the file changed while it was being read: its length {total} became {got_total}"
        )
    if got != span:
        raise OriginBroken(_other_bytes(got, span))
    check_part_length(head, span)


def named(error: P2PStoreError, url: str) -> P2PStoreError:
    """The same error, saying which URL it is about; the URL is redacted, and only the first one told stays."""
    if isinstance(error, (OriginError, CallerError)) and "url" not in error.details:
        shown = redact(url)
        error.message = f"{shown}: {error.message}"
        error.details["url"] = shown
    return error


def _other_bytes(got: ByteRange, wanted: ByteRange) -> str:
    return f"the origin sent bytes {got.start}-{got.stop - 1}, asked for {wanted.start}-{wanted.stop - 1}"
