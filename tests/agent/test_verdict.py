"""What the head of an answer says of the bytes to come."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from p2pstore.agent.asks import Asks, Request
from p2pstore.agent.verdict import announced_of, appraise
from p2pstore.cache.keys import key_of
from p2pstore.config import Config
from p2pstore.sources.base import Answer, Pace, Sink
from p2pstore.types import PUBLIC, ByteRange, Caller

URL = "http://host.example/file"
TOTAL = 5_000_000
PART = ByteRange(0, 1 << 20)


def request(uid: int = 7, **args: Any) -> Request:
    return Asks(Config(), agent_uid=1).read({"url": URL, **args}, Caller(uid=uid, gid=uid, pid=1))


class Nothing:
    """A body that nobody reads: a verdict is about the head."""

    async def read(self, limit: int) -> bytes:
        raise AssertionError

    async def pour(self, sink: Sink, pace: Pace) -> int:
        raise AssertionError

    def chunks(self) -> AsyncIterator[bytes]:
        raise AssertionError

    async def aclose(self) -> None: ...


def answer(*headers: tuple[str, str], span: ByteRange | None = PART, **more: Any) -> Answer:
    part = (("content-range", f"bytes {span.start}-{span.stop - 1}/{TOTAL}"),) if span else ()
    fields: dict[str, Any] = {
        "status": 206 if span else 200,
        "headers": (*headers, *part),
        "url": URL,
        "request_at": 1.0,
        "response_at": 2.0,
        "total": TOTAL,
        "span": span,
        "ranges": True,
        "validator": '"1"',
        "hops": (),
        "body": Nothing(),
    }
    return Answer(**{**fields, **more})


def test_an_answer_for_everybody() -> None:
    found = appraise(request(), answer(("etag", '"1"'), ("cache-control", "max-age=60")))
    assert (found.keep, found.only_uid) == (True, None)
    draft = found.draft
    assert (draft.key, draft.scope, draft.owner_uid) == (key_of(URL, PUBLIC), PUBLIC, -1)
    assert (draft.validator, draft.request_at, draft.response_at) == ('"1"', 1.0, 2.0)


@pytest.mark.parametrize(
    ("header", "keep"),
    [
        (("set-cookie", "a=1"), True),
        (("cache-control", "private"), True),
        (("vary", "cookie"), True),
        (("vary", "*"), True),
        (("cache-control", "no-store"), False),
    ],
    ids=str,
)
def test_an_answer_for_the_one_who_asked(header: tuple[str, str], keep: bool) -> None:
    found = appraise(request(uid=7), answer(header))
    other = appraise(request(uid=8), answer(header))
    assert (found.keep, found.only_uid, found.draft.owner_uid) == (keep, 7, 7)
    assert found.draft.scope == "uid:7"
    assert found.draft.key != other.draft.key
    assert found.why


def test_what_a_private_request_brings_stays_under_its_credential() -> None:
    asked = request(auth={"bearer": "t"})
    found = appraise(asked, answer(("cache-control", "public, max-age=60")))
    assert (found.draft.scope, found.draft.key, found.only_uid) == (asked.scope, asked.key, None)
    assert found.draft.owner_uid == 7


def test_nothing_is_kept_that_speaks_for_somebody_or_of_one_part() -> None:
    secret = ("set-cookie", "session=verysecret"), ("www-authenticate", "Basic"), ("content-length", "5")
    kept = appraise(request(), answer(*secret, ("etag", '"1"'), ("x-own", "kept"))).draft.headers
    assert kept == (("etag", '"1"'), ("x-own", "kept"))


def test_a_version_is_told_by_its_validator_and_its_length() -> None:
    one = appraise(request(), answer()).draft.ver
    assert appraise(request(), answer(span=None)).draft.ver == one
    assert appraise(request(), answer(validator='"2"')).draft.ver != one
    assert appraise(request(), answer(total=TOTAL + 1)).draft.ver != one
    weak = appraise(request(), answer(validator=None)).draft.ver
    dated = appraise(request(), answer(("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"), validator=None))
    assert len({one, weak, dated.draft.ver}) == 3


@pytest.mark.parametrize(
    "unguarded",
    [{"validator": None}, {"span": None, "ranges": False}],
    ids=["no strong validator", "no ranges"],
)
def test_what_can_not_be_resumed_is_not_marked_as_if_it_could(unguarded: dict[str, Any]) -> None:
    assert appraise(request(), answer(**unguarded)).draft.validator == ""
    assert appraise(request(), answer(("cache-control", "no-store"))).draft.validator == ""


def test_the_fields_that_chose_a_variant_are_noted() -> None:
    asked = request(headers=[["Accept", "text/html"]])
    found = appraise(asked, answer(("vary", "accept, accept-encoding")))
    assert found.draft.vary == (("accept", "text/html"),)


def test_digests_of_the_whole_are_announced_by_parts_too() -> None:
    digest = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    of_all = ("repr-digest", f"sha-256=:{digest}:")
    of_this = ("content-digest", f"sha-256=:{digest}:")
    assert [one.digest.algorithm for one in announced_of(answer(of_all))] == ["sha256"]
    assert announced_of(answer(of_this)) == []
    assert [one.digest.algorithm for one in announced_of(answer(of_this, span=None))] == ["sha256"]
    whole = answer(of_this, span=ByteRange(0, TOTAL))
    assert [one.digest.algorithm for one in announced_of(whole)] == ["sha256"]
