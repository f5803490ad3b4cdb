"""Pages of entries in any order, from the index alone."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from p2pstore.errors import BadRequest
from p2pstore.storage.index import DOOMED, Index
from p2pstore.types import Entry

MAX_PAGE: Final = 1000
"""Entries on one page at most."""
SORTS: Final = ("url", "size", "access", "stored")
"""What a listing can be sorted by; equal ones in order of their rows."""
_LAST: Final = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of a listing; `last_access` counts accesses and is no time, `disk_bytes` are blocks."""

    entry: Entry
    last_access: int
    disk_bytes: int
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to list; `owner` None lists everybody's, a uid its own entries and the public ones."""

    prefix: str = ""
    sort: str = "url"
    descending: bool = False
    limit: int = MAX_PAGE
    after: str | None = None
    versions: bool = False
    owner: int | None = None

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise BadRequest(f"can't sort by {self.sort!r}", hint=f"use {', '.join(SORTS)}")
        if not 1 <= self.limit <= MAX_PAGE:
            raise BadRequest(f"a page has 1 to {MAX_PAGE} entries, not {self.limit}")


def page(index: Index, query: Query) -> tuple[list[Listed], str | None]:
    """The entries of one page, and the cursor of the next one or None at the end; raises BadRequest for a bad cursor."""
    conditions, values = [f"seq != {DOOMED}"], list[Any]()
    if not query.versions:
        conditions.append("current = 1")
    if query.prefix:
        conditions.append("url >= ? AND url < ?")
        values += [query.prefix, query.prefix + _LAST]
    if query.owner is not None:
        conditions.append("(owner = -1 OR owner = ?)")
        values.append(query.owner)
    column, less = query.sort, "<" if query.descending else ">"
    if query.after is not None:
        conditions.append(f"({column}, id) {less} (?, ?)")
        values += _opened(query)
    way = "DESC" if query.descending else "ASC"
    rows = index.select(
        " AND ".join(conditions), tuple(values), order=f"{column} {way}, id {way}", limit=query.limit + 1
    )
    listed = [
        Listed(row.entry, row.access, row.object_bytes + row.extra_bytes, row.current)
        for row in rows[: query.limit]
    ]
    if len(rows) <= query.limit:
        return listed, None
    last = rows[query.limit - 1]
    by = {
        "url": last.entry.url,
        "size": last.entry.size_bytes,
        "access": last.access,
        "stored": last.entry.stored_at,
    }
    return listed, _cursor(column, by[column], last.id)


def _cursor(column: str, value: Any, number: int) -> str:
    return base64.urlsafe_b64encode(msgpack.packb([column, value, number])).decode()


def _opened(query: Query) -> tuple[Any, int]:
    try:
        fields = msgpack.unpackb(base64.urlsafe_b64decode((query.after or "").encode()))
        column, value, number = fields
        if column != query.sort or type(number) is not int or isinstance(value, list | dict):
            raise ValueError("of another listing")
    except (ValueError, TypeError, binascii.Error, msgpack.exceptions.UnpackException) as error:
        raise BadRequest(f"the cursor can't be used: {error}", hint="begin the listing anew") from error
    return value, number
