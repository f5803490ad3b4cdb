"""Objects as files: hashing them and reading their manifests. Every function may run in any thread."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Final

from blake3 import blake3

from p2pstore.errors import BadDigest
from p2pstore.storage.disk import DIGEST_BYTES
from p2pstore.storage.files import Files
from p2pstore.swarm import pieces, tree
from p2pstore.types import Root

READ_BYTES: Final = 1 << 20
"""Bytes read at once, and the whole memory that hashing a file takes."""
_DIGESTS: Final[dict[str, Callable[[], Any]]] = {
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "blake3": blake3,
}


def manifest_of(nodes: list[bytes]) -> bytes:
    """The manifest file: the digests of all pieces, one after the other; empty for a single piece."""
    return b"".join(nodes) if len(nodes) > 1 else b""


def nodes_of(manifest: bytes) -> list[bytes]:
    """The digests in a manifest."""
    return [manifest[at : at + DIGEST_BYTES] for at in range(0, len(manifest), DIGEST_BYTES)]


def root_of_nodes(nodes: list[bytes], length: int) -> Root:
    """The name of an object from the digests of its pieces; an empty object has none."""
    return tree.root_of(length, tree.top_of(nodes or tree.leaves(b"")))


def hash_range(files: Files, fd: int, start: int, stop: int, buffer: memoryview) -> bytes | None:
    """The top of the digest tree over a range that begins and, but for the file's end, ends at a piece.

    None when the file is shorter. `buffer` is overwritten; its size is a power of two of leaves.
    """
    tops = []
    while start < stop:
        view = buffer[: min(len(buffer), stop - start)]
        if files.read_into(fd, view, start) != len(view):
            return None
        tops.append(tree.top_of(tree.leaves(view)))
        start += len(view)
    return tree.top_of(tops or tree.leaves(b""))


def piece_nodes(files: Files, fd: int, length: int) -> list[bytes] | None:
    """The digests of all pieces of a file; None when it is shorter than that."""
    each = pieces.piece_bytes(length)
    buffer = memoryview(bytearray(min(READ_BYTES, each, max(length, 1))))
    if len(buffer) % tree.LEAF_BYTES:
        # A single short piece: it is read at once.
        top = hash_range(files, fd, 0, length, buffer)
        return None if top is None else [top][: 1 if length else 0]
    nodes = []
    for start in range(0, length, each):
        top = hash_range(files, fd, start, min(start + each, length), buffer)
        if top is None:
            return None
        nodes.append(top)
    return nodes


def is_right(files: Files, path: str, root: Root, length: int) -> bool:
    """Read a file and say whether it is the object of that name; False also when it can't be read."""
    try:
        fd = files.open_read(path)
    except OSError:
        return False
    try:
        if files.fstat(fd).size_bytes != length:
            return False
        nodes = piece_nodes(files, fd, length)
        return nodes is not None and root_of_nodes(nodes, length) == root
    except OSError:
        return False
    finally:
        files.close(fd)


def digests_of(files: Files, fd: int, length: int, algorithms: Iterable[str]) -> dict[str, str]:
    """Named digests of a file's first `length` bytes in one pass; raises BadDigest for an unknown name."""
    running = {}
    for name in algorithms:
        if name not in _DIGESTS:
            raise BadDigest(f"can't compute a {name!r} digest; known: {', '.join(_DIGESTS)}")
        running[name] = _DIGESTS[name]()
    buffer = memoryview(bytearray(READ_BYTES)) if running else memoryview(b"")
    at = 0
    while running and at < length:
        got = files.read_into(fd, buffer[: min(READ_BYTES, length - at)], at)
        if not got:
            break
        for digest in running.values():
            digest.update(buffer[:got])
        at += got
    return {name: digest.hexdigest() for name, digest in running.items()}
