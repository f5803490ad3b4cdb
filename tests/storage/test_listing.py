"""Pages in any order, with cursors that neither skip nor repeat."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import BadRequest
from p2pstore.storage.index import DOOMED, Index
from p2pstore.storage.listing import SORTS, Query, page
from p2pstore.types import Root
from tests.storage.samples import draft, hexes


@pytest.fixture
def index() -> Iterator[Index]:
    index = Index.open(":memory:")
    with index.change():
        for number in range(30):
            private = number % 5 == 0
            one = draft(
                f"{'ab'[number % 2]}/{number:02d}",
                scope="uid:7" if private else "public",
                owner_uid=7 if private else -1,
            )
            entry = one.entry(
                Root(hexes(f"root {number}", 64)), number % 4, 262144, stored_at=float(number % 3)
            )
            index.insert(
                entry,
                current=number % 7 != 0,
                seq=DOOMED if number == 29 else 0,
                access=number * 17 % 13,
                object_bytes=10,
                extra_bytes=1,
                mtime_ns=0,
            )
    yield index
    index.close()


def _all(index: Index, limit: int, **more: object) -> list[str]:
    urls: list[str] = []
    after = None
    for _ in range(100):
        lines, after = page(index, Query(limit=limit, after=after, **more))  # type: ignore[arg-type]
        assert len(lines) <= limit
        urls += [line.entry.url for line in lines]
        if after is None:
            return urls
    raise AssertionError("the cursor never ends")


@pytest.mark.parametrize(
    ("sort", "descending", "versions"), list(itertools.product(SORTS, [False, True], [False, True]))
)
def test_pages_of_any_size_give_the_same_list(
    index: Index, sort: str, descending: bool, versions: bool
) -> None:
    whole = _all(index, 1000, sort=sort, descending=descending, versions=versions)
    assert len(whole) == len(set(whole)) == (29 if versions else 24)
    for limit in (1, 2, 7):
        assert _all(index, limit, sort=sort, descending=descending, versions=versions) == whole
    assert _all(index, 5, sort=sort, descending=not descending, versions=versions) == whole[::-1]


def test_order_prefix_and_owner(index: Index) -> None:
    urls = _all(index, 1000, versions=True)
    assert urls == sorted(urls)
    some = _all(index, 3, prefix="http://example.org/a/", versions=True)
    assert len(some) == 15 and all("/a/" in url for url in some)
    lines, _ = page(index, Query(sort="size", descending=True))
    sizes = [line.entry.size_bytes for line in lines]
    assert sizes == sorted(sizes, reverse=True)
    assert lines[0].disk_bytes == 11
    mine, others = _all(index, 4, owner=7, versions=True), _all(index, 4, owner=8, versions=True)
    assert len(mine) == 29
    assert set(mine) - set(others) == {url for url in mine if int(url[-2:]) % 5 == 0}


@pytest.mark.parametrize(
    "more", [{"limit": 0}, {"limit": 1001}, {"sort": "colour"}, {"sort": "url; DROP TABLE entries"}]
)
def test_bad_wishes_are_refused(more: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        Query(**more)  # type: ignore[arg-type]


def test_a_cursor_of_another_listing_is_refused(index: Index) -> None:
    _, cursor = page(index, Query(limit=2))
    assert cursor is not None
    with pytest.raises(BadRequest):
        page(index, Query(sort="size", after=cursor))


@given(st.text(max_size=40))
def test_any_cursor_is_used_or_refused(cursor: str) -> None:
    index = Index.open(":memory:")
    try:
        page(index, Query(after=cursor))
    except BadRequest:
        pass
    finally:
        index.close()
