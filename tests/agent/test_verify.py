"""Which digests must agree, and who is told when they don't."""

from __future__ import annotations

import hashlib

import pytest

from p2pstore.agent import verify
from p2pstore.cache.digests import Announced
from p2pstore.errors import DigestMismatch
from p2pstore.types import Digest

BODY = b"some bytes of a file"
GOOD = Digest("sha256", hashlib.sha256(BODY).hexdigest())
BAD = Digest("sha256", hashlib.sha256(b"others").hexdigest())
FOUND = {"sha256": GOOD.hex}
URL = "http://host/file"


def announce(digest: Digest) -> Announced:
    return Announced(digest=digest, source="repr-digest", partial=False)


def test_all_algorithms_that_somebody_named_are_wanted() -> None:
    md5 = Digest("md5", hashlib.md5(BODY).hexdigest())
    assert verify.algorithms([announce(GOOD)], [(), (md5,)]) == {"sha256", "md5"}


def test_digests_of_bytes_in_memory_are_those_of_the_library() -> None:
    found = verify.digests_of(BODY, ["sha256", "sha512", "md5", "blake3"])
    assert found["sha256"] == GOOD.hex
    assert found["md5"] == hashlib.md5(BODY).hexdigest()
    assert len(found["blake3"]) == 64


def test_an_origin_that_announced_nothing_vouches_for_nothing() -> None:
    assert verify.check_origin(URL, [], FOUND) is False
    assert verify.check_origin(URL, [announce(GOOD)], FOUND) is True


def test_an_origin_whose_digest_differs_fails_the_load() -> None:
    with pytest.raises(DigestMismatch) as caught:
        verify.check_origin(URL, [announce(BAD)], FOUND)
    assert caught.value.details["found"] == GOOD.hex
    assert "repr-digest" in caught.value.message


@pytest.mark.parametrize(
    ("callers", "vouched"),
    [
        ([], False),
        ([()], False),
        ([(GOOD,)], True),
        ([(GOOD,), (BAD,)], True),
        ([(), (BAD,)], False),
    ],
)
def test_one_callers_wrong_digest_fails_nobody_else(callers: list[tuple[Digest, ...]], vouched: bool) -> None:
    assert verify.check_callers(URL, callers, FOUND) is vouched


def test_bytes_that_no_caller_wants_are_not_published() -> None:
    with pytest.raises(DigestMismatch):
        verify.check_callers(URL, [(BAD,), (GOOD, Digest("sha256", "0" * 64))], FOUND)
