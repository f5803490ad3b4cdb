"""Keys, scopes and versions: different things never share a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.cache.keys import (
    MAX_NAME_BYTES,
    canonical,
    check_put_name,
    explain,
    key_of,
    put_key,
    scope_of,
    version_of,
)
from p2pstore.errors import BadRequest, BadUrl
from p2pstore.types import PUBLIC, Key

KEY = key_of("http://h/", PUBLIC)


def test_keys_are_64_hex_and_stay_what_they_are() -> None:
    """Keys name files on disk: another value would orphan every cache."""
    assert KEY == "fb33cba213b1fd61166f3d6302688ea92c649eaa7c73bb5d4a923d48b7125b3c"
    assert put_key("a") == "e39c1d96f7f117f63f8d25f9aebf161edaa217adbf7aec47f66c0b386fe15a33"
    assert version_of(KEY, '"e"', None, 3) == "73e934a2104ca03b094f9c8ed49007fd"
    assert scope_of(1000, "secret") == "uid:1000:6a301ea8889aabc4"


@given(
    st.lists(
        st.tuples(st.text(), st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=2).map(tuple)),
        min_size=2,
        max_size=2,
        unique=True,
    )
)
def test_parts_never_run_into_each_other(two: list[tuple[str, str, tuple[tuple[str, str], ...]]]) -> None:
    assert key_of(*two[0]) != key_of(*two[1])


SPELLINGS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["http://h", "HTTP://H:80", "https://h", "http://h:81", "http://u@h"]),
    st.sampled_from(["", "/", "/a", "/%61", "/b/../a", "/A", "//a"]),
    st.sampled_from(["", "?", "?x=1", "?x=%31", "?x=1&y", "?y&x=1", "?x=1&token=a"]),
    st.sampled_from(["", "#f"]),
)


@given(SPELLINGS, SPELLINGS)
def test_equal_keys_mean_equal_text(one: str, other: str) -> None:
    first, second = canonical(one), canonical(other)
    same_text = first.text == second.text
    assert (key_of(first.text, PUBLIC) == key_of(second.text, PUBLIC)) == same_text
    if explain(one, other)[0].startswith("one key"):
        assert same_text


def test_a_result_is_no_url() -> None:
    with pytest.raises(BadUrl):
        canonical("put:name")
    assert put_key("name") == key_of("put:name", PUBLIC)


@pytest.mark.parametrize("name", ["a", "run 7/out.tar", "ü" * 256, "x" * MAX_NAME_BYTES, "a:b", ".."])
def test_result_names(name: str) -> None:
    assert check_put_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "x" * 513, "ü" * 257, "a\nb", "a\x00", "\x7f", "\ud800", "\u200b", "a\u2028"]
)
def test_result_names_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        put_key(name)


def test_scopes() -> None:
    assert scope_of(None) == PUBLIC
    assert scope_of(0) == "uid:0"
    assert scope_of(7).split(":") == ["uid", "7"]
    assert scope_of(7, "a") != scope_of(7, "b") != scope_of(8, "b")
    assert "secret" not in scope_of(7, "secret")
    with pytest.raises(ValueError, match="never public"):
        scope_of(None, "secret")


def test_versions() -> None:
    other = key_of("http://h/other", PUBLIC)
    cases: list[tuple[Key, str | None, str | None, int | None]] = [
        (KEY, '"a"', None, 1),
        (KEY, '"b"', None, 1),
        (KEY, None, '"a"', 1),
        (KEY, None, None, 1),
        (KEY, None, None, 0),
        (KEY, None, None, None),
        (other, '"a"', None, 1),
    ]
    versions = {version_of(*case) for case in cases}
    assert len(versions) == len(cases)
    assert all(len(version) == 32 for version in versions)
    # A strong validator alone decides: servers of one farm may differ in Last-Modified.
    assert version_of(KEY, '"a"', "Mon", 1) == version_of(KEY, '"a"', "Tue", 1)
