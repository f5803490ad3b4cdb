"""RFC 3986 spelling, one rule at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.cache import uri


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("HTTP://h/p?q#f", ("http", "h", "/p", "q", "f")),
        ("http:p", ("http", None, "p", None, None)),
        ("http://", ("http", "", "", None, None)),
        ("http://h?", ("http", "h", "", "", None)),
        ("http://h#?", ("http", "h", "", None, "?")),
        ("a+b-c.1:x", ("a+b-c.1", None, "x", None, None)),
    ],
)
def test_split(url: str, parts: tuple[str | None, ...]) -> None:
    assert tuple(uri.split(url)) == parts


@pytest.mark.parametrize("url", ["", "h/p", "//h/p", "1a://h", "é://h", ":x"])
def test_split_needs_a_scheme(url: str) -> None:
    with pytest.raises(ValueError, match="scheme"):
        uri.split(url)


@pytest.mark.parametrize(
    ("authority", "parts"),
    [
        ("h", (None, "h", "")),
        ("h:8", (None, "h", "8")),
        ("u:p@h:8", ("u:p", "h", "8")),
        ("@h", ("", "h", "")),
        ("[::1]", (None, "[::1]", "")),
        ("u@[::1]:8", ("u", "[::1]", "8")),
        ("h:1:2", (None, "h", "1:2")),
    ],
)
def test_split_authority(authority: str, parts: tuple[str | None, str, str]) -> None:
    assert uri.split_authority(authority) == parts


@pytest.mark.parametrize("authority", ["a@b@c", "a\\@b", "[::1", "[::1]8", "u@[::1]x:8"])
def test_split_authority_refuses_what_two_readers_see_differently(authority: str) -> None:
    with pytest.raises(ValueError):
        uri.split_authority(authority)


# RFC 3986 5.2.4 and 5.4
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("/", "/"),
        ("/a/b/c/./../../g", "/a/g"),
        ("/.", "/"),
        ("/..", "/"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/../../../g", "/g"),
        ("/b/c/..g", "/b/c/..g"),
        ("/b/c/g..", "/b/c/g.."),
        ("/b/c/./g/.", "/b/c/g/"),
        ("/a//b", "/a//b"),
        ("/a//../b", "/a/b"),
        ("//", "//"),
        ("/...", "/..."),
    ],
)
def test_dot_segments(path: str, expected: str) -> None:
    assert uri.without_dot_segments(path) == expected


# RFC 3986 6.2.2.1, 6.2.2.2
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "/"),
        ("/%7Euser%2d%5f%2E", "/~user-_."),
        ("/%41%7a%39", "/Az9"),
        ("/a%2fb%3f%3d", "/a%2Fb%3F%3D"),
        ("/%2e%2e/a/%2E/b", "/a/b"),
        ("/ü", "/%C3%BC"),
        ("/\U0001f600", "/%F0%9F%98%80"),
        ("/100%", "/100%25"),
        ("/%zz%4", "/%25zz%254"),
        ("/%%341", "/%2541"),
        ('/a|b"<>^`{}\\', "/a%7Cb%22%3C%3E%5E%60%7B%7D%5C"),
        ("/a[0]!$&'()*+,;=:@", "/a[0]!$&'()*+,;=:@"),
        ("/%c3%28", "/%C3%28"),
    ],
)
def test_path(path: str, expected: str) -> None:
    assert uri.normal_path(path) == expected


def test_query_keeps_order_and_repetitions() -> None:
    assert uri.normal_query("b=%7e&a=1&&a=%2f?/#"[:-1]) == "b=~&a=1&&a=%2F?/"


def test_sendable_query_keeps_the_spelling_that_may_be_signed() -> None:
    assert uri.sendable_query("a=%7e%2f&b=ü|%") == "a=%7e%2f&b=%C3%BC%7C%25"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("EXAMPLE.org", "example.org"),
        ("example.org.", "example.org."),
        ("my_bucket.s3.amazonaws.com", "my_bucket.s3.amazonaws.com"),
        ("r3---sn-a.example", "r3---sn-a.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("b%C3%BCcher.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("faß.de", "xn--fa-hia.de"),
        ("%65xample.org", "example.org"),
        ("\uff11\uff12\uff17.0.0.1", "127.0.0.1"),
        ("example。org", "example.org"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8:0:0:0:0:0:1]", "[2001:db8::1]"),
        ("[::ffff:7f00:1]", "[::ffff:127.0.0.1]"),
        ("[::FFFF:127.0.0.1]", "[::ffff:127.0.0.1]"),
    ],
)
def test_host(host: str, expected: str) -> None:
    assert uri.normal_host(host) == expected
    assert uri.normal_host(expected) == expected


@pytest.mark.parametrize(
    "host",
    [
        "",
        "%",
        "a%2",
        "a%2fb",
        "a%00b",
        "a%ff",
        "a..b",
        ".a",
        "-a",
        "a-",
        "a b",
        "a,b",
        "☃.net",
        "a℀b.example",
        "a" * 64 + ".org",
        ".".join(["a" * 60] * 5),
        "a" * 2000,
        "ü" * 300,
        "127.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "2130706433",
        "1.2.3.4.",
        "1.2.3.4.5",
        "256.1.1.1",
        "a.b.09",
        "[]",
        "[::1%25eth0]",
        "[::1%eth0]",
        "[v1.a]",
        "[1.2.3.4]",
        "[::g]",
    ],
)
def test_host_refused(host: str) -> None:
    with pytest.raises(ValueError):
        uri.normal_host(host)


@pytest.mark.parametrize(
    ("port", "expected"),
    [("", 80), ("80", 80), ("0080", 80), ("1", 1), ("65535", 65535), ("0" * 50 + "9", 9)],
)
def test_port(port: str, expected: int) -> None:
    assert uri.normal_port(port, 80) == expected


@pytest.mark.parametrize("port", ["0", "65536", "-1", "+1", "8a", "٣", " 8", "1" * 9000, "000"])
def test_port_refused(port: str) -> None:
    with pytest.raises(ValueError, match="port"):
        uri.normal_port(port, 80)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    path, query = uri.normal_path("/" + text), uri.normal_query(text)
    assert uri.normal_path(path) == path
    assert uri.normal_query(query) == query
    assert (path + query).isascii()


@given(st.text(alphabet="/.ab"))
def test_no_dot_segment_is_left(path: str) -> None:
    segments = uri.without_dot_segments("/" + path).split("/")
    assert "." not in segments and ".." not in segments
