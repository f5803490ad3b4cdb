"""The demonstration's server, asked by the standard library's client."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import pytest

from p2pstore.cli.toy_origin import CHUNK_BYTES, Page, ToyOrigin, sample

BODY = sample(CHUNK_BYTES + 1000, "x")


@pytest.fixture
def origin() -> Iterator[ToyOrigin]:
    with ToyOrigin({"/x": Page(BODY), "/slow": Page(BODY[:10], 1 << 20)}) as one:
        yield one


def ask(origin: ToyOrigin, path: str, **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(urlsplit(origin.url).netloc, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def test_a_whole_page(origin: ToyOrigin) -> None:
    answer, body = ask(origin, "/x")
    assert (answer.status, body, answer.getheader("Accept-Ranges")) == (200, BODY, "bytes")
    assert (origin.requests, origin.sent_bytes) == (1, len(BODY))


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, len(BODY)), ("bytes=5-99999999", 5, len(BODY))],
)
def test_a_range(origin: ToyOrigin, asked: str, start: int, stop: int) -> None:
    answer, body = ask(origin, "/x", Range=asked)
    assert (answer.status, body) == (206, BODY[start:stop])
    assert answer.getheader("Content-Range") == f"bytes {start}-{stop - 1}/{len(BODY)}"
    assert answer.getheader("ETag") == ask(origin, "/x")[0].getheader("ETag")


@pytest.mark.parametrize("asked", ["bytes=9-5", "pages=1-2", "bytes=-5"])
def test_what_is_no_range_gets_everything(origin: ToyOrigin, asked: str) -> None:
    answer, body = ask(origin, "/x", Range=asked)
    assert (answer.status, len(body)) == (200, len(BODY))


def test_what_is_not_there(origin: ToyOrigin) -> None:
    assert ask(origin, "/y")[0].status == 404


def test_a_slow_page_is_the_same_page(origin: ToyOrigin) -> None:
    assert ask(origin, "/slow")[1] == BODY[:10]


def test_samples_are_the_same_for_the_same_seed() -> None:
    assert sample(100, "a") == sample(100, "a") != sample(100, "b")
