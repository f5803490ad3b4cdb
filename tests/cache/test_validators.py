"""Validators (RFC 9110 8.8, 13.1) and what a 304 does (RFC 9111 3.2, 4.3)."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from p2pstore.cache.validators import (
    STRONG_DATE_MARGIN_S,
    Stored,
    conditional,
    refreshed,
    retry_after_s,
    same_representation,
    strong_validator,
)

T0 = 1_767_225_600.0
"""2026-01-01."""


def at(offset_s: float = 0.0) -> str:
    return formatdate(T0 + offset_s, usegmt=True)


def stored(**headers: str) -> Stored:
    return Stored(200, fields(**headers), T0, T0)


def fields(**headers: str) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", "-"), value) for name, value in headers.items())


# RFC 9111 4.3.1
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, {}),
        ({"etag": '"a"'}, {"If-None-Match": '"a"'}),
        ({"etag": 'W/"a"'}, {"If-None-Match": 'W/"a"'}),
        ({"etag": "a"}, {}),
        ({"last_modified": at()}, {"If-Modified-Since": at()}),
        ({"last_modified": "yesterday"}, {}),
        ({"etag": ' "a" ', "last_modified": f" {at()}"}, {"If-None-Match": '"a"', "If-Modified-Since": at()}),
    ],
)
def test_conditional(headers: dict[str, str], expected: dict[str, str]) -> None:
    assert conditional(stored(**headers)) == expected


# RFC 9110 13.1.5, 8.8.2.2
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"etag": '"a"'}, '"a"'),
        ({"etag": '"a"', "last_modified": at(-9999)}, '"a"'),
        # A weak ETag is useless for ranges, and with an ETag the date must not be used.
        ({"etag": 'W/"a"'}, None),
        ({"etag": 'W/"a"', "last_modified": at(-9999), "date": at()}, None),
        # What is not quoted is no ETag.
        ({"etag": "a", "last_modified": at(-9999), "date": at()}, at(-9999)),
        ({"last_modified": at(-STRONG_DATE_MARGIN_S), "date": at()}, at(-STRONG_DATE_MARGIN_S)),
        ({"last_modified": at(1 - STRONG_DATE_MARGIN_S), "date": at()}, None),
        ({"last_modified": at(60), "date": at()}, None),
        ({"last_modified": "yesterday", "date": at()}, None),
        # Without Date the time of arrival stands in for it.
        ({"last_modified": at(-STRONG_DATE_MARGIN_S)}, at(-STRONG_DATE_MARGIN_S)),
        ({"last_modified": at(1 - STRONG_DATE_MARGIN_S)}, None),
    ],
)
def test_strong_validator(headers: dict[str, str], expected: str | None) -> None:
    assert strong_validator(fields(**headers), T0) == expected


OLD = at(-9999)
NEWER = at(-5000)


# RFC 9111 4.3.4
@pytest.mark.parametrize(
    ("mine", "theirs", "same"),
    [
        ({}, {}, True),
        ({"etag": '"a"'}, {}, True),
        ({"etag": '"a"'}, {"etag": '"a"'}, True),
        ({"etag": '"a"'}, {"etag": '"b"'}, False),
        ({"etag": 'W/"a"'}, {"etag": '"a"'}, False),
        ({"etag": '"a"'}, {"etag": 'W/"a"'}, True),
        ({"etag": 'W/"a"'}, {"etag": 'W/"a"'}, True),
        ({"etag": 'W/"a"'}, {"etag": 'W/"b"'}, False),
        ({"etag": '"a"', "last_modified": OLD}, {"etag": '"a"', "last_modified": NEWER}, True),
        ({"last_modified": OLD}, {"last_modified": OLD}, True),
        ({"last_modified": OLD}, {"last_modified": NEWER}, False),
        ({"last_modified": NEWER}, {"last_modified": OLD}, False),
        ({"last_modified": OLD}, {}, True),
        ({"etag": '"a"', "last_modified": OLD}, {"last_modified": NEWER}, False),
        # A strong ETag where we hold none: only an equal date that is strong itself ties the two.
        ({}, {"etag": '"a"'}, False),
        ({"last_modified": OLD}, {"etag": '"a"', "last_modified": OLD}, True),
        ({"last_modified": at(-1)}, {"etag": '"a"', "last_modified": at(-1)}, False),
        ({"last_modified": OLD}, {"etag": '"a"'}, False),
        ({"last_modified": OLD}, {"etag": 'W/"a"'}, True),
    ],
)
def test_same_representation(mine: dict[str, str], theirs: dict[str, str], same: bool) -> None:
    assert same_representation(stored(**mine), fields(**theirs)) is same


def test_a_304_replaces_what_it_brings_and_keeps_the_rest() -> None:
    before = Stored(
        200, (*fields(etag='"a"', x="1", cache_control="max-age=1"), ("link", "1"), ("link", "2")), T0, T0 + 1
    )
    after = refreshed(
        before, [("cache-control", "max-age=9"), ("link", "3"), ("link", "4"), ("new", "n")], T0 + 5, T0 + 6
    )
    assert after == Stored(
        200,
        (
            ("etag", '"a"'),
            ("x", "1"),
            ("cache-control", "max-age=9"),
            ("link", "3"),
            ("link", "4"),
            ("new", "n"),
        ),
        T0 + 5,
        T0 + 6,
    )


@pytest.mark.parametrize(
    "name",
    (
        "content-length content-encoding content-type content-range content-digest content-md5 "
        "connection keep-alive transfer-encoding proxy-authenticate x-hop"
    ).split(),
)
def test_a_304_does_not_change_what_the_bytes_depend_on(name: str) -> None:
    kept = Stored(200, ((name, "old"),), T0, T0)
    given = ((name, "new"),) if name == "connection" else (("connection", "close, X-Hop"), (name, "new"))
    assert refreshed(kept, given, T0, T0).headers == kept.headers


def test_a_304_without_date_and_age_is_young() -> None:
    """Else the old Date would make a response that was confirmed just now look as old as before."""
    kept = stored(date=at(-5000), age="4000", etag='"a"')
    assert refreshed(kept, (), T0 + 1, T0 + 1).headers == (("etag", '"a"'),)


# RFC 9110 10.2.3
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        (at(90), 90.0),
        (at(-90), 0.0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("1.5", None),
        ("9" * 99, float(1 << 31)),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after_s(value, T0) == seconds
