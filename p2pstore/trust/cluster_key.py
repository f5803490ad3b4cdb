"""The one secret of a cluster, and every key made from it. Pure.

Whoever has the cluster key is a member. Nothing is ever encrypted or signed with the key itself: each use has a key of its own,
derived by HKDF with SHA-256 (RFC 5869) under a label of its own. The secret shows in no repr, no str and no error.
"""

from __future__ import annotations

import hmac
from enum import Enum
from typing import Final, NoReturn, Self

from p2pstore.errors import BadConfig
from p2pstore.trust import words

KEY_BYTES: Final = 32
PREFIX: Final = "p2pkey1"
"""What the text form begins with; the digit is its version."""
WORD_CHARS: Final = len(PREFIX) + words.word_chars(KEY_BYTES)

_SALT: Final = b"p2pstore cluster"
_WHAT: Final = "the cluster key"
_HINT: Final = (
    "copy the whole file from another node, or make a new cluster: p2pstore init --cluster-key FILE"
)


class Purpose(Enum):
    """What a derived key is for; the value is its label, fixed for good. A new use gets a new label."""

    CLUSTER_ID = b"cluster id v1"
    HINT = b"key hint v1"
    AUTHORITY = b"ca v1"
    DATAGRAMS = b"gossip v1"
    INDEX = b"index v1"
    REQUESTS = b"request v1"


class ClusterKey:
    """A cluster's secret: 32 bytes from the system's source of randomness, which the caller passes in.

    Equal to another one that holds the same secret. It can't be pickled or copied into a message; `to_text` is the one way out.
    """

    __slots__ = ("_root", "_secret", "cluster_id", "hint")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a cluster key has {KEY_BYTES} bytes, not {len(secret)}")
        if len(set(secret)) == 1:
            raise ValueError("a cluster key of equal bytes came from no source of randomness")
        self._secret = bytes(secret)
        self._root = hmac.digest(_SALT, self._secret, "sha256")
        self.cluster_id = self.derive(Purpose.CLUSTER_ID)[:16].hex()
        """32 hex characters that tell clusters apart; not secret."""
        self.hint = self.derive(Purpose.HINT)[0]
        """0..255: which key of a ring was used; not secret and not unique."""

    def derive(self, purpose: Purpose, context: bytes = b"") -> bytes:
        """The 32-byte key for one purpose and context, as secret as this key (HKDF-Expand, one block).

        The label goes in with its length before it, so that no label and context read like another pair.
        """
        label = purpose.value
        info = bytes((len(label),)) + label + context
        return hmac.digest(self._root, info + b"\x01", "sha256")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote, a line end after it or not; raises BadConfig without quoting any of it."""
        secret = words.decode(PREFIX, text, what=_WHAT, hint=_HINT, error=BadConfig, most_bytes=KEY_BYTES)
        return cls.from_secret(secret)

    @classmethod
    def from_secret(cls, secret: bytes) -> Self:
        """A key that came from outside; raises BadConfig where the constructor raises ValueError."""
        try:
            return cls(secret)
        except ValueError as error:
            raise BadConfig(f"{_WHAT} can't be used: {error}", hint=_HINT) from None

    def to_text(self) -> str:
        """The secret as one word, for a file of mode 0600."""
        return words.encode(PREFIX, self._secret)

    def to_secret(self) -> bytes:
        """The secret itself, for an invite."""
        return self._secret

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ClusterKey):
            return NotImplemented
        return hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self.cluster_id)

    def __repr__(self) -> str:
        return f"<ClusterKey of cluster {self.cluster_id}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a cluster key can't be pickled or copied")
