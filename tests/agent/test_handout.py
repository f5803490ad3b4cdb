"""How an entry and its way here are told."""

from __future__ import annotations

import math

import pytest

from p2pstore.agent.handout import Way, described, result
from p2pstore.cache.freshness import Answer, Judgement
from p2pstore.types import PUBLIC, Draft, Entry, Key, Root, Version


def entry(scope: str = PUBLIC, url: str = "http://host/file") -> Entry:
    headers = (("content-type", "text/plain"), ("etag", '"1"'))
    draft = Draft(key=Key("k" * 64), url=url, scope=scope, ver=Version("v" * 32), headers=headers)
    return draft.entry(Root("r" * 64), 1000, 262144, digests={"sha256": "0" * 64}, verified="digest")


def judged(*, stale: bool = False, age_s: float = 5.0) -> Judgement:
    return Judgement(Answer.FRESH, age_s, 60.0, stale, 0.0, "fresh: 5 of 60 s (RFC 9111 4.2)")


def test_a_result_has_all_that_the_protocol_promises() -> None:
    told = result(entry(), Way(seconds=0.25), judged(), "/cache/object", fd=True)
    assert told == {
        "url": "http://host/file",
        "key": "k" * 64,
        "ver": "v" * 32,
        "root": "r" * 64,
        "size": 1000,
        "path": "/cache/object",
        "private": False,
        "stale": False,
        "why": "fresh: 5 of 60 s (RFC 9111 4.2)",
        "age_s": 5.0,
        "verified": "digest",
        "seconds": 0.25,
        "bytes": {"cache": 1000, "peers": 0, "origin": 0},
        "digests": {"sha256": "0" * 64},
        "warnings": [],
        "content_type": "text/plain",
        "fd": True,
    }


@pytest.mark.parametrize("origin_bytes", [0, 1, 999, 1000])
def test_the_bytes_of_all_sources_are_the_size(origin_bytes: int) -> None:
    told = result(entry(), Way(origin_bytes=origin_bytes), judged(), "", fd=False)
    assert sum(told["bytes"].values()) == told["size"]
    assert told["bytes"]["origin"] == origin_bytes


def test_a_way_with_a_reason_of_its_own_tells_that() -> None:
    way = Way(True, "the origin can't be reached", warnings=("a warning",))
    told = result(entry("uid:7"), way, judged(stale=True), "", fd=False)
    assert (told["stale"], told["why"], told["private"]) == (True, "the origin can't be reached", True)
    assert told["warnings"] == ["a warning"]


def test_stat_tells_how_fresh_it_is() -> None:
    told = described(entry(), judged())
    assert (told["fresh"], told["stale"], told["age_s"], told["lifetime_s"]) == (True, False, 5.0, 60.0)
    assert told["headers"] == [["content-type", "text/plain"], ["etag", '"1"']]
    told = described(entry(), judged(stale=True))
    assert (told["fresh"], told["stale"]) == (False, True)


def test_a_stored_result_is_always_fresh() -> None:
    forever = Judgement(Answer.FRESH, 0.0, math.inf, False, 0.0, "a stored result stays as it is")
    told = described(entry(url="put:result"), forever)
    assert (told["fresh"], told["stale"]) == (True, False)
