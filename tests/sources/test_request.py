"""The fields of a request, and who may see them."""

from __future__ import annotations

import pytest

from p2pstore.errors import BadRequest
from p2pstore.sources.base import Ask
from p2pstore.sources.request import OURS, check_headers, fields_for, wire
from p2pstore.sources.targets import Target

HERE = Target.parse("https://h.example/a")


@pytest.mark.parametrize(
    "url", ["https://h.example:444/", "http://h.example/", "https://x.h.example/", "https://example/"]
)
def test_only_the_same_scheme_host_and_port_sees_what_the_caller_added(url: str) -> None:
    ask = Ask(url=HERE.url, headers=(("X-Key", "k"), ("User-Agent", "mine")), userinfo=("u", "p"))
    here = dict(fields_for(ask, HERE, HERE, "agent"))
    assert here == {
        "X-Key": "k", "User-Agent": "mine", "Authorization": "Basic dTpw", "Accept": "*/*", "Accept-Encoding": "identity"
    }  # fmt: skip
    again = dict(fields_for(ask, HERE, Target.parse("https://H.example:443/other"), "agent"))
    assert again == here
    there = dict(fields_for(ask, HERE, Target.parse(url), "agent"))
    assert there == {"User-Agent": "agent", "Accept": "*/*", "Accept-Encoding": "identity"}


def test_bearer_wins_over_userinfo_and_a_header_over_both() -> None:
    ask = Ask(url=HERE.url, userinfo=("u", "p"), bearer="t")
    assert ("Authorization", "Bearer t") in fields_for(ask, HERE, HERE, "agent")
    ask = Ask(url=HERE.url, headers=(("authorization", "mine"),), bearer="t")
    named = [value for name, value in fields_for(ask, HERE, HERE, "agent") if name.lower() == "authorization"]
    assert named == ["mine"]


def test_wire() -> None:
    target = Target.parse("http://h:81/a?b")
    assert wire(target, [("A", "\u00e9")]) == "GET /a?b HTTP/1.1\r\nHost: h:81\r\nA: \u00e9\r\n".encode()


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "\u00e9", *sorted(OURS), "RANGE"])
def test_names_a_caller_may_not_use(name: str) -> None:
    with pytest.raises(BadRequest):
        check_headers(((name, "x"),))


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0b", "\x7f"])
def test_values_a_caller_may_not_use(value: str) -> None:
    with pytest.raises(BadRequest):
        check_headers((("A", value),))


def test_ordinary_headers_pass() -> None:
    check_headers(
        (("X-A", "b\tc \u00e9"), ("Authorization", "Basic x"), ("Cookie", "a=b"), ("Accept-Encoding", "gzip"))
    )
