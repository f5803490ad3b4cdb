"""Cache-Control: a fault in it never makes a response more cacheable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.cache.directives import Directives, cache_control


def read(*lines: str) -> Directives:
    return cache_control([("cache-control", line) for line in lines])


# RFC 9111 5.2.2
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Directives()),
        ("max-age=60", Directives(max_age_s=60)),
        ("MAX-AGE=60, Public", Directives(max_age_s=60, public=True)),
        ('max-age="60"', Directives(max_age_s=60)),
        ('max-age="6\\0"', Directives(max_age_s=60)),
        ("max-age = 60", Directives(max_age_s=60)),
        ("max-age=60 no-store", Directives(max_age_s=60, no_store=True)),
        ("max-age=60;no-cache", Directives(max_age_s=60, no_cache=True)),
        (", ,max-age=60,,", Directives(max_age_s=60)),
        ("s-maxage=5,max-age=60", Directives(s_maxage_s=5, max_age_s=60)),
        ("must-revalidate, proxy-revalidate", Directives(must_revalidate=True, proxy_revalidate=True)),
        ("immutable, stale-if-error=7", Directives(immutable=True, stale_if_error_s=7)),
        ("private, no-cache, no-store", Directives(private=True, no_cache=True, no_store=True)),
        ("community=UCI, x-max-age=5", Directives()),
        # 5.2.2.4, 5.2.2.7: with field names as without
        ('no-cache="set-cookie, x"', Directives(no_cache=True)),
        ("private=x-a", Directives(private=True)),
        ("no-store=whatever", Directives(no_store=True)),
        # 5.2.2.3
        ("no-store, must-understand", Directives()),
        # 4.2.1: unreadable numbers mean stale
        ("max-age", Directives(max_age_s=0)),
        ("max-age=", Directives(max_age_s=0)),
        ("max-age=x", Directives(max_age_s=0)),
        ("max-age=-60", Directives(max_age_s=0)),
        ("max-age=1.5", Directives(max_age_s=0)),
        ("max-age='60'", Directives(max_age_s=0)),
        ("max-age=60s", Directives(max_age_s=0)),
        # a directive inside another's quotes is not one
        ('x="no-store, max-age=5", max-age=60', Directives(max_age_s=60)),
        ('x="\\", no-store"', Directives()),
        # an unclosed quote hides nothing
        ('x="a, no-store', Directives(no_store=True)),
        ('private="a, max-age=60', Directives(private=True, max_age_s=60)),
    ],
)
def test_one_line(line: str, expected: Directives) -> None:
    assert read(line) == expected


# 4.2.1: of duplicates the stricter
@pytest.mark.parametrize(
    "lines",
    [
        ("max-age=60, max-age=5",),
        ("max-age=5", "max-age=60"),
        ("max-age=99999999999,max-age=5", "max-age=60"),
    ],
)
def test_of_duplicates_the_stricter_counts(lines: tuple[str, ...]) -> None:
    assert read(*lines).max_age_s == 5


def test_one_unreadable_duplicate_means_stale() -> None:
    assert read("max-age=60, max-age=x").max_age_s == 0


def test_no_field_says_nothing() -> None:
    assert cache_control([("x-cache-control", "no-store")]) == Directives()


@given(st.text(alphabet='nos-tre, =";\\\t60max'))
def test_no_rubbish_before_it_hides_no_store(rubbish: str) -> None:
    """Unless it opens a quote that the directive stands in."""
    assert read(rubbish.replace('"', "") + ", no-store").no_store


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    found = read(text)
    assert found.max_age_s is None or found.max_age_s >= 0
