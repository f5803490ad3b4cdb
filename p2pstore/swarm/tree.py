"""The digest tree that names an object: BLAKE3 leaves of 256 KiB below a binary tree. Pure, safe in threads.

A leaf, a parent and a root are hashed with three different keys, so that none can be taken for another. The
tree is left-full: nodes pair from the left, and an odd last node goes up unchanged. Any aligned run of a power
of two leaves is therefore one inner node, whatever the length: that node is the digest of a piece, and the root
does not depend on the piece size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from blake3 import blake3

from p2pstore.types import Root

Data = bytes | bytearray | memoryview
"""Bytes in memory; never copied here."""

LEAF_BYTES: Final = 256 << 10
"""Bytes of a leaf, the smallest piece; only the last leaf of an object is shorter. See docs/adr/0007."""
DIGEST_BYTES: Final = 32

# Keyed mode costs what plain BLAKE3 costs (38 us a leaf, 0.4 us a parent); a context string would be hashed
# again at each call.
_LEAF_KEY: Final = blake3(b"p2pstore tree v1 leaf").digest()
_PARENT_KEY: Final = blake3(b"p2pstore tree v1 parent").digest()
_ROOT_KEY: Final = blake3(b"p2pstore tree v1 root").digest()


def leaf(data: Data) -> bytes:
    """The digest of one leaf: 32 bytes; `data` holds at most LEAF_BYTES."""
    return blake3(data, key=_LEAF_KEY).digest()


def parent(left: bytes, right: bytes) -> bytes:
    """The digest of the node above two nodes."""
    return blake3(left + right, key=_PARENT_KEY).digest()


def root_of(length: int, top: bytes) -> Root:
    """The name of the object of `length` bytes whose tree ends in `top`."""
    return Root(blake3(length.to_bytes(8, "little") + top, key=_ROOT_KEY).hexdigest())


def leaves(data: Data) -> list[bytes]:
    """The leaf digests of data that begins at a leaf boundary.

    The last leaf may be short; empty data is one empty leaf. Other threads run while a leaf is hashed.
    """
    view = memoryview(data)
    if len(view) <= LEAF_BYTES:
        return [leaf(view)]
    return [leaf(view[start : start + LEAF_BYTES]) for start in range(0, len(view), LEAF_BYTES)]


def combine(nodes: Sequence[bytes], factor: int) -> list[bytes]:
    """The nodes `log2(factor)` levels higher; raises ValueError when `factor` is no power of two."""
    if factor < 1 or factor & (factor - 1):
        raise ValueError(f"not a power of two: {factor}")
    level = list(nodes)
    while factor > 1 and len(level) > 1:
        level = _level_above(level)
        factor >>= 1
    return level


def top_of(nodes: Sequence[bytes]) -> bytes:
    """The node above all these nodes of one level; raises ValueError without any."""
    if not nodes:
        raise ValueError("a tree has at least one node")
    level: Sequence[bytes] = nodes
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def piece_digest(leaf_digests: Sequence[bytes]) -> bytes:
    """The digest of a piece: the node above its leaves."""
    return top_of(leaf_digests)


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    above = [parent(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        above.append(level[-1])
    return above
