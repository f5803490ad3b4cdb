"""Datagrams between members: sealed so that only members read and write them, and each is taken once. Pure.

    version 1 | kind 1 | key hint 1 | flags 1 | sender 8 | generation 4 | boot 4 | sequence 6 | sealed body | tag 16

ChaCha20-Poly1305 (RFC 8439) under a key of its own for each sender and generation; the nonce is boot and sequence. It is never used
twice, because a generation is not: each process start has a new one, and `boot`, drawn at random, keeps copies of a state
directory apart. The header and the cluster's id are authenticated with the body. A seal proves that a member made it, not
which one: all of them have the cluster key. No clock takes part. Whatever comes in, `Opener.open` answers and does not
raise, and nothing is kept of what no member sent.
"""

from __future__ import annotations

import struct
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from p2pstore.errors import LocalProtocolError, NodeError
from p2pstore.trust.cluster_key import ClusterKey, Purpose
from p2pstore.trust.identity import WIRE_ID_BYTES, wire_id
from p2pstore.trust.keyring import Keyring
from p2pstore.trust.replay import MAX_SENDERS, Senders, Verdict
from p2pstore.types import NodeId

VERSION: Final = 1
MAX_DATAGRAM_BYTES: Final = 1200
"""No longer ones are sent or taken: that much passes every path unfragmented (as in RFC 9000 14)."""
MAX_GENERATION: Final = (1 << 32) - 1
MAX_BOOT: Final = (1 << 32) - 1
MAX_SEQ: Final = (1 << 48) - 1
"""At a million datagrams a second, nine years of one generation."""

_HEAD: Final = struct.Struct(f">BBBB{WIRE_ID_BYTES}sIIHI")
_TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = _HEAD.size + _TAG_BYTES
MAX_BODY_BYTES: Final = MAX_DATAGRAM_BYTES - OVERHEAD_BYTES


class Why(Enum):
    """Why a datagram was refused; the value is the name of its counter."""

    SIZE = "size"
    VERSION = "version"
    KEY = "key"
    """No key of the ring has that hint."""
    OWN = "own"
    """One of our own came back."""
    FORGED = "forged"
    """Not sealed by a member, or changed on its way."""
    UNKNOWN = "unknown"
    REPEATED = "repeated"
    TOO_OLD = "too_old"
    OLD_GENERATION = "old_generation"
    TWIN = "twin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A datagram that a member sent and that was not seen before; `sender` is that member's `wire_id`."""

    kind: int
    flags: int
    sender: bytes
    generation: int
    boot: int
    seq: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """A datagram to be dropped without an answer.

    `sender` and `boot` are known, and sure, once it was authentic: for the reasons UNKNOWN, REPEATED, TOO_OLD, OLD_GENERATION and TWIN.
    """

    why: Why
    sender: bytes | None = None
    boot: int | None = None


class Sealer:
    """Seals what one process of a node sends, in one generation of it.

    `generation` is never used by another process of this node; `boot` is a random number of this one. Both are below 2^32.
    """

    def __init__(self, ring: Keyring, node: NodeId, generation: int, boot: int) -> None:
        if not 0 <= generation <= MAX_GENERATION or not 0 <= boot <= MAX_BOOT:
            raise ValueError(f"generation {generation} or boot {boot} does not fit 32 bits")
        self._sender = wire_id(node)
        self._generation = generation
        self._boot = boot
        self._seq = 0
        self.rotate(ring)

    def rotate(self, ring: Keyring) -> None:
        """Seal with the current key of this ring from now on; the sequence goes on."""
        self._key = ring.current
        self._cipher = _cipher(self._key, self._sender, self._generation)

    def seal(self, kind: int, body: bytes, flags: int = 0) -> bytes:
        """One datagram; `kind` and `flags` are bytes that travel readable, but not changeable.

        Raises LocalProtocolError for a body above MAX_BODY_BYTES, and NodeError when the generation's numbers are used up.
        """
        if not 0 <= kind <= 255 or not 0 <= flags <= 255:
            raise LocalProtocolError(f"kind {kind} or flags {flags} of a datagram does not fit a byte")
        if len(body) > MAX_BODY_BYTES:
            raise LocalProtocolError(f"{len(body)} bytes do not fit a datagram; {MAX_BODY_BYTES} do")
        if self._seq > MAX_SEQ:
            raise NodeError("all numbers of this generation are used up", hint="restart the agent")
        high, low = self._seq >> 32, self._seq & 0xFFFFFFFF
        header = _HEAD.pack(
            VERSION, kind, self._key.hint, flags, self._sender, self._generation, self._boot, high, low
        )
        nonce = _nonce(self._boot, self._seq)
        self._seq += 1
        return header + self._cipher.encrypt(nonce, body, _bound(self._key, header))


