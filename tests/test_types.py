"""The words check themselves."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import BadDigest
from p2pstore.types import (
    CALLER_ALGORITHMS,
    DIGEST_HEX_CHARS,
    PUBLIC,
    ByteRange,
    Digest,
    Draft,
    Entry,
    Key,
    Root,
    Version,
)

SHA256 = hashlib.sha256(b"x").hexdigest()


def draft(url: str = "http://host/file", **more: Any) -> Draft:
    return Draft(key=Key("k" * 64), url=url, scope=PUBLIC, ver=Version("v" * 32), **more)


@given(st.integers(0, 2**50), st.integers(1, 2**50))
def test_a_range_is_as_long_as_its_bytes(start: int, size: int) -> None:
    assert len(ByteRange(start, start + size)) == size


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (0, 0), (5, 5), (6, 5), (-3, -1)])
def test_what_is_no_range_can_not_be_made(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="not a byte range"):
        ByteRange(start, stop)


@pytest.mark.parametrize(
    "text",
    [
        f"sha256:{SHA256}",
        f"SHA256:{SHA256.upper()}",
        f"sha-256={SHA256}",
        f" sha256 : {SHA256} ",
        f"SHA-256:{SHA256}",
    ],
)
def test_the_usual_spellings_are_one_digest(text: str) -> None:
    assert Digest.parse(text) == Digest("sha256", SHA256)
    assert str(Digest.parse(text)) == f"sha256:{SHA256}"


@pytest.mark.parametrize("algorithm", sorted(DIGEST_HEX_CHARS))
def test_every_known_algorithm_is_read_back_from_its_text(algorithm: str) -> None:
    digest = Digest(algorithm, "a" * DIGEST_HEX_CHARS[algorithm])
    assert Digest.parse(str(digest)) == digest


def test_a_caller_may_name_only_what_is_known() -> None:
    assert set(CALLER_ALGORITHMS) <= set(DIGEST_HEX_CHARS)
    assert {"sha256", "sha512", "blake3", "md5"} == set(CALLER_ALGORITHMS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SHA256, "ALGORITHM:HEX"),
        ("", "ALGORITHM:HEX"),
        (f"sha3:{SHA256}", "unknown digest algorithm"),
        (f"sha256:{SHA256[:-1]}", "64 hexadecimal"),
        (f"sha256:{SHA256}0", "64 hexadecimal"),
        (f"sha256:{SHA256[:-1]}g", "64 hexadecimal"),
        (f"sha512:{SHA256}", "128 hexadecimal"),
        ("sha256:", "64 hexadecimal"),
        (f"sha256:{SHA256[:-1]}\n0", "64 hexadecimal"),
    ],
)
def test_what_is_no_digest_is_refused_with_the_reason(text: str, told: str) -> None:
    with pytest.raises(BadDigest, match=told):
        Digest.parse(text)


@given(st.text(max_size=300))
def test_any_text_is_a_digest_or_refused_in_a_short_line(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except BadDigest as error:
        assert len(error.message) < 1200
    else:
        assert Digest.parse(str(digest)) == digest


def test_an_entry_says_all_values_of_a_field() -> None:
    entry = draft(headers=(("vary", "accept"), ("etag", '"1"'), ("vary", "cookie"))).entry(Root("r"), 3, 4)
    assert entry.header("vary") == "accept, cookie"
    assert entry.header("etag") == '"1"'
    assert entry.header("expires") is None


def test_a_draft_hands_on_all_that_it_knows() -> None:
    known: dict[str, Any] = {
        "headers": (("etag", '"1"'),),
        "vary": (("accept", "x"),),
        "request_at": 1.0,
        "response_at": 2.0,
        "owner_uid": 7,
    }
    entry = draft(**known).entry(Root("r"), 3, 4, digests={"md5": "0"}, verified="digest")
    assert {name: getattr(entry, name) for name in known} == known
    assert (entry.key, entry.url, entry.scope, entry.ver) == ("k" * 64, "http://host/file", PUBLIC, "v" * 32)
    assert (entry.root, entry.size_bytes, entry.piece_bytes) == ("r", 3, 4)
    assert (entry.digests, entry.verified, entry.durable) == ({"md5": "0"}, "digest", False)


def test_a_change_leaves_the_first_entry_alone() -> None:
    entry = draft().entry(Root("r"), 3, 4)
    other = entry.with_changes(verified="digest")
    assert (entry.verified, other.verified) == ("transfer", "digest")
    assert other.with_changes(verified="transfer") == entry


@pytest.mark.parametrize(("url", "is_put"), [("put:name", True), ("http://host/put:name", False)])
def test_stored_results_are_told_from_urls(url: str, is_put: bool) -> None:
    assert isinstance(draft(url).entry(Root("r"), 3, 4), Entry)
    assert draft(url).entry(Root("r"), 3, 4).is_put is is_put
