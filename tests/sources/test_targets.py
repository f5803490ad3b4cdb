"""URLs taken apart, and where redirects lead."""

from __future__ import annotations

import pytest

from p2pstore.errors import BadUrl, GateRefused, OriginBroken
from p2pstore.sources.targets import Target


@pytest.mark.parametrize(
    ("url", "origin", "netloc", "path"),
    [
        ("http://a/b", ("http", "a", 80), "a", "/b"),
        ("HTTPS://A.example", ("https", "a.example", 443), "a.example", "/"),
        ("http://a:80/?", ("http", "a", 80), "a", "/?"),
        ("https://a:444?q#f", ("https", "a", 444), "a:444", "/?q"),
        ("http://u:p@a/b@c", ("http", "a", 80), "a", "/b@c"),
        ("http://[::1]:81/", ("http", "::1", 81), "[::1]:81", "/"),
    ],
)
def test_parse(url: str, origin: tuple[str, str, int], netloc: str, path: str) -> None:
    target = Target.parse(url)
    assert (target.origin, target.netloc, target.path) == (origin, netloc, path)
    assert Target.parse(target.url) == target


@pytest.mark.parametrize(
    "url",
    [
        "", "a", "/a", "http:///a", "http://:80/", "ftp://a/", "http://a:0/", "http://a:65536/", "http://a:x/",
        "http://a b/", "http://a/\r\nX: y", "http://a/\u00e9", "http://a\\@b/", "http://a\\b/", "http://[::1/",
        "http://[v1.x]/", "http://a/" + "x" * 8192,
    ],
)  # fmt: skip
def test_what_cannot_be_asked(url: str) -> None:
    with pytest.raises(BadUrl):
        Target.parse(url)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("c", "https://h/a/c"),
        ("/c?d", "https://h/c?d"),
        ("../../c", "https://h/c"),
        ("//o:8/c", "https://o:8/c"),
        ("?k=%2F&s=a~b", "https://h/a/b?k=%2F&s=a~b"),
        (" https://o/x y\xc3\xa9#f ", "https://o/x%20y%C3%A9"),
        ("https://u:p@o/", "https://o/"),
        ("https://o/%zz", "https://o/%zz"),
    ],
)
def test_redirects(location: str, url: str) -> None:
    assert Target.parse("https://h/a/b?q").redirected(location).url == url


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("http://h/", GateRefused),
        ("file:///etc/passwd", GateRefused),
        ("javascript:1", GateRefused),
        ("https://:1/", OriginBroken),
        ("https://h:99999/", OriginBroken),
        ("https://[::1/", OriginBroken),
    ],
)
def test_redirects_not_followed(location: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        Target.parse("https://h/a?b=c").redirected(location)
    assert type(caught.value) is kind
