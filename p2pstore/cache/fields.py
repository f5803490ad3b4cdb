"""Header fields as HTTP means them: values, dates, seconds, entity tags. Pure; a value that can't be read is None, never an error.

Headers are (lower-case name, value) pairs in order of arrival.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

Headers = Iterable[tuple[str, str]]

MAX_DELTA_S: Final = 1 << 31
"""Larger numbers of seconds count as this many (RFC 9111 1.2.2)."""

# RFC 9110 5.6.7: IMF-fixdate and RFC 850 in one pattern (with the dashes and zones seen in practice), and asctime.
_DATE: Final = re.compile(
    r"(?:[A-Za-z]{3,9}, ?)?(\d{1,2})[ -]([A-Za-z]{3})[ -](\d{4}|\d{2}) (\d\d):(\d\d):(\d\d) (?:GMT|UTC|[+-]0000)\Z",
    re.ASCII,
)
_ASCTIME: Final = re.compile(r"[A-Za-z]{3} ([A-Za-z]{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4})\Z", re.ASCII)
_MONTHS: Final = {
    name: number
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)
}
_DELTA: Final = re.compile(r"[0-9]+\Z")
_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*)"\Z')


class EntityTag(NamedTuple):
    """An ETag (RFC 9110 8.8.3)."""

    weak: bool
    opaque: str
    """What stands between the quotes."""

    def __str__(self) -> str:
        return f'{"W/" if self.weak else ""}"{self.opaque}"'


def values_of(headers: Headers, name: str) -> list[str]:
    """All values of a field, line by line; `name` in lower case."""
    return [value for field, value in headers if field == name]


def joined(headers: Headers, name: str) -> str | None:
    """All lines of a field as one list (RFC 9110 5.3), or None when there is none."""
    values = values_of(headers, name)
    return ", ".join(values) if values else None


def members(headers: Headers, name: str) -> list[str]:
    """The members of a field that is a plain list of tokens, in lower case; empty ones do not count (RFC 9110 5.6.1)."""
    parts = ",".join(values_of(headers, name)).lower().split(",")
    return [member for part in parts if (member := part.strip(" \t"))]


def delta_s(text: str) -> int | None:
    """Delta-seconds (RFC 9111 1.2.2): a non-negative integer, at most MAX_DELTA_S."""
    if not _DELTA.match(text):
        return None
    digits = text.lstrip("0")
    return min(int(digits or 0), MAX_DELTA_S) if len(digits) <= 10 else MAX_DELTA_S


def http_date(text: str, near: float) -> float | None:
    """Seconds since 1970 of an HTTP date (RFC 9110 5.6.7). `near` decides the century of a two-digit year."""
    text = text.strip(" \t")
    if found := _DATE.match(text):
        day, month, year, *clock = found.groups()
    elif found := _ASCTIME.match(text):
        month, day, *clock, year = found.groups()
    else:
        return None
    hour, minute, second = (int(number) for number in clock)
    try:
        full_year = _full_year(int(year), near) if len(year) == 2 else int(year)
        # A leap second is the one before it; datetime knows none.
        when = datetime(
            full_year, _MONTHS[month.lower()], int(day), hour, minute, min(second, 59), tzinfo=UTC
        )
    except (ValueError, KeyError):
        return None
    return when.timestamp() if second <= 60 else None


def date_of(headers: Headers, name: str, near: float) -> float | None:
    """A field that holds one date; None when it is absent, invalid, or there several times with different values."""
    values = set(values_of(headers, name))
    return http_date(values.pop(), near) if len(values) == 1 else None


def entity_tag(headers: Headers) -> EntityTag | None:
    """The response's ETag; None when it is absent, not quoted, or there several times with different values."""
    values = {value.strip(" \t") for value in values_of(headers, "etag")}
    found = _ENTITY_TAG.match(values.pop()) if len(values) == 1 else None
    return EntityTag(found[1] is not None, found[2]) if found else None


def _full_year(two_digits: int, near: float) -> int:
    """RFC 9110 5.6.7: a two-digit year that seems more than 50 years ahead is in the past."""
    now = datetime.fromtimestamp(min(max(near, 0.0), 4e9), UTC).year
    year = now - now % 100 + two_digits
    return year - 100 if year > now + 50 else year
