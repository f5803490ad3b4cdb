"""How much the cache may hold and where: quota, blocks, and which file systems it refuses."""

from __future__ import annotations

import os
from typing import Final

from p2pstore.config import CacheConfig
from p2pstore.errors import CacheUnusable
from p2pstore.storage.files import Room

ROW_BYTES: Final = 1024
"""Charged to each entry for its row in the index and its names in folders; measured: 600 to 900 bytes."""
QUOTA_RATIO: Final = 10
"""Without a quota the cache may take this part of the file system: a tenth."""
FREE_RATIO: Final = 20
"""Of a small file system no more than this part is kept free: a twentieth."""
NETWORK_FILE_SYSTEMS: Final = frozenset(
    "9p afs beegfs ceph cifs coda fuse glusterfs gpfs lustre nfs nfs4 ocfs2 orangefs panfs smb3 smbfs wekafs".split()
)
"""Locks, renames or write-ahead logs can't be counted on there; `cache.allow_network_fs` overrides."""


def blocks(size_bytes: int, block_bytes: int) -> int:
    """The bytes of disk blocks that so many bytes take; one more block for the extents of a long file."""
    if not size_bytes:
        return 0
    extra = block_bytes if size_bytes > 1 << 20 else 0
    return -(-size_bytes // block_bytes) * block_bytes + extra


def quota(config: CacheConfig, room: Room) -> int:
    """The quota in bytes."""
    return config.size_bytes or room.total_bytes // QUOTA_RATIO


def kept_free(config: CacheConfig, room: Room) -> int:
    """Bytes that stay free on the file system."""
    return min(config.free_bytes, room.total_bytes // FREE_RATIO)


def file_system(directory: str, mounts: str) -> str:
    """The type of the file system that holds a directory, from the text of `/proc/self/mountinfo`; empty when unknown."""
    real = os.path.realpath(directory)
    best, kind = -1, ""
    for line in mounts.splitlines():
        left, mark, right = line.partition(" - ")
        fields = left.split()
        if not mark or len(fields) < 5 or not right:
            continue
        point = fields[4].replace("\\040", " ")
        # A later mount on the same point hides an earlier one.
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            best, kind = len(point), right.split()[0]
    return kind


def refuse_network_fs(directory: str, *, allowed: bool) -> None:
    """Raises CacheUnusable when the directory is on a file system of another machine or of a user process."""
    if allowed:
        return
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            kind = file_system(directory, file.read())
    except OSError:
        return
    if kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse."):
        raise CacheUnusable(
            f"{directory} is on a {kind} file system",
            hint="choose a directory on a local disk with --cache-dir, or set cache.allow_network_fs",
        )