class Opener:
    """Opens what comes in for one node; keeps a window for each member heard, at most `max_senders`.

    `introductions` are the kinds of datagram that may be the first of a sender or of its new generation.
    """

    def __init__(
        self, ring: Keyring, node: NodeId, introductions: AbstractSet[int], max_senders: int = MAX_SENDERS
    ) -> None:
        self._ring = ring
        self._own = wire_id(node)
        self._introductions = frozenset(introductions)
        self._senders = Senders(max_senders)
        self.refused = dict.fromkeys(Why, 0)
        """How many datagrams were refused, by reason."""

    @property
    def senders(self) -> int:
        """How many members are remembered."""
        return len(self._senders)

    def rotate(self, ring: Keyring) -> None:
        """Open with the keys of this ring from now on; what was received before stays known."""
        self._ring = ring

    def open(self, datagram: bytes | bytearray | memoryview) -> Opened | Refused:
        """What a datagram says, or why it is dropped; never raises, whatever the bytes are."""
        result = self._open(bytes(datagram)) if len(datagram) <= MAX_DATAGRAM_BYTES else Refused(Why.SIZE)
        if isinstance(result, Refused):
            self.refused[result.why] += 1
        return result

    def _open(self, datagram: bytes) -> Opened | Refused:
        if len(datagram) < OVERHEAD_BYTES:
            return Refused(Why.SIZE)
        header, sealed = datagram[: _HEAD.size], datagram[_HEAD.size :]
        version, kind, hint, flags, sender, generation, boot, high, low = _HEAD.unpack(header)
        seq = high << 32 | low
        if version != VERSION:
            return Refused(Why.VERSION)
        keys = self._ring.hinted(hint)
        if not keys:
            return Refused(Why.KEY)
        if sender == self._own:
            return Refused(Why.OWN)
        body = _unsealed(keys, header, sender, generation, _nonce(boot, seq), sealed)
        if body is None:
            return Refused(Why.FORGED)
        introduces = kind in self._introductions
        verdict = self._senders.take(sender, generation, boot, seq, introduces=introduces)
        if verdict is not Verdict.NEW:
            return Refused(_WHY[verdict], sender, boot)
        return Opened(
            kind=kind, flags=flags, sender=sender, generation=generation, boot=boot, seq=seq, body=body
        )


_WHY: Final = {
    Verdict.REPEATED: Why.REPEATED,
    Verdict.TOO_OLD: Why.TOO_OLD,
    Verdict.OLD_GENERATION: Why.OLD_GENERATION,
    Verdict.TWIN: Why.TWIN,
    Verdict.UNKNOWN: Why.UNKNOWN,
}


def _unsealed(
    keys: tuple[ClusterKey, ...], header: bytes, sender: bytes, generation: int, nonce: bytes, sealed: bytes
) -> bytes | None:
    """The body, or None when no key opens it. Ciphers are made anew each time: that costs as much as opening, and no memory."""
    for key in keys:
        try:
            return _cipher(key, sender, generation).decrypt(nonce, sealed, _bound(key, header))
        except InvalidTag:
            continue
    return None


def _cipher(key: ClusterKey, sender: bytes, generation: int) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(key.derive(Purpose.DATAGRAMS, sender + generation.to_bytes(4, "big")))


def _bound(key: ClusterKey, header: bytes) -> bytes:
    """What is authenticated besides the body: the cluster, and with the header sender, generation and all the rest."""
    return bytes.fromhex(key.cluster_id) + header


def _nonce(boot: int, seq: int) -> bytes:
    return boot.to_bytes(4, "big") + seq.to_bytes(8, "big")
