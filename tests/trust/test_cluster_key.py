"""The cluster key: derivations fixed for good, a text form, and no way to see the secret by accident."""

from __future__ import annotations

import copy
import json
import pickle
import traceback

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import BadConfig
from p2pstore.trust.cluster_key import KEY_BYTES, WORD_CHARS, ClusterKey, Purpose

SECRET = bytes(range(32))
SECRETS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES).filter(lambda one: len(set(one)) > 1)

# A change of any of these cuts a running cluster in two.
KNOWN = {
    Purpose.CLUSTER_ID: "14f71f8ae57b179c7b08ee1229963de894f850c35a4e174bf3ce2a85e645e0c3",
    Purpose.HINT: "b9bf77257b25d3da418adaec01a488f334a0d4834f64c20fa8473fdf14e38871",
    Purpose.AUTHORITY: "a1815cf54af24df1a043749bb6ec1b7e15fab018681c4b8a0f8b304417b9aff3",
    Purpose.DATAGRAMS: "8b65f354f7f23ab23ee312f4aeb3127e16ae6c1928fafd74cb9bd762ae69dacf",
    Purpose.INDEX: "ccdc302f7bd34f62e94b1cba2bdc3b283d13267addbed3cf3826feb7baf0b7fa",
    Purpose.REQUESTS: "9771fb6150025459dcd1d94493493113a0940ca054ce779c544eb8729b4b5944",
}


def test_every_purpose_has_its_known_key() -> None:
    key = ClusterKey(SECRET)
    assert {purpose: key.derive(purpose).hex() for purpose in Purpose} == KNOWN
    assert len(set(KNOWN.values())) == len(KNOWN)
    assert key.cluster_id == "14f71f8ae57b179c7b08ee1229963de8"
    assert key.hint == 0xB9


def test_a_context_gives_a_key_of_its_own() -> None:
    found = ClusterKey(SECRET).derive(Purpose.DATAGRAMS, b"context")
    assert found.hex() == "07d86ce74d8a1012a545f9e444f3b77bd552be2268cc6f8870979981794b16d2"


@given(SECRETS, st.sampled_from(Purpose), st.binary(max_size=40))
def test_derivation_is_hkdf(secret: bytes, purpose: Purpose, context: bytes) -> None:
    info = bytes((len(purpose.value),)) + purpose.value + context
    other = HKDF(hashes.SHA256(), 32, b"p2pstore cluster", info).derive(secret)
    assert ClusterKey(secret).derive(purpose, context) == other


def test_a_label_and_context_never_read_like_another_pair() -> None:
    heads = [bytes((len(one.value),)) + one.value for one in Purpose]
    assert not [(one, two) for one in heads for two in heads if one is not two and two.startswith(one)]


@given(SECRETS)
def test_what_is_written_is_read(secret: bytes) -> None:
    key = ClusterKey(secret)
    text = key.to_text()
    assert len(text) == WORD_CHARS
    again = ClusterKey.from_text(f"{text}\n")
    assert again == key and hash(again) == hash(key)
    assert again.to_secret() == secret and again.cluster_id == key.cluster_id


def test_the_text_form_is_fixed() -> None:
    assert ClusterKey(SECRET).to_text() == "p2pkey1aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypxkk6ftq"


def test_other_keys_are_not_equal() -> None:
    assert ClusterKey(SECRET) != ClusterKey(SECRET[::-1])
    assert ClusterKey(SECRET) != SECRET


@pytest.mark.parametrize("secret", [b"", b"x" * 31, bytes(33), bytes(32), b"\xff" * 32])
def test_what_can_be_no_key(secret: bytes) -> None:
    with pytest.raises(ValueError, match="a cluster key"):
        ClusterKey(secret)
    with pytest.raises(BadConfig, match="can't be used"):
        ClusterKey.from_secret(secret)


@pytest.mark.parametrize("text", ["", "p2pkey1", "p2pkey1aaaa", "p2pinvite1aaaa", "\0", "x" * 10_000])
def test_a_bad_text_says_what_to_do(text: str) -> None:
    with pytest.raises(BadConfig) as caught:
        ClusterKey.from_text(text)
    assert "p2pstore init --cluster-key FILE" in caught.value.hint


def shows_secret(shown: str, key: ClusterKey) -> bool:
    secret = key.to_secret()
    body = key.to_text()[7:]
    return any(part in shown for part in (secret.hex()[:12], repr(secret)[2:20], body[:12], body[-12:]))


def assert_never_shown(key: ClusterKey) -> None:
    for shown in (repr(key), str(key), f"{key}", f"{key!r:>80}", "%s" % key, repr([key]), repr({"key": key})):  # noqa: UP031
        assert not shows_secret(shown, key), shown
    assert not hasattr(key, "__dict__")


@pytest.mark.parametrize("planted", [False, True])
def test_the_secret_is_never_shown(planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ClusterKey(SECRET)
    if not planted:
        assert_never_shown(key)
        return
    monkeypatch.setattr(ClusterKey, "__repr__", lambda self: f"ClusterKey({self._secret!r})")
    with pytest.raises(AssertionError):
        assert_never_shown(key)


def test_the_secret_leaves_by_no_other_door() -> None:
    key = ClusterKey(SECRET)
    for way in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as caught:
            way(key)
        assert not shows_secret(str(caught.value), key)


@given(SECRETS, st.integers(0, WORD_CHARS - 1), st.sampled_from("abz27A= \n\u017f"))
def test_no_error_quotes_a_mistyped_key(secret: bytes, at: int, typed: str) -> None:
    key = ClusterKey(secret)
    text = key.to_text()
    mistyped = text[:at] + typed + text[at + 1 :]
    try:
        ClusterKey.from_text(mistyped)
    except BadConfig as error:
        last = "".join(traceback.format_exception(error))
        assert not shows_secret(last + repr(error.details), key)
    else:
        assert mistyped == text
