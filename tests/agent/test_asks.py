"""From the words of a request to whose file is meant."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from p2pstore.agent import asks as asks_module
from p2pstore.agent.asks import MAX_DIGESTS, Asks, Request
from p2pstore.config import Config, JobsConfig, OriginConfig
from p2pstore.errors import BadDigest, BadRequest, BadUrl
from p2pstore.types import PUBLIC, ByteRange, Caller, Digest

URL = "http://host.example/data/file.bin"
SIGNED = URL + "?X-Amz-Credential=AKIA1%2F20260101%2Fs3&X-Amz-Signature=aaaa&X-Amz-Algorithm=AWS4-HMAC-SHA256"
SHA256 = "sha256:" + hashlib.sha256(b"x").hexdigest()


def read(url: str = URL, *, uid: int = 7, config: Config | None = None, **args: Any) -> Request:
    caller = Caller(uid=uid, gid=uid, pid=1)
    return Asks(config or Config(), agent_uid=1).read({"url": url, **args}, caller)


def test_a_plain_request_is_for_everybody() -> None:
    one = read()
    assert (one.scope, one.private, one.want) == (PUBLIC, False, "fd")
    assert one.key == read(uid=8).key


def test_spellings_of_one_url_are_one_key() -> None:
    assert read("HTTP://Host.Example:80/data/./file.bin#part").key == read().key
    assert read(URL + "?a=1").key != read().key


def test_a_public_answer_may_still_turn_out_to_be_for_one_uid() -> None:
    assert read(uid=7).keys[0] == read(uid=8).keys[0]
    assert read(uid=7).own_key != read(uid=8).own_key
    assert len(read().keys) == 2


@pytest.mark.parametrize(
    "credential",
    [
        {"auth": {"user": "me", "password": "secret"}},
        {"auth": {"bearer": "secret"}},
        {"headers": [["Authorization", "Bearer secret"]]},
        {"headers": [["Cookie", "session=1"]]},
        {"headers": [["X-Api-Key", "secret"]]},
    ],
    ids=str,
)
def test_a_credential_makes_it_private_to_uid_and_credential(credential: dict[str, Any]) -> None:
    one = read(**credential)
    assert one.private
    assert one.scope.startswith("uid:7:")
    assert "secret" not in one.scope
    assert one.keys == (one.key,)
    assert one.key not in {read().key, read().own_key, read(uid=8, **credential).key}
    assert one.key == read(**credential).key


def test_other_credentials_are_other_files() -> None:
    keys = {read(auth={"user": "me", "password": word}).key for word in "abc"}
    keys |= {read(auth={"bearer": word}).key for word in "abc"}
    assert len(keys) == 6


def test_one_credential_is_one_however_it_came() -> None:
    by_url = read("http://me:secret@host.example/data/file.bin")
    by_auth = read(auth={"user": "me", "password": "secret"})
    assert by_url.key == by_auth.key
    assert by_url.userinfo == by_auth.userinfo == ("me", "secret")
    assert "secret" not in by_url.url.text
    assert read(auth={"bearer": "t"}).key == read(headers=[["authorization", "bearer t"]]).key


def test_what_the_caller_gives_goes_before_what_the_url_says() -> None:
    one = read("http://me:old@host.example/data/file.bin", auth={"user": "me", "password": "new"})
    assert one.userinfo == ("me", "new")


def test_a_signed_url_is_private_and_another_signature_finds_it_again() -> None:
    one, again = read(SIGNED), read(SIGNED.replace("aaaa", "bbbb"))
    assert one.private
    assert one.key == again.key
    assert read(SIGNED.replace("AKIA1", "AKIA2")).key != one.key
    assert "bbbb" in again.url.fetch


def test_harmless_headers_leave_it_public() -> None:
    assert not read(headers=[["Accept", "text/plain"], ["User-Agent", "me"]]).private


def test_hosts_that_admit_by_address_are_private() -> None:
    config = Config(origin=OriginConfig(private_hosts=("host.example",)))
    assert read(config=config).scope == "uid:7"
    assert not read("http://other.example/", config=config).private


def test_local_files_are_private_to_who_opened_them() -> None:
    assert read("file:///data/file").scope == "uid:7"
    assert read("file:///data/file", uid=8).key != read("file:///data/file").key


def test_digests_are_read_and_weak_ones_are_named() -> None:
    one = read(digests=[SHA256, "md5:" + "0" * 32])
    assert one.digests == (Digest.parse(SHA256), Digest("md5", "0" * 32))
    assert any("md5" in warning for warning in one.warnings)
    assert read(digests=[SHA256]).warnings == ()


@pytest.mark.parametrize(
    ("digests", "error"),
    [
        (["sha256:12"], BadDigest),
        (["what"], BadDigest),
        (["sha1:" + "0" * 40], BadRequest),
        ([SHA256] * (MAX_DIGESTS + 1), BadRequest),
    ],
)
def test_digests_that_can_not_be_checked_are_refused(digests: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        read(digests=digests)


@pytest.mark.parametrize(
    "url", ["", "host/file", "ftp://host/file", "http://", "http://host/a b", "x" * 9000]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        read(url)


def test_wishes_are_passed_on() -> None:
    one = read(refresh=True, max_age_s=5, limit_rate=1000, deadline_s=3, progress=True, want="none")
    assert (one.wish.refresh, one.wish.offline, one.wish.max_age_s) == (True, False, 5)
    assert (one.limit_rate, one.deadline_s, one.progress, one.want) == (1000, 3.0, True, "none")


def test_an_age_of_nothing_is_a_wish_too() -> None:
    assert read(max_age_s=0).wish.max_age_s == 0


def test_who_names_no_deadline_has_the_agents() -> None:
    config = Config(jobs=JobsConfig(wait_timeout_s=12.0))
    assert read(config=config).deadline_s == 12.0


def test_parameters_can_be_left_out_of_the_name() -> None:
    assert read(URL + "?session=1", ignore_query=["session"]).key == read().key
    assert read(URL + "?session=1").key != read().key


def test_canonical_forms_are_remembered_but_not_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asks_module, "MAX_KNOWN_URLS", 2)
    asks = Asks(Config(), agent_uid=1)
    first = asks.canonical("http://host/1")
    assert asks.canonical("http://host/1") is first
    for number in range(2, 5):
        asks.canonical(f"http://host/{number}")
    assert asks.canonical("http://host/1") is not first
    assert len(asks._known) <= 2


@pytest.mark.parametrize(("uid", "own"), [(1, True), (7, False)])
def test_only_the_agents_own_user_is_let_to_loopback(uid: int, own: bool) -> None:
    asks = Asks(Config(), agent_uid=1)
    one = asks.read({"url": URL, "headers": [["Accept", "x"]]}, Caller(uid=uid, gid=uid, pid=1))
    ask = asks.origin_ask(one, {"If-None-Match": '"1"'}, ByteRange(0, 10), '"v"')
    assert ask.own_uid is own
    assert (ask.url, ask.first, ask.if_range) == (URL, ByteRange(0, 10), '"v"')
    assert ask.headers == (("accept", "x"),)
    assert dict(ask.conditional) == {"If-None-Match": '"1"'}
