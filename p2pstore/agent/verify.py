"""Which digests must agree before bytes are published, and who is told when they don't. Pure decisions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping

from blake3 import blake3

from p2pstore.cache.digests import Announced
from p2pstore.errors import DigestMismatch
from p2pstore.types import Digest


def algorithms(announced: Iterable[Announced], callers: Iterable[Collection[Digest]]) -> set[str]:
    """The algorithms that somebody gave a digest in."""
    wanted = {one.digest.algorithm for one in announced}
    for digests in callers:
        wanted.update(digest.algorithm for digest in digests)
    return wanted


def digests_of(body: bytes, wanted: Iterable[str]) -> dict[str, str]:
    """Digests of bytes in memory, by algorithm, hexadecimal."""
    found: dict[str, str] = {}
    for algorithm in wanted:
        make: Callable[[bytes], hashlib._Hash | blake3] = (
            blake3 if algorithm == "blake3" else getattr(hashlib, algorithm)
        )
        found[algorithm] = make(body).hexdigest()
    return found


def check_origin(url: str, announced: Iterable[Announced], found: Mapping[str, str]) -> bool:
    """Whether the origin vouched for the bytes; raises DigestMismatch when what it announced does not agree."""
    vouched = False
    for one in announced:
        if found[one.digest.algorithm] != one.digest.hex:
            raise mismatch(url, one.digest, found, f"the origin's {one.source}")
        vouched = True
    return vouched


def disagreeing(digests: Collection[Digest], found: Mapping[str, str]) -> Digest | None:
    """The first of a caller's digests that does not agree, or None."""
    return next((digest for digest in digests if found[digest.algorithm] != digest.hex), None)


def check_callers(url: str, callers: Collection[Collection[Digest]], found: Mapping[str, str]) -> bool:
    """Whether some caller's digest vouches for the bytes.

    Raises DigestMismatch when there are callers and every one of them gave a digest that does not agree: then nobody
    wants these bytes. A caller without a digest, or with a right one, does want them; the wrong ones fail alone later.
    """
    bad = [disagreeing(digests, found) for digests in callers]
    if bad and all(bad):
        assert bad[0] is not None
        raise mismatch(url, bad[0], found, "the caller's digest")
    return any(digests and not wrong for digests, wrong in zip(callers, bad, strict=True))


def mismatch(url: str, expected: Digest, found: Mapping[str, str], who: str) -> DigestMismatch:
    """The error that tells what was expected, what was found and who said so."""
    return DigestMismatch(
        f"{url} is not what {who} says: expected {expected}, found {expected.algorithm}:{found[expected.algorithm]}",
        hint="check the digest, or get it with --refresh",
        url=url,
        algorithm=expected.algorithm,
        expected=expected.hex,
        found=found[expected.algorithm],
        who=who,
    )
