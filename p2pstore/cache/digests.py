"""Digests that an origin announces in its answer, for checking the file before it is handed out. Pure.

Only digests of the bytes as they are sent count, and only with algorithms that are computed here. A malformed or unknown one is
ignored: the origin owes us none.
"""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Final

from p2pstore.cache.fields import Headers, entity_tag, joined, members, values_of
from p2pstore.cache.signers import is_hf_host
from p2pstore.errors import BadDigest
from p2pstore.types import Digest

_FIELD_ALGORITHMS: Final = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "md5": "md5"}
"""Registered keys of RFC 9530 section 5 (and its registry), best first."""
_AMZ_ALGORITHMS: Final = ("sha256", "sha1")
# One member of a structured-field dictionary that is a byte sequence (RFC 9651 3.2, 3.3.5), with parameters after it.
_MEMBER: Final = re.compile(r"[ \t]*([a-z*][a-z0-9_\-.*]*)=:([A-Za-z0-9+/]*={0,2}):[ \t]*(?:;[^,]*)?\Z")
_SHA256_TAG: Final = re.compile(r"[0-9a-fA-F]{64}\Z")


@dataclass(frozen=True, slots=True)
class Announced:
    """A digest of the whole file, and the field that brought it."""

    digest: Digest
    source: str
    """`repr-digest`, `content-digest`, `x-amz-checksum`, `x-goog-hash` or `hf-etag`."""
    partial: bool
    """It came with an answer that was a part of the file; it still describes the whole."""


def announced(headers: Headers, url_host: str, *, whole: bool) -> list[Announced]:
    """Every usable digest in an answer, or in the redirect that led to it, without repetitions.

    `headers` have lower-case names. `url_host` is the host that answered. `whole`: the content is all of the file, no range of it.
    """
    fields = tuple(headers)
    found = [*_field_digests(fields, "repr-digest")]
    if whole:
        # RFC 9530 2: it describes the content of this one message, which is the file only when it is no range.
        found += _field_digests(fields, "content-digest")
        found += _amz_checksums(fields)
    if not _is_encoded(fields):
        found += _goog_hashes(fields)
        found += _hf_tag(fields, url_host)
    first: dict[Digest, str] = {}
    for digest, source in found:
        first.setdefault(digest, source)
    return [Announced(digest, source, not whole) for digest, source in first.items()]


def _field_digests(headers: Headers, name: str) -> list[tuple[Digest, str]]:
    """Repr-Digest and Content-Digest (RFC 9530 2, 3): of a repeated key the last counts (RFC 9651 4.2.2)."""
    values: dict[str, str] = {}
    for member in (joined(headers, name) or "").split(","):
        if match := _MEMBER.match(member):
            values[match[1]] = match[2]
    digests = [
        _from_base64(algorithm, values[key]) for key, algorithm in _FIELD_ALGORITHMS.items() if key in values
    ]
    return [(digest, name) for digest in digests if digest is not None]


def _amz_checksums(headers: Headers) -> list[tuple[Digest, str]]:
    """S3's checksums of a full object; a composite one is a digest of digests of its parts, and ends in `-PARTS`."""
    if "composite" in members(headers, "x-amz-checksum-type"):
        return []
    digests = [
        _from_base64(algorithm, value.strip(" \t"))
        for algorithm in _AMZ_ALGORITHMS
        for value in values_of(headers, f"x-amz-checksum-{algorithm}")
    ]
    return [(digest, "x-amz-checksum") for digest in digests if digest is not None]


def _goog_hashes(headers: Headers) -> list[tuple[Digest, str]]:
    """Google Cloud Storage: `crc32c=...,md5=...` in one field or several; crc32c is not computed here."""
    found = []
    for member in (joined(headers, "x-goog-hash") or "").split(","):
        algorithm, _, value = member.strip(" \t").partition("=")
        digest = _from_base64("md5", value) if algorithm.lower() == "md5" else None
        if digest is not None:
            found.append((digest, "x-goog-hash"))
    return found


def _hf_tag(headers: Headers, host: str) -> list[tuple[Digest, str]]:
    """Hugging Face tags a large file with its SHA-256, as X-Linked-Etag of the redirect to it or as its own ETag."""
    linked = [("etag", value) for value in values_of(headers, "x-linked-etag")]
    own = headers if is_hf_host(host) else ()
    tag = entity_tag(linked) if linked else entity_tag(own)
    if tag is None or not _SHA256_TAG.match(tag.opaque):
        return []
    return [(Digest("sha256", tag.opaque.lower()), "hf-etag")]


def _is_encoded(headers: Headers) -> bool:
    """Whether the bytes sent may be other than the bytes stored, which these origins describe."""
    codings = members(headers, "content-encoding") + members(headers, "x-goog-stored-content-encoding")
    return any(coding != "identity" for coding in codings)


def _from_base64(algorithm: str, text: str) -> Digest | None:
    """Padding may be missing (RFC 9651 4.2.7)."""
    try:
        data = b64decode(text + "=" * (-len(text) % 4), validate=True)
        return Digest(algorithm, data.hex())
    except (ValueError, BadDigest):
        return None
