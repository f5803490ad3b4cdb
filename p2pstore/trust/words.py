"""Text forms of secrets: one word that survives mail and a terminal's double click, and says itself whether it is whole. Pure.

A word is a prefix, then base32 (RFC 4648 6, lower case, no padding) of the payload and four bytes of SHA-256 over prefix and payload.
No error quotes any of the text, because all of it is secret.
"""

from __future__ import annotations

import re
from base64 import b32decode, b32encode
from hashlib import sha256
from typing import Final

from p2pstore.errors import CallerError

CHECK_BYTES: Final = 4
_BASE32: Final = re.compile(r"[a-z2-7]*\Z")


def encode(prefix: str, payload: bytes) -> str:
    """The word for a payload; it is as secret as the payload is."""
    body = b32encode(payload + _check(prefix, payload)).decode("ascii")
    return prefix + body.rstrip("=").lower()


def decode(
    prefix: str, text: str, *, what: str, hint: str, error: type[CallerError], most_bytes: int
) -> bytes:
    """The payload of a word with blanks around it or without; raises `error`, which says what is wrong with `what`.

    At most `most_bytes` of payload are taken; a longer text is refused before it is looked at.
    """
    most_chars = len(prefix) + word_chars(most_bytes)
    if len(text) > 2 * most_chars:
        raise error(f"{what} has {len(text)} characters; no such text has more than {most_chars}", hint=hint)
    word = text.strip()
    if not word:
        raise error(f"{what} is empty", hint=hint)
    if not word.startswith(prefix):
        raise error(f"{what} does not begin with {prefix}", hint=hint)
    body = word[len(prefix) :]
    if len(word) > most_chars:
        raise error(f"{what} has {len(word)} characters; no such text has more than {most_chars}", hint=hint)
    if not _BASE32.match(body):
        raise error(f"{what} holds a character other than a-z and 2-7 after {prefix}", hint=hint)
    payload = _unpacked(prefix, body)
    if payload is None:
        raise error(f"{what} was cut or mistyped: its checksum does not agree", hint=hint)
    return payload


def word_chars(payload_bytes: int) -> int:
    """Characters after the prefix for so many bytes of payload."""
    return -(-(payload_bytes + CHECK_BYTES) * 8 // 5)


def _unpacked(prefix: str, body: str) -> bytes | None:
    # One, three or six characters over a multiple of eight are nobody's encoding.
    if len(body) % 8 in (1, 3, 6):
        return None
    packed = b32decode(body.upper() + "=" * (-len(body) % 8))
    payload, check = packed[:-CHECK_BYTES], packed[-CHECK_BYTES:]
    # The spare bits of the last character are zero in the one spelling that counts.
    whole = check == _check(prefix, payload) and encode(prefix, payload) == prefix + body
    return payload if whole else None


def _check(prefix: str, payload: bytes) -> bytes:
    return sha256(prefix.encode("ascii") + payload).digest()[:CHECK_BYTES]
