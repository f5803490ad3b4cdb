"""Opening a cache: what is swept, what is believed, and what a refused one leaves behind."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from p2pstore.errors import CacheUnusable
from p2pstore.storage import leftovers, opening
from p2pstore.storage.disk import Disk
from p2pstore.storage.lock import Lock
from tests.storage.samples import BOOT, OTHER_BOOT, body, config, draft, files_below, opened


def _open(path: Path, boot_id: str = BOOT) -> tuple[opening.Cache, Disk]:
    return opening.open_cache(config(), str(path), boot_id=boot_id, clock=lambda: 0.0)


def test_a_new_cache_has_nothing_to_recover(tmp_path: Path) -> None:
    cache, disk = _open(tmp_path / "c")
    assert not disk.rebuilding and disk.used_bytes == 0
    assert cache.index_path == str(tmp_path / "c" / "index.sqlite")
    opening.shut(cache, disk)
    cache, disk = _open(tmp_path / "c")
    assert not disk.rebuilding, "the session that owned it last is the one its index saw"
    opening.shut(cache, disk)


def test_what_was_cut_off_is_swept(tmp_path: Path) -> None:
    opening.shut(*_open(tmp_path / "c"))
    (tmp_path / "c" / "tmp" / "5").write_bytes(b"half a file")
    (tmp_path / "c" / "trash" / "6").mkdir()
    (tmp_path / "c" / "trash" / "6" / "data").write_bytes(b"half removed")
    opening.shut(*_open(tmp_path / "c"))
    assert files_below(tmp_path / "c") == []
    assert list((tmp_path / "c" / "trash").iterdir()) == []


@pytest.mark.parametrize(
    ("how", "rebuilds"), [("nothing", False), ("boot", True), ("session", True), ("incomplete", True)]
)
def test_when_the_index_is_believed(tmp_path: Path, how: str, rebuilds: bool) -> None:
    cache, disk = _open(tmp_path / "c")
    if how == "incomplete":
        with disk.index.change():
            disk.index.set_fact("complete", 0)
    opening.shut(cache, disk)
    if how == "session":
        fd = os.open(tmp_path / "c", os.O_RDONLY)
        lock = Lock.take(fd)
        lock.note(0)
        lock.release()
        os.close(fd)
    cache, disk = _open(tmp_path / "c", OTHER_BOOT if how == "boot" else BOOT)
    assert disk.rebuilding == rebuilds
    if rebuilds:
        disk.rebuilding = False
        opening.mark_complete(disk, cache)
    opening.shut(cache, disk)
    cache, disk = _open(tmp_path / "c", OTHER_BOOT if how == "boot" else BOOT)
    assert not disk.rebuilding
    opening.shut(cache, disk)


def test_an_interrupted_first_start_is_finished(tmp_path: Path) -> None:
    cache, disk = _open(tmp_path / "c")
    opening.shut(cache, disk)
    (tmp_path / "c" / "FORMAT").unlink()
    (tmp_path / "c" / "priv" / "ab").rmdir()
    again, disk = _open(tmp_path / "c")
    assert again.uuid != cache.uuid
    assert (tmp_path / "c" / "priv" / "ab").is_dir()
    opening.shut(again, disk)


def test_a_refused_cache_stays_free_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as broken:
        broken.setattr(leftovers, "find_idle", fail)
        with pytest.raises(CacheUnusable, match="Input/output error"):
            _open(tmp_path / "c")
    assert len(os.listdir("/proc/self/fd")) == before
    opening.shut(*_open(tmp_path / "c"))
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_closed_store_holds_no_descriptor_and_no_thread(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    async with opened(tmp_path / "c") as store:
        for number in range(5):
            entry = await store.publish_small(draft(f"f{number}"), body(number))
            os.close(store.open_object(entry))
        partial = await store.begin(draft("a"), 1 << 20, 262144)
        assert partial.work.data_fd >= 0
    await _executor_settled()
    assert len(os.listdir("/proc/self/fd")) == before[0]
    assert [one.name for one in threading.enumerate() if one.name.startswith("p2pstore")] == []


async def _executor_settled() -> None:
    """The loop's own helper threads are its business."""
    await asyncio.get_running_loop().shutdown_default_executor()


def test_a_large_index_is_not_read_whole(tmp_path: Path) -> None:
    cache, disk = _open(tmp_path / "c")
    assert opening.is_sound(cache, 1 << 30)
    opening.shut(cache, disk)
    (tmp_path / "c" / "index.sqlite").write_bytes(os.urandom(8192))
    assert opening.is_sound(cache, 100)
    assert not opening.is_sound(cache, 1 << 30)


@pytest.mark.parametrize("mask", [0o022, 0o077])
async def test_public_files_are_readable_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    old = os.umask(mask)
    try:
        async with opened(tmp_path / "c") as store:
            entry = await store.publish_small(draft("a"), body("a"))
            assert Path(store.path_of(entry)).stat().st_mode & 0o777 == 0o444
    finally:
        os.umask(old)
