"""`explain` gives the reason, and never a secret."""

from __future__ import annotations

import pytest

from p2pstore.cache.explain import explain
from p2pstore.errors import BadUrl


def test_one_key() -> None:
    assert explain("http://h/~a", "HTTP://H:80/%7Ea#x") == [
        "one key: http://h/~a",
        "second: scheme in lower case",
        "second: path normalised: percent-encoding, dot segments or the empty path",
        "second: fragment left out",
        "second: host written as h",
        "second: port written as a plain number, and not at all when it is the default",
    ]


@pytest.mark.parametrize(
    ("one", "other", "line"),
    [
        ("http://h/", "https://h/", "scheme: http is not https"),
        ("http://h/", "https://h/", "port: 80 is not 443"),
        ("http://h/", "http://h./", "host: h is not h."),
        ("http://h:81/", "http://h/", "port: 81 is not 80"),
        ("http://h/a", "http://h/A", "path: /a is not /A"),
        ("http://h/", "http://h/?", "query: only the second has one"),
        ("http://h/?a", "http://h/", "query: only the first has one"),
        (
            "http://h/?a&b",
            "http://h/?b&a",
            "query: the same parameters in another order, which an origin may tell apart",
        ),
        ("http://h/?a=1&b", "http://h/?a=2&b", "query: differs in a=1, a=2"),
        ("http://h/?a&a&b", "http://h/?a&b&b", "query: differs in how often a parameter is repeated"),
        ("http://u@h/", "http://h/", "credentials: the user names or passwords in the URLs differ"),
        ("http://h/?token=1", "http://h/?token=2", "credentials: the URLs are not signed by the same signer"),
    ],
)
def test_two_keys(one: str, other: str, line: str) -> None:
    lines = explain(one, other)
    assert lines[0] == "two keys:"
    assert line in lines
    assert explain(other, one)[0] == "two keys:"


def test_signed_by_the_same_signer_is_one_key() -> None:
    one, other = (
        f"http://h/p?X-Amz-Credential=AKIA/1&X-Amz-Signature={secret}" for secret in ("hunter2", "hunter3")
    )
    lines = explain(one, other)
    assert lines[0] == "one key: http://h/p"
    assert "first: private to the user who asks, because it carries a credential" in lines
    assert "hunter" not in "".join(lines)


def test_a_bad_url_is_said() -> None:
    with pytest.raises(BadUrl):
        explain("http://h/", "nothing")
