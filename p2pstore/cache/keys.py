"""Names of things: keys, scopes, versions; canonical URLs and what explains them are here too, by import. Pure."""

from __future__ import annotations

from typing import Final

from blake3 import blake3

from p2pstore.cache.canonical import CanonicalUrl, canonical, redact
from p2pstore.cache.explain import explain
from p2pstore.errors import BadRequest
from p2pstore.types import PUBLIC, Key, Version

__all__ = [
    "CanonicalUrl",
    "canonical",
    "check_put_name",
    "explain",
    "key_of",
    "put_key",
    "redact",
    "scope_of",
    "version_of",
]

MAX_NAME_BYTES: Final = 512
"""Longest name of a stored result, in UTF-8."""
CREDENTIAL_HEX_CHARS: Final = 16

_KEY_CONTEXT: Final = "p2pstore cache key v1"
_VERSION_CONTEXT: Final = "p2pstore cache version v1"
_CREDENTIAL_CONTEXT: Final = "p2pstore credential v1"


def key_of(text: str, scope: str, vary: tuple[tuple[str, str], ...] = ()) -> Key:
    """The key of a canonical URL in a scope, and of the variant that these request fields select (RFC 9111 2, 4.1)."""
    return Key(_hash(_KEY_CONTEXT, text, scope, *(part for pair in vary for part in pair)).hexdigest())


def put_key(name: str) -> Key:
    """The key of a stored result; no URL has it, because `put:` is no scheme that is served. Raises BadRequest."""
    return key_of("put:" + check_put_name(name), PUBLIC)


def check_put_name(name: str) -> str:
    """The name itself when it can name a stored result: 1 to 512 bytes of printable UTF-8. Raises BadRequest."""
    if not name.isprintable():
        raise BadRequest(f"a result's name has printable characters only, not {name[:80]!r}")
    if not 1 <= len(name.encode("utf-8")) <= MAX_NAME_BYTES:
        raise BadRequest(
            f"a result's name has 1 to {MAX_NAME_BYTES} bytes of UTF-8, not {len(name.encode())}"
        )
    return name


def scope_of(uid: int | None, credential: str = "") -> str:
    """Who may have an entry: everybody (None), one uid, or one uid with one credential, of which only a hash is kept.

    Raises ValueError for a public scope with a credential, which would give everybody what the credential opened.
    """
    if uid is None:
        if credential:
            raise ValueError("what a credential opened is never public")
        return PUBLIC
    if not credential:
        return f"uid:{uid}"
    return f"uid:{uid}:{_hash(_CREDENTIAL_CONTEXT, credential).hexdigest()[:CREDENTIAL_HEX_CHARS]}"


def version_of(
    key: Key, strong_validator: str | None, last_modified: str | None, length: int | None
) -> Version:
    """The name of what a key stands for now: by its strong validator, else Last-Modified, and its length if known.

    Without any of them all versions of a key have one name: such a download must never be resumed.
    """
    if strong_validator is not None:
        validator = ("strong", strong_validator)
    elif last_modified is not None:
        validator = ("modified", last_modified)
    else:
        validator = ("none", "")
    size = "unknown" if length is None else str(length)
    return Version(_hash(_VERSION_CONTEXT, key, *validator, size).hexdigest()[:32])


def _hash(context: str, *parts: str) -> blake3:
    """A hash of the parts, each behind its length, in a context of its own."""
    hasher = blake3(derive_key_context=context)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "big") + data)
    return hasher
