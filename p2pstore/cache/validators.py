"""Validators: asking whether a stored response is still right, and what a 304 changes (RFC 9110 8.8, RFC 9111 4.3). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pstore.cache.fields import (
    EntityTag,
    Headers,
    date_of,
    delta_s,
    entity_tag,
    http_date,
    members,
    values_of,
)

STRONG_DATE_MARGIN_S: Final = 60
"""A Last-Modified this much older than Date is strong: no second change can hide in the same second, whatever the clocks."""

_HOP_BY_HOP: Final = frozenset(
    "connection keep-alive proxy-connection te trailer transfer-encoding upgrade proxy-authenticate "
    "proxy-authentication-info proxy-authorization".split()
)
"""RFC 9111 3.1 and RFC 9110 7.6.1: these speak of one connection."""
_OF_THE_CONTENT: Final = frozenset(
    "content-length content-encoding content-type content-range content-digest content-md5".split()
)
"""RFC 9111 3.2: the stored bytes depend on them, or they describe the empty content of the 304."""
_OF_THE_MESSAGE: Final = ("date", "age")
"""These describe when the one message was made; an old value beside a new response_at would make it look old at once."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A response as it is kept: status, fields with lower-case names, and when it was asked for and came (wall clock)."""

    status: int
    headers: tuple[tuple[str, str], ...]
    request_at: float
    response_at: float


def conditional(stored: Stored) -> dict[str, str]:
    """The request fields that ask whether it is still right (RFC 9111 4.3.1); empty when it has no validator."""
    fields = {}
    tag = entity_tag(stored.headers)
    if tag is not None:
        fields["If-None-Match"] = str(tag)
    if date_of(stored.headers, "last-modified", stored.response_at) is not None:
        fields["If-Modified-Since"] = values_of(stored.headers, "last-modified")[0].strip(" \t")
    return fields


def refreshed(stored: Stored, headers_304: Headers, request_at: float, response_at: float) -> Stored:
    """The stored response with the fields of a 304 in place of its own, and that exchange's times (RFC 9111 3.2, 4.3.4)."""
    given = tuple(headers_304)
    skipped = _HOP_BY_HOP | _OF_THE_CONTENT | frozenset(members(given, "connection"))
    new = tuple((name, value) for name, value in given if name not in skipped)
    replaced = {name for name, _ in new}.union(_OF_THE_MESSAGE)
    kept = tuple((name, value) for name, value in stored.headers if name not in replaced)
    return Stored(stored.status, kept + new, request_at, response_at)


def same_representation(stored: Stored, headers_304: Headers) -> bool:
    """Whether a 304 speaks of the stored bytes (RFC 9111 4.3.4).

    A strong validator in it must be one of ours; a weak one must match ours of that kind; a 304 without validators says yes.
    """
    given = tuple(headers_304)
    mine, theirs = entity_tag(stored.headers), entity_tag(given)
    same_date = _same_last_modified(stored, given)
    if theirs is not None and not theirs.weak:
        if mine is not None:
            return mine == theirs
        return same_date is True and strong_validator(stored.headers, stored.response_at) is not None
    if theirs is not None and mine is not None:
        return mine.opaque == theirs.opaque
    return same_date is not False


def strong_validator(headers: Headers, response_at: float) -> str | None:
    """The value for If-Range (RFC 9110 13.1.5), or None: then a download can't be resumed.

    A strong ETag; without any ETag a Last-Modified that is strong because it is well older than Date (RFC 9110 8.8.2.2).
    """
    fields = tuple(headers)
    tag: EntityTag | None = entity_tag(fields)
    if tag is not None:
        return None if tag.weak else str(tag)
    changed = date_of(fields, "last-modified", response_at)
    date = date_of(fields, "date", response_at)
    if changed is None or changed > (response_at if date is None else date) - STRONG_DATE_MARGIN_S:
        return None
    return values_of(fields, "last-modified")[0].strip(" \t")


def retry_after_s(value: str, now: float) -> float | None:
    """Seconds to wait as Retry-After says, a number or a date (RFC 9110 10.2.3); None when it can't be read."""
    seconds = delta_s(value.strip(" \t"))
    if seconds is not None:
        return float(seconds)
    when = http_date(value, now)
    return None if when is None else max(when - now, 0.0)


def _same_last_modified(stored: Stored, given: Headers) -> bool | None:
    """None when not both have one."""
    mine = date_of(stored.headers, "last-modified", stored.response_at)
    theirs = date_of(given, "last-modified", stored.response_at)
    return None if mine is None or theirs is None else mine == theirs
