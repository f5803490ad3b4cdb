"""Announced digests: every known spelling, and that a wrong one is ignored rather than believed."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.cache.digests import Announced, announced
from p2pstore.types import Digest

DATA = b"hello"
HEX = {name: hashlib.new(name, DATA).hexdigest() for name in ("md5", "sha1", "sha256", "sha512")}
B64 = {name: b64encode(hashlib.new(name, DATA).digest()).decode() for name in HEX}


def found(*headers: tuple[str, str], host: str = "h", whole: bool = True) -> list[tuple[str, str]]:
    told = announced(headers, host, whole=whole)
    assert all(one.digest.hex == HEX[one.digest.algorithm] for one in told)
    assert all(one.partial is not whole for one in told)
    return [(one.digest.algorithm, one.source) for one in told]


# RFC 9530 2, 3
@pytest.mark.parametrize(
    ("value", "algorithms"),
    [
        (f"sha-256=:{B64['sha256']}:", ["sha256"]),
        (f"sha-256=:{B64['sha256']}:, sha-512=:{B64['sha512']}:", ["sha512", "sha256"]),
        (f"sha-256=:{B64['sha256'].rstrip('=')}:", ["sha256"]),
        (f"sha-256=:{B64['sha256']}:;p=1", ["sha256"]),
        (f"  sha=:{B64['sha1']}: ,md5=:{B64['md5']}:", ["sha1", "md5"]),
        (f"crc32c=:AAAA:,unknown=?1,sha-256=:{B64['sha256']}:", ["sha256"]),
        (f"sha-256=:AAAA:, sha-256=:{B64['sha256']}:", ["sha256"]),
        ("sha-256=:AAAA:", []),
        (f"sha-256={B64['sha256']}", []),
        (f"SHA-256=:{B64['sha256']}:", []),
        (f"sha-256=:{B64['sha256']}", []),
        ("sha-256=::", []),
        ("sha-256=:A:", []),
        ("sha-256", []),
        ("", []),
    ],
)
def test_digest_fields(value: str, algorithms: list[str]) -> None:
    assert found(("repr-digest", value)) == [(name, "repr-digest") for name in algorithms]
    assert found(("repr-digest", value), whole=False) == [(name, "repr-digest") for name in algorithms]
    assert found(("content-digest", value)) == [(name, "content-digest") for name in algorithms]
    assert found(("content-digest", value), whole=False) == []


def test_lines_are_joined_and_repetitions_told_once() -> None:
    one, other = (f"sha-256=:{B64['sha256']}:", f"sha-512=:{B64['sha512']}:")
    told = found(("repr-digest", one), ("repr-digest", other), ("content-digest", one))
    assert told == [("sha512", "repr-digest"), ("sha256", "repr-digest")]


@pytest.mark.parametrize(
    ("headers", "algorithms"),
    [
        ([("x-amz-checksum-sha256", B64["sha256"])], ["sha256"]),
        ([("x-amz-checksum-sha1", f" {B64['sha1']} "), ("x-amz-checksum-type", "FULL_OBJECT")], ["sha1"]),
        ([("x-amz-checksum-sha256", B64["sha256"]), ("x-amz-checksum-type", "COMPOSITE")], []),
        ([("x-amz-checksum-sha256", B64["sha256"] + "-3")], []),
        ([("x-amz-checksum-crc32c", "AAAAAA=="), ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=")], []),
    ],
)
def test_s3(headers: list[tuple[str, str]], algorithms: list[str]) -> None:
    assert found(*headers) == [(name, "x-amz-checksum") for name in algorithms]
    # With a range it may be the checksum of one part.
    assert found(*headers, whole=False) == []


MD5 = ("x-goog-hash", f"md5={B64['md5']}")


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ([("x-goog-hash", f"crc32c=n03x6A==,md5={B64['md5']}")], True),
        ([("x-goog-hash", "crc32c=n03x6A=="), MD5], True),
        ([MD5, ("content-encoding", "identity")], True),
        ([MD5, ("content-encoding", "gzip")], False),
        ([MD5, ("x-goog-stored-content-encoding", "gzip")], False),
        ([MD5, ("x-goog-stored-content-encoding", "identity")], True),
        ([("x-goog-hash", "crc32c=n03x6A==")], False),
        ([("x-goog-hash", "md5=AAAA")], False),
        ([("x-goog-hash", "md5=?")], False),
        ([("x-goog-hash", "")], False),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_google_cloud_storage(headers: list[tuple[str, str]], known: bool, whole: bool) -> None:
    assert found(*headers, whole=whole) == ([("md5", "x-goog-hash")] if known else [])


TAG = f'"{HEX["sha256"]}"'


@pytest.mark.parametrize(
    ("headers", "host", "known"),
    [
        ([("x-linked-etag", TAG)], "mirror.example", True),
        ([("x-linked-etag", TAG.upper())], "huggingface.co", True),
        ([("etag", TAG)], "huggingface.co", True),
        ([("etag", TAG)], "h", False),
        ([("etag", TAG), ("x-linked-etag", f'"{HEX["sha1"]}"')], "huggingface.co", False),
        ([("etag", f'"{HEX["sha1"]}"')], "huggingface.co", False),
        ([("x-linked-etag", HEX["sha256"])], "huggingface.co", False),
        ([("x-linked-etag", TAG), ("content-encoding", "br")], "huggingface.co", False),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_hugging_face(headers: list[tuple[str, str]], host: str, known: bool, whole: bool) -> None:
    assert found(*headers, host=host, whole=whole) == ([("sha256", "hf-etag")] if known else [])


def test_digests_that_contradict_each_other_are_all_told() -> None:
    other = "0" * 64
    told = announced(
        [("repr-digest", f"sha-256=:{B64['sha256']}:"), ("x-linked-etag", f'"{other}"')], "h", whole=True
    )
    assert told == [
        Announced(Digest("sha256", HEX["sha256"]), "repr-digest", False),
        Announced(Digest("sha256", other), "hf-etag", False),
    ]


NAMES = [
    "repr-digest",
    "content-digest",
    "x-amz-checksum-sha256",
    "x-goog-hash",
    "x-linked-etag",
    "content-encoding",
]


@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.one_of(st.text(), st.text(alphabet='sha-256md5=:,;"AB+/? ')))
    ),
    st.text(),
)
def test_nothing_malformed_raises(headers: list[tuple[str, str]], host: str) -> None:
    for whole in (True, False):
        assert len(set(announced(headers, host, whole=whole))) == len(announced(headers, host, whole=whole))
