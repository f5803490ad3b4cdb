"""The words everybody uses, as types; no behaviour beyond checking themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final, NewType, Self

from p2pstore.errors import BadDigest

Key = NewType("Key", str)
"""64 lower-case hex characters: BLAKE3 of canonical URL, scope and variant."""
Root = NewType("Root", str)
"""64 lower-case hex characters naming an object: hash of its length and of the top of its digest tree."""
Version = NewType("Version", str)
"""32 lower-case hex characters naming what a key stood for while bytes were coming in."""
NodeId = NewType("NodeId", str)
"""64 lower-case hex characters naming a member: SHA-256 of its public key."""

PUBLIC: Final = "public"
"""The scope of entries that anybody on the node may have."""

DIGEST_HEX_CHARS: Final = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128, "blake3": 64}
"""Known digest algorithms and the length of their hexadecimal form."""
CALLER_ALGORITHMS: Final = ("sha256", "sha512", "blake3", "md5")
"""What a caller may name; md5 is accepted with a warning because it is not collision-proof."""
_SPELLINGS: Final = {"sha-256": "sha256", "sha-512": "sha512", "sha-1": "sha1"}
_HEX: Final = re.compile(r"[0-9a-f]+\Z")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` up to but not including `stop`; 0 <= start < stop."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"not a byte range: {self.start}..{self.stop}")

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Digest:
    """A named digest of whole contents, hexadecimal in lower case."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        chars = DIGEST_HEX_CHARS.get(self.algorithm)
        if chars is None:
            raise BadDigest(
                f"unknown digest algorithm {self.algorithm!r}; use {', '.join(CALLER_ALGORITHMS)}"
            )
        if len(self.hex) != chars or not _HEX.match(self.hex):
            raise BadDigest(
                f"a {self.algorithm} digest has {chars} hexadecimal characters, not {self.hex[:140]!r}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sha256:HEX` (also `sha-256=HEX`); raises BadDigest."""
        algorithm, mark, hexadecimal = text.strip().partition(":" if ":" in text else "=")
        if not mark:
            raise BadDigest(
                f"write a digest as ALGORITHM:HEX, for example sha256:9f2c..., not {text[:140]!r}"
            )
        algorithm = algorithm.strip().lower()
        return cls(_SPELLINGS.get(algorithm, algorithm), hexadecimal.strip().lower())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is known of one version of one key: the object's name, and the response that brought it.

    Times are wall-clock seconds since 1970; `headers` are (lower-case name, value) pairs in order of arrival, for
    freshness and for the caller, without credentials. `size_bytes` is the object's length.
    """

    key: Key
    url: str
    """Canonical and redacted (no userinfo, no signatures), or `put:NAME`."""
    scope: str
    """`public`, or who alone may have it: `uid:UID` or `uid:UID:CREDENTIAL-HASH`."""
    ver: Version
    root: Root
    size_bytes: int
    piece_bytes: int
    headers: tuple[tuple[str, str], ...] = ()
    vary: tuple[tuple[str, str], ...] = ()
    """Request fields named by Vary with the values sent (RFC 9111 4.1)."""
    request_at: float = 0.0
    response_at: float = 0.0
    stored_at: float = 0.0
    digests: dict[str, str] = field(default_factory=dict)
    """Algorithm to hex; every one was computed from the stored bytes."""
    verified: str = "transfer"
    """Why the bytes are believed: `digest` (a caller's or the origin's digest agreed) or `transfer` (lengths and validators did)."""
    boot_id: str = ""
    """The boot during which the bytes were written; trusted as they are only in that boot or when durable."""
    durable: bool = False
    owner_uid: int = -1
    """Who stored it (`put` and private entries); -1 for public entries."""

    def with_changes(self, **changes: object) -> Entry:
        """A copy with some fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def header(self, name: str) -> str | None:
        """All values of a stored field joined by commas, or None (RFC 9110 5.3)."""
        values = [value for field_name, value in self.headers if field_name == name]
        return ", ".join(values) if values else None

    @property
    def is_put(self) -> bool:
        """Whether this is a stored result, which is durable and never evicted."""
        return self.url.startswith("put:")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the kernel says: the peer credentials of the connection, fixed at connect time."""

    uid: int
    gid: int
    pid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is known about an entry before its bytes are all there; `entry` makes it whole."""

    key: Key
    url: str
    scope: str
    ver: Version
    headers: tuple[tuple[str, str], ...] = ()
    vary: tuple[tuple[str, str], ...] = ()
    request_at: float = 0.0
    response_at: float = 0.0
    owner_uid: int = -1
    validator: str = ""
    """The strong validator that guards a resumption (If-Range), or empty."""

    def entry(self, root: Root, size_bytes: int, piece_bytes: int, **more: object) -> Entry:
        """The entry of these bytes; `more` sets further fields of Entry."""
        return Entry(
            key=self.key,
            url=self.url,
            scope=self.scope,
            ver=self.ver,
            root=root,
            size_bytes=size_bytes,
            piece_bytes=piece_bytes,
            headers=self.headers,
            vary=self.vary,
            request_at=self.request_at,
            response_at=self.response_at,
            owner_uid=self.owner_uid,
            **more,  # type: ignore[arg-type]
        )
