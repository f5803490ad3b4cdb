"""Header fields: what is read, and that nothing unreadable is."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.cache.fields import (
    MAX_DELTA_S,
    date_of,
    delta_s,
    entity_tag,
    http_date,
    joined,
    members,
    values_of,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
SUNDAY = 784111777.0
"""The example of RFC 9110 5.6.7."""


def test_lines_of_one_field() -> None:
    headers = (("a", "1"), ("b", "2"), ("a", " 3, ,X"))
    assert values_of(headers, "a") == ["1", " 3, ,X"]
    assert joined(headers, "a") == "1,  3, ,X"
    assert joined(headers, "c") is None
    assert members(headers, "a") == ["1", "3", "x"]
    assert members(headers, "c") == []


# RFC 9110 5.6.7
@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 UTC",
        "06 Nov 1994 08:49:37 +0000",
        " sun, 06 nov 1994 08:49:37 GMT ",
    ],
)
def test_dates(text: str) -> None:
    assert http_date(text, NOW) == SUNDAY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "never",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 +0200",
        "Sun, 06 Nov 1994 08:49:37 PST",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
    ],
)
def test_what_is_no_date(text: str) -> None:
    assert http_date(text, NOW) is None


def test_leap_second_is_the_second_before() -> None:
    assert http_date("Sat, 31 Dec 2016 23:59:60 GMT", NOW) == http_date("Sat, 31 Dec 2016 23:59:59 GMT", NOW)


@pytest.mark.parametrize(
    ("digits", "year"), [("26", 2026), ("76", 2076), ("77", 1977), ("99", 1999), ("00", 2000)]
)
def test_two_digit_years_more_than_50_ahead_are_past(digits: str, year: int) -> None:
    assert (
        http_date(f"Thursday, 01-Jan-{digits} 00:00:00 GMT", NOW)
        == datetime(year, 1, 1, tzinfo=UTC).timestamp()
    )


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_every_second_is_read_back(second: int) -> None:
    assert http_date(formatdate(second, usegmt=True), NOW) == second


@given(st.text(), st.floats(allow_nan=False))
def test_any_text_is_a_date_or_none(text: str, near: float) -> None:
    assert http_date(text, near) is None
    assert http_date("Sunday, 06-Nov-94 08:49:37 GMT", near) is not None


def test_date_of_needs_one_value() -> None:
    date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT")
    assert date_of([date], "date", NOW) == date_of([date, date], "date", NOW) == SUNDAY
    assert date_of([], "date", NOW) is None
    assert date_of([date, ("date", "Sun, 06 Nov 1994 08:49:38 GMT")], "date", NOW) is None


# RFC 9111 1.2.2
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("60", 60),
        ("0060", 60),
        (str(MAX_DELTA_S), MAX_DELTA_S),
        (str(MAX_DELTA_S + 1), MAX_DELTA_S),
        ("9" * 5000, MAX_DELTA_S),
        ("0" * 5000 + "7", 7),
    ],
)
def test_delta_seconds(text: str, seconds: int) -> None:
    assert delta_s(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.5", " 1", "1 ", "x", "1e3", "٣", "1\n"])
def test_what_is_no_number_of_seconds(text: str) -> None:
    assert delta_s(text) is None


# RFC 9110 8.8.3
@pytest.mark.parametrize(
    ("value", "weak", "opaque"),
    [('"a"', False, "a"), ('W/"a"', True, "a"), (' "" ', False, ""), ('"é,!"', False, "é,!")],
)
def test_entity_tags(value: str, weak: bool, opaque: str) -> None:
    found = entity_tag([("etag", value)])
    assert found == (weak, opaque)
    assert str(found) == value.strip()


@pytest.mark.parametrize("value", ["", "a", '"a', 'w/"a"', '"a"b"', '"a" ,"b"', '"a b"', "'a'"])
def test_what_is_no_entity_tag(value: str) -> None:
    assert entity_tag([("etag", value)]) is None


def test_entity_tags_that_contradict_each_other_are_none() -> None:
    assert entity_tag([("etag", '"a"'), ("etag", '"a"')]) == (False, "a")
    assert entity_tag([("etag", '"a"'), ("etag", '"b"')]) is None
    assert entity_tag([]) is None
