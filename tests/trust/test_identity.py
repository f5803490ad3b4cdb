"""Node ids: the hash of the public key, fixed for good."""

from __future__ import annotations

import copy
import pickle
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import BadConfig
from p2pstore.trust import identity, words
from p2pstore.trust.identity import NodeKey, is_node_id, wire_id

SEED = bytes(range(100, 132))
SEEDS = st.binary(min_size=32, max_size=32).filter(lambda one: len(set(one)) > 1)
NODE = "d5e53ae62b16811a63999a57af6ff84c4dbc35c11479c83c3e869ddeee60cc76"


def test_a_known_node() -> None:
    key = NodeKey(SEED)
    assert key.node == NODE
    assert key.public.hex() == "0bbc346a57667c380120bd9c7fd7e51d2c5fdfea37cd2f5bf405b2c6bf6f2d78"
    assert key.to_text() == "p2pnode1mrswmz3infvgw3dnnzxxa4lson2hk5txpb4xu634pv7h7aebqkbwxnf2pi"
    assert wire_id(key.node) == bytes.fromhex("d5e53ae62b16811a")
    # The first vector of RFC 8032 7.1.
    vector = NodeKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert vector.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@given(SEEDS)
def test_the_id_is_the_hash_of_the_key_as_certificates_hold_it(seed: bytes) -> None:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    key = NodeKey(seed)
    assert identity.spki(key.public) == der
    assert key.node == sha256(der).hexdigest() and is_node_id(key.node)


@given(SEEDS)
def test_what_is_written_is_read(seed: bytes) -> None:
    key = NodeKey(seed)
    assert NodeKey.from_text(key.to_text() + "\n").node == key.node


def test_the_secret_half_for_tls() -> None:
    loaded = load_pem_private_key(NodeKey(SEED).private_pem(), None)
    assert isinstance(loaded, Ed25519PrivateKey)
    assert loaded.private_bytes_raw() == SEED


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(32), b"a" * 33])
def test_what_makes_no_key(seed: bytes) -> None:
    with pytest.raises(ValueError, match="bytes"):
        NodeKey(seed)


def test_a_key_of_zeros_is_refused_from_a_file_too() -> None:
    with pytest.raises(BadConfig, match="can't be used"):
        NodeKey.from_text(words.encode(identity.PREFIX, bytes(32)))


@pytest.mark.parametrize("text", ["", "p2pnode1aaaa", "p2pkey1aaaa", NodeKey(SEED).to_text()[:-1]])
def test_a_bad_text_says_what_to_do(text: str) -> None:
    with pytest.raises(BadConfig) as caught:
        NodeKey.from_text(text)
    assert "new id" in caught.value.hint
    assert NodeKey(SEED).to_text()[10:30] not in str(caught.value)


@pytest.mark.parametrize("text", ["", NODE[:-1], NODE + "0", NODE.upper(), NODE[:-1] + "g", NODE + "\n"])
def test_what_is_no_node_id(text: str) -> None:
    assert is_node_id(NODE) and not is_node_id(text)


def test_the_secret_is_never_shown() -> None:
    key = NodeKey(SEED)
    for shown in (repr(key), str(key), f"{key}", repr([key])):
        assert key.node in shown
        assert SEED.hex()[:12] not in shown and key.to_text()[10:30] not in shown and "fghij" not in shown
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            way(key)
