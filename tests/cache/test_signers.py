"""Every signing scheme is recognised, and what it signs for is told from what it signs with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.cache.signers import SCHEMES, Signature, is_hf_host, parameters, recognise


def signed(query: str, host: str = "files.example") -> Signature:
    return recognise(host, parameters(query))


S3_V4 = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20260101%2Feu-west-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=abc&x-id=GetObject"
)
AZURE = "sv=2024-11-04&st=a&se=b&sr=b&sp=r&spr=https&sip=1.2.3.4&sig=abc%3D"


@pytest.mark.parametrize(
    ("query", "signer", "credential"),
    [
        (S3_V4, "s3", "AKIAEXAMPLE"),
        (S3_V4 + "&X-Amz-Security-Token=t", "s3", "AKIAEXAMPLE"),
        (S3_V4.lower(), "s3", "akiaexample"),
        (S3_V4.replace("X-Amz-", "X%2DAmz%2D"), "s3", "AKIAEXAMPLE"),
        ("AWSAccessKeyId=AKIA&Signature=abc&Expires=9", "s3", "AKIA"),
        ("X-Goog-Algorithm=G&X-Goog-Credential=a%40b.iam%2F2026&X-Goog-Signature=ab", "gcs", "a@b.iam"),
        ("GoogleAccessId=a%40b.iam&Expires=9&Signature=abc", "gcs", "a@b.iam"),
        (AZURE, "azure", "abc="),
        (AZURE + "&skoid=object-id&sktid=t&skt=a&ske=b&sks=b&skv=v", "azure", "object-id"),
        ("Expires=9&Signature=abc&Key-Pair-Id=K1", "cloudfront", "K1"),
        ("Policy=p&Signature=abc&Key-Pair-Id=K1&Hash-Algorithm=SHA256", "cloudfront", "K1"),
        ("X-Xet-Cas-Uid=user7&" + S3_V4, "hf", "user7"),
        ("__sign=jwt", "hf", "jwt"),
    ],
)
def test_every_parameter_of_a_signature_is_recognised(query: str, signer: str, credential: str) -> None:
    names = {one.name for one in parameters(query)}
    assert signed(query) == Signature(signer, credential, frozenset(names))


@pytest.mark.parametrize("host", ["huggingface.co", "hf.co", "cdn-lfs.hf.co", "cas-bridge.xethub.hf.co."])
def test_the_hubs_key_ids_stand_for_nobody(host: str) -> None:
    assert signed("Signature=one&Key-Pair-Id=K1&Expires=9", host).credential == "one"
    assert signed(S3_V4, host)[:2] == ("hf", "abc")
    assert signed("x=1", host).signer is None


def test_a_host_that_only_looks_like_the_hub_is_not_it() -> None:
    assert signed(S3_V4, "nothf.co").signer == "s3"
    assert is_hf_host("HuggingFace.co") and is_hf_host("huggingface.co.")
    assert not is_hf_host("cdn-lfs.hf.co") and not is_hf_host("nothf.co")


@pytest.mark.parametrize(
    "query",
    [
        "token=1",
        "access_token=1",
        "a=1&api_key=2",
        "sig=abc",
        "Signature=x&Expires=9",
        "x-oss-signature=a",
        "q-sign-time=1",
    ],
)
def test_secrets_of_no_known_scheme_are_private_too(query: str) -> None:
    found = signed(query)
    assert found.signer == "token"
    assert found.credential == "&".join(one.text for one in parameters(query) if one.name in found.names)


@pytest.mark.parametrize(
    "query", ["", "a=1", "se=1&sp=2&sv=3", "Expires=9", "policy=x", "x-id=GetObject", "tokens=1", "key=1"]
)
def test_what_only_looks_like_a_signature_is_none(query: str) -> None:
    assert signed(query) == Signature(None, "", frozenset())


@pytest.mark.parametrize(
    "query",
    [
        S3_V4 + "&token=t",
        S3_V4 + "&X-Goog-Credential=a",
        "X-Amz-Security-Token=t",
        "X-Amz-Credential=&X-Amz-Date=1",
    ],
)
def test_what_no_single_scheme_explains_is_wholly_the_credential(query: str) -> None:
    found = signed(query)
    assert found.credential == query
    assert found.names == {one.name for one in parameters(query)}


def test_repeated_identities_are_all_of_the_credential() -> None:
    assert signed("X-Amz-Credential=A/1&X-Amz-Credential=B/2&X-Amz-Signature=s").credential == "A\nB"


def test_response_overrides_and_versions_stay_in_the_identity() -> None:
    query = S3_V4 + "&versionId=3&response-content-type=text%2Fplain"
    assert {one.name for one in parameters(query)} - signed(query).names == {
        "versionid",
        "response-content-type",
    }


NAMES = sorted(
    {"a", "x-amz-signature", "x-goog-signature", "x-xet-a", "token", "sig"}
    | {
        name
        for scheme in SCHEMES
        for name in scheme.markers | scheme.companions | {scheme.identity, scheme.secret}
        if name
    }
)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["", "1", "b/c"]))),
    st.sampled_from(["h", "hf.co"]),
)
def test_nothing_signed_is_left_once_it_is_taken_out(pairs: list[tuple[str, str]], host: str) -> None:
    query = parameters("&".join(f"{name}={value}" for name, value in pairs))
    found = recognise(host, query)
    assert bool(found.signer) == bool(found.names) == bool(found.credential)
    rest = [one for one in query if one.name not in found.names]
    assert recognise(host, rest) == Signature(None, "", frozenset())


@given(st.text())
def test_joining_the_parameters_gives_the_query(query: str) -> None:
    assert "&".join(one.text for one in parameters(query)) == query
