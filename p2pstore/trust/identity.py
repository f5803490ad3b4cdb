"""Who a node is: a key pair of its own, and an id that is the hash of its public key, so that nobody can wear another's. Pure."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final, NoReturn, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from p2pstore.errors import BadConfig
from p2pstore.trust import words
from p2pstore.types import NodeId

SEED_BYTES: Final = 32
PREFIX: Final = "p2pnode1"
"""What the text form of a node's key begins with; the digit is its version."""
WIRE_ID_BYTES: Final = 8
"""So many bytes of a node id stand for the node on the wire."""

_WHAT: Final = "the node's key"
_HINT: Final = "remove the file: the node then makes a new key, and has a new id"
_NODE_ID: Final = re.compile(r"[0-9a-f]{64}\Z")
# RFC 8410 4: the public key of every Ed25519 key pair is its 32 bytes behind these.
_SPKI_HEAD: Final = bytes.fromhex("302a300506032b6570032100")


class NodeKey:
    """A node's Ed25519 key pair (RFC 8032), made from 32 random bytes that the caller passes in. Shows in no repr."""

    __slots__ = ("_key", "_seed", "node", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a node's key is made from {SEED_BYTES} bytes, not {len(seed)}")
        if len(set(seed)) == 1:
            raise ValueError("equal bytes came from no source of randomness")
        self._seed = bytes(seed)
        self._key = Ed25519PrivateKey.from_private_bytes(self._seed)
        self.public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        """The public key, 32 bytes."""
        self.node = node_id(self.public)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote; raises BadConfig without quoting any of it."""
        seed = words.decode(PREFIX, text, what=_WHAT, hint=_HINT, error=BadConfig, most_bytes=SEED_BYTES)
        try:
            return cls(seed)
        except ValueError as error:
            raise BadConfig(f"{_WHAT} can't be used: {error}", hint=_HINT) from None

    def to_text(self) -> str:
        """The secret half as one word, for a file of mode 0600."""
        return words.encode(PREFIX, self._seed)

    def private_pem(self) -> bytes:
        """The secret half as TLS libraries read it (PKCS #8, not encrypted); not for the disk."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return f"<NodeKey of node {self.node}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a node's key can't be pickled or copied")


def spki(public: bytes) -> bytes:
    """A public key of 32 bytes as certificates hold it (SubjectPublicKeyInfo, RFC 8410 4)."""
    return _SPKI_HEAD + public


def node_id(public: bytes) -> NodeId:
    """The id of the node with this public key of 32 bytes: SHA-256 of its SubjectPublicKeyInfo, hexadecimal."""
    return NodeId(sha256(spki(public)).hexdigest())


def is_node_id(text: str) -> bool:
    """Whether a text has the form of a node id."""
    return _NODE_ID.match(text) is not None


def wire_id(node: NodeId) -> bytes:
    """The bytes that stand for a node on the wire; members make sure that no two of them share these."""
    return bytes.fromhex(node[: 2 * WIRE_ID_BYTES])
