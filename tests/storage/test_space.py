"""Quota, blocks and file systems."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pstore.config import CacheConfig
from p2pstore.errors import CacheUnusable
from p2pstore.storage import space
from p2pstore.storage.files import Room

ROOM = Room(free_bytes=1000, total_bytes=100_000, free_inodes=10, total_inodes=100, block_bytes=4096)
MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw
31 30 8:2 / /home/me/fast\\040disk rw - xfs /dev/sdb1 rw
32 22 0:41 / /mnt rw - fuse.sshfs host: rw
33 22 0:42 / /mnt rw - tmpfs tmpfs rw
broken line
"""


@pytest.mark.parametrize(
    ("size", "taken"),
    [(0, 0), (1, 4096), (4096, 4096), (4097, 8192), (1 << 20, 1 << 20), ((1 << 20) + 1, (1 << 20) + 8192)],
)
def test_blocks(size: int, taken: int) -> None:
    assert space.blocks(size, 4096) == taken


def test_quota_and_reserve() -> None:
    assert space.quota(CacheConfig(size_bytes=5), ROOM) == 5
    assert space.quota(CacheConfig(), ROOM) == 10_000
    assert space.kept_free(CacheConfig(free_bytes=7), ROOM) == 7
    assert space.kept_free(CacheConfig(), ROOM) == 5_000


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/cache", "ext4"),
        ("/home/me/x", "nfs4"),
        ("/homer", "ext4"),
        ("/home/me/fast disk/c", "xfs"),
        ("/mnt/c", "tmpfs"),
    ],
)
def test_the_file_system_of_a_directory(path: str, kind: str) -> None:
    assert space.file_system(path, MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "fuse.sshfs", "fuse", "ceph"])
def test_other_machines_disks_are_refused_unless_allowed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "file_system", lambda directory, mounts: kind)
    with pytest.raises(CacheUnusable, match=kind):
        space.refuse_network_fs(str(tmp_path), allowed=False)
    space.refuse_network_fs(str(tmp_path), allowed=True)


def test_a_local_disk_is_not_refused(tmp_path: Path) -> None:
    space.refuse_network_fs(str(tmp_path), allowed=False)
