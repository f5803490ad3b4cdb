"""Requests are public only when nothing in them could have told the origin who asks."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.trust import privacy
from p2pstore.trust.privacy import HARMLESS_HEADERS, Asked, classify_request

names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
fields = st.lists(st.tuples(names, st.text(max_size=12)), max_size=5)


def test_a_bare_request_is_public() -> None:
    assert classify_request(()) == Asked(private=False, credential="", why="")


@pytest.mark.parametrize(
    "name",
    [
        *sorted(HARMLESS_HEADERS),
        "Accept",
        "ACCEPT-ENCODING",
        " Range ",
        "If-None-Match",
        "if-range",
        "If-Modified-Since",
    ],
)
def test_harmless_fields_leave_it_public(name: str) -> None:
    assert not classify_request([(name, "x")]).private


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "authorization",
        "Cookie",
        "Proxy-Authorization",
        "X-Api-Key",
        "Private-Token",
        "X-Amz-Security-Token",
        "Accept-Language",
        "Accepts",
        "Referer",
        "Origin",
        "Forwarded",
        "X-Forwarded-For",
        "Cache-Control",
        "iffy",
        "x-if-match",
        "",
    ],
)
def test_any_other_field_makes_it_private(name: str) -> None:
    asked = classify_request([("Accept", "*/*"), (name, "hunter2")])
    assert asked.private
    assert "hunter2" in asked.credential
    assert name.lower() in asked.why


def test_user_information_makes_it_private() -> None:
    asked = classify_request((), userinfo=("ann", "hunter2"))
    assert asked.private and asked.credential
    assert "user information" in asked.why


def test_an_empty_user_name_is_still_user_information() -> None:
    assert classify_request((), userinfo=("", "")).private


def test_a_signed_url_is_private() -> None:
    asked = classify_request((), signer="s3", signer_credential="AKIDEXAMPLE")
    assert asked.private
    assert "AKIDEXAMPLE" in asked.credential
    assert "s3" in asked.why
    assert classify_request((), signer="hf").private


def test_a_host_that_admits_by_address_is_private_without_a_credential() -> None:
    asked = classify_request((), host_is_private=True)
    assert asked == Asked(private=True, credential="", why="the host is listed in [origin] private_hosts")


def test_all_reasons_are_told_once_and_no_value() -> None:
    asked = classify_request(
        [("Cookie", "hunter2"), ("cookie", "hunter3")],
        userinfo=("ann", "hunter4"),
        signer="gcs",
        host_is_private=True,
    )
    assert asked.why.count("cookie") == 1
    assert [word in asked.why for word in ("cookie", "user information", "gcs", "private_hosts")] == [
        True
    ] * 4
    assert "hunter" not in asked.why
    assert "hunter" not in repr(asked)


def test_one_credential_is_one_text_however_it_came() -> None:
    basic = b64encode(b"ann:hunter2").decode()
    texts = {
        classify_request((), userinfo=("ann", "hunter2")).credential,
        classify_request([("Authorization", f"Basic {basic}")]).credential,
        classify_request([("AUTHORIZATION", f" basic  {basic} ")]).credential,
        classify_request([("accept", "*/*"), ("authorization", f"BASIC {basic}")]).credential,
        classify_request([("authorization", f"Basic {basic}")], userinfo=("ann", "hunter2")).credential,
    }
    assert len(texts) == 1


def test_different_credentials_are_different_texts() -> None:
    texts = [
        classify_request([("authorization", "Bearer abc")]).credential,
        classify_request([("authorization", "Bearer ABC")]).credential,
        classify_request([("authorization", "Basic abc")]).credential,
        classify_request([("authorization", "abc")]).credential,
        classify_request([("authorization", "")]).credential,
        classify_request([("cookie", "abc")]).credential,
        classify_request([("cookie", "ABC")]).credential,
        classify_request([("cookie", "a"), ("x-b", "c")]).credential,
        classify_request([("cookie", "a"), ("x-c", "b")]).credential,
        classify_request((), userinfo=("ab", "c")).credential,
        classify_request((), userinfo=("a", "bc")).credential,
        classify_request((), signer="s3", signer_credential="abc").credential,
        classify_request((), signer="gcs", signer_credential="abc").credential,
        classify_request(()).credential,
    ]
    assert len(set(texts)) == len(texts)


def test_text_beyond_latin_does_not_break_it() -> None:
    assert classify_request([("x-name", "日本")], userinfo=("jürgen", "pässwort")).private


@given(fields, st.permutations(range(5)))
def test_order_does_not_count(pairs: list[tuple[str, str]], order: list[int]) -> None:
    shuffled = [pairs[i] for i in order if i < len(pairs)]
    assert classify_request(pairs).credential == classify_request(shuffled).credential


@given(fields, fields)
def test_equal_texts_come_from_equal_fields_only(
    one: list[tuple[str, str]], two: list[tuple[str, str]]
) -> None:
    def plain(pairs: list[tuple[str, str]]) -> set[tuple[str, str]]:
        kept = [(name, value.strip()) for name, value in pairs if name not in HARMLESS_HEADERS]
        return {(name, value) for name, value in kept if not name.startswith("if-")}

    if classify_request(one).credential == classify_request(two).credential:
        assert plain(one) == plain(two)


def test_without_lengths_two_credentials_would_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = [("x-a", "bx-c"), ("x-d", "e")], [("x-a", "b"), ("x-cx-d", "e")]
    assert classify_request(one).credential != classify_request(two).credential
    monkeypatch.setattr(
        privacy, "_text_of", lambda spoken: "".join(part for pair in sorted(spoken) for part in pair)
    )
    assert classify_request(one).credential == classify_request(two).credential
