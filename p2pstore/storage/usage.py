"""How full the cache and its disk are, in numbers for people and monitors."""

from __future__ import annotations

from dataclasses import dataclass

from p2pstore.cache.eviction import Usage
from p2pstore.storage import faults
from p2pstore.storage.disk import Disk
from p2pstore.storage.threads import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUsage:
    """What is used and what is left; `degraded` says why nothing can be written, or is empty."""

    used_bytes: int
    quota_bytes: int
    fs_free_bytes: int
    fs_free_inodes: int
    fs_total_inodes: int
    entries: int
    partial_bytes: int
    rebuilding: bool
    degraded: str


async def look(disk: Disk, pool: Pool) -> StoreUsage:
    """The present usage; while the file system does not say what is left, that is 0 and `degraded` tells so."""
    degraded = disk.degraded
    try:
        usage = await pool.run(disk.usage)
    except OSError as error:
        usage = Usage(disk.used_bytes, disk.quota_bytes, 0, 0, 0)
        degraded = faults.translated(error, "can't see what is left on the disk").message
    return StoreUsage(
        used_bytes=usage.used_bytes,
        quota_bytes=usage.quota_bytes,
        fs_free_bytes=usage.fs_free_bytes,
        fs_free_inodes=usage.fs_free_inodes,
        fs_total_inodes=usage.fs_total_inodes,
        entries=disk.index.entries,
        partial_bytes=disk.partial_bytes,
        rebuilding=disk.rebuilding,
        degraded=degraded,
    )
