"""Heads as the lane reads them, and what they say about the body."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import OriginBroken
from p2pstore.sources.heads import MAX_FIELDS, Framing, Head, OddHead, parse_head
from p2pstore.types import ByteRange

OK = b"HTTP/1.1 200 OK\r\n"


def test_names_in_lower_case_values_as_sent() -> None:
    head = parse_head(memoryview(OK + b'ETag: "\xe9"\r\nA:  b \r\na: c\r\n\r\n'))
    assert head.status == 200
    assert head.headers == (("etag", '"\xe9"'), ("a", "b"), ("a", "c"))
    assert (head.get("a"), head.get("none")) == ("b, c", None)


@pytest.mark.parametrize(
    ("data", "keeps"),
    [
        (OK + b"Content-Length: 2\r\n\r\n", True),
        (OK + b"Content-Length: 0\r\n\r\n", True),
        (OK + b"Content-Length: 2\r\nConnection: Close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n", False),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", True),
    ],
)
def test_whether_the_connection_stays(data: bytes, keeps: bool) -> None:
    assert parse_head(data).keeps is keeps


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early\r\n\r\n",
        b"HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/3.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
        OK + b"A : b\r\n\r\n",
        OK + b"A: b\0\r\n\r\n",
        OK + b"A: b\r\n c\r\n\r\n",
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_not_plain_is_odd(data: bytes) -> None:
    with pytest.raises(OddHead):
        parse_head(data)


@pytest.mark.parametrize(
    "fields",
    [b"A: b\r\n" * (MAX_FIELDS + 1), b"A: " + b"b" * 8200 + b"\r\n", (b"A: " + b"b" * 1000 + b"\r\n") * 70],
    ids=["many", "long", "all together"],
)
def test_what_is_beyond_the_limits_is_broken(fields: bytes) -> None:
    with pytest.raises(OriginBroken):
        parse_head(OK + fields + b"\r\n")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_head_or_odd(data: bytes) -> None:
    for prefix in (b"", OK):
        try:
            assert parse_head(prefix + data + b"\r\n\r\n").status >= 200
        except OddHead:
            pass


@pytest.mark.parametrize(
    ("status", "fields", "wanted"),
    [
        (200, {"content-length": "7"}, (Framing.LENGTH, 7)),
        (200, {"content-length": "007"}, (Framing.LENGTH, 7)),
        (200, {"transfer-encoding": "Chunked"}, (Framing.CHUNKED, None)),
        (200, {}, (Framing.CLOSE, None)),
        (304, {"content-length": "7"}, (Framing.LENGTH, 0)),
        (204, {"transfer-encoding": "chunked"}, (Framing.LENGTH, 0)),
        (200, {"content-length": "7", "transfer-encoding": "chunked"}, None),
        (200, {"transfer-encoding": "gzip, chunked"}, None),
        (200, {"content-length": "-7"}, None),
        (200, {"content-length": "7, 7"}, None),
        (200, {"content-length": ""}, None),
        (200, {"content-length": "\u0667"}, None),
        (200, {"content-length": "9" * 19}, None),
    ],
)
def test_framing(status: int, fields: dict[str, str], wanted: tuple[Framing, int | None] | None) -> None:
    head = Head(status, tuple(fields.items()))
    if wanted is None:
        with pytest.raises(OriginBroken):
            head.framing()
    else:
        assert head.framing() == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("bytes 0-9/10", (ByteRange(0, 10), 10)),
        ("BYTES 5-5/10", (ByteRange(5, 6), 10)),
        ("bytes 0-10/10", None),
        ("bytes 9-0/10", None),
        ("bytes */10", None),
        ("bytes 0-9/*", None),
        ("bytes 0-9/10, bytes 0-9/10", None),
        ("items 0-9/10", None),
        ("", None),
        (None, None),
    ],
)
def test_content_range(text: str | None, wanted: tuple[ByteRange, int] | None) -> None:
    head = Head(206, () if text is None else (("content-range", text),))
    if wanted is None:
        with pytest.raises(OriginBroken):
            head.content_range()
    else:
        assert head.content_range() == wanted
