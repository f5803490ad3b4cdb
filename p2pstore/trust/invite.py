"""An invite: one string with all that a new node needs to become a member. It is a secret. Pure.

It holds the cluster's id, its key and the addresses of some members, in one word with a checksum.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Self

from p2pstore.errors import BadRequest
from p2pstore.trust import words
from p2pstore.trust.cluster_key import KEY_BYTES, ClusterKey

PREFIX: Final = "p2pinvite1"
"""What an invite begins with; the digit is its version."""
MAX_SEEDS: Final = 16
MAX_SEED_CHARS: Final = 253 + 1 + 5
"""A DNS name of full length (RFC 1035 2.3.4), a colon and a port."""

_ID_BYTES: Final = 16
_MOST_BYTES: Final = _ID_BYTES + KEY_BYTES + 1 + MAX_SEEDS * (2 + MAX_SEED_CHARS)
MAX_CHARS: Final = len(PREFIX) + words.word_chars(_MOST_BYTES)
_WHAT: Final = "the invite"
_HINT: Final = "ask a member for a new one: p2pstore invite"
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}\Z")


@dataclass(frozen=True, slots=True)
class Invite:
    """What a new node is told; `seeds` are `HOST:PORT` of members, an IPv6 address in brackets, in the order to try them.

    Raises BadRequest for too many seeds and for one that is no address.
    """

    key: ClusterKey
    seeds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.seeds) > MAX_SEEDS:
            raise BadRequest(f"an invite holds at most {MAX_SEEDS} addresses, not {len(self.seeds)}")
        for seed in self.seeds:
            if not is_address(seed):
                raise BadRequest(
                    f"{seed[:140]!r} is no address of a member",
                    hint="write HOST:PORT, for example node1:7400",
                )

    @property
    def cluster_id(self) -> str:
        """Which cluster it leads to; not secret."""
        return self.key.cluster_id

    def to_text(self) -> str:
        """The invite as one word. Whoever reads it can join, and be any member."""
        parts = [bytes.fromhex(self.cluster_id), self.key.to_secret(), bytes((len(self.seeds),))]
        for seed in self.seeds:
            parts += (len(seed).to_bytes(2, "big"), seed.encode("ascii"))
        return words.encode(PREFIX, b"".join(parts))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote; raises BadRequest without quoting any of it."""
        payload = words.decode(PREFIX, text, what=_WHAT, hint=_HINT, error=BadRequest, most_bytes=_MOST_BYTES)
        seeds = _seeds_of(payload[_ID_BYTES + KEY_BYTES :])
        secret = payload[_ID_BYTES : _ID_BYTES + KEY_BYTES]
        if seeds is None or len(set(secret)) == 1:
            raise BadRequest(
                f"{_WHAT} can't be read: its checksum is right and its contents are not", hint=_HINT
            )
        key = ClusterKey(secret)
        if bytes.fromhex(key.cluster_id) != payload[:_ID_BYTES]:
            raise BadRequest(f"{_WHAT} names one cluster and holds the key of another", hint=_HINT)
        return cls(key, seeds)


def is_address(text: str) -> bool:
    """Whether this is `HOST:PORT` as seeds are written: a DNS name, an IPv4 address or an IPv6 address in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or len(text) > MAX_SEED_CHARS or not _PORT.match(port) or int(port) > 65535:
        return False
    if host.startswith("[") and host.endswith("]"):
        # A zone (`%eth0`) means something on one node only.
        return "%" not in host and _parses(IPv6Address, host[1:-1])
    # A host whose last label is a number is an address or nothing (RFC 1123 2.1).
    if host.rpartition(".")[2].isdecimal():
        return _parses(IPv4Address, host)
    return len(host) <= 253 and _NAME.match(host) is not None


def _parses(kind: type[IPv4Address] | type[IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except AddressValueError:
        return False
    return True


def _seeds_of(packed: bytes) -> tuple[str, ...] | None:
    """The seeds, or None when the bytes are not exactly some seeds."""
    if not packed or packed[0] > MAX_SEEDS:
        return None
    seeds, at = [], 1
    for _ in range(packed[0]):
        length = int.from_bytes(packed[at : at + 2], "big")
        raw = packed[at + 2 : at + 2 + length]
        if len(raw) != length or not raw.isascii() or not is_address(seed := raw.decode("ascii")):
            return None
        seeds.append(seed)
        at += 2 + length
    return tuple(seeds) if at == len(packed) else None
