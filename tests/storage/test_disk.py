"""Sums, counters, leases and trouble."""

from __future__ import annotations

import random

import pytest

from p2pstore.errors import CacheUnusable
from p2pstore.storage.disk import MAX_TOUCHED, RETRY_S, Disk, in_folder
from p2pstore.storage.index import Index, short
from p2pstore.storage.layout import Area
from tests.storage.samples import body, draft, key_of, memory_disk, published
from tests.storage.simulated import SimulatedFiles


@pytest.fixture
def disk() -> Disk:
    return memory_disk(SimulatedFiles(random.Random(0)))


def test_charges(disk: Disk) -> None:
    assert disk.object_charge(0, 262144) == 0
    assert disk.object_charge(10_000, 262144) == 12_288
    assert disk.object_charge(262_145, 262144) == 266_240 + 4096, "two pieces have a manifest"
    assert disk.extra_charge(b"x" * 600) == 4096 + 1024


def test_used_is_everything(disk: Disk) -> None:
    published(disk, draft("a"), body("a"))
    disk.partial_bytes, disk.quarantine_bytes = 100, 10
    assert disk.used_bytes == disk.index.entry_bytes + 110 > 110
    disk.floor_bytes = 1 << 30
    assert disk.used_bytes < 1 << 30
    disk.rebuilding = True
    assert disk.used_bytes == (1 << 30) + 110
    assert disk.usage().used_bytes == disk.used_bytes


def test_a_new_index_goes_on_counting(disk: Disk) -> None:
    before = disk.tick(), disk.next_seq()
    disk.set_index(Index.open(":memory:"))
    assert (disk.tick(), disk.next_seq()) > before


def test_accesses_are_written_down(disk: Disk) -> None:
    entry = published(disk, draft("a"), body("a"))
    disk.touched[entry.key, entry.ver] = 1000
    disk.flush_touched()
    assert disk.touched == {} and disk.index.largest("access") == 1000
    assert MAX_TOUCHED > 1000


def test_leases_end(disk: Disk) -> None:
    now = [10.0]
    disk.monotonic = lambda: now[0]
    published(disk, draft("a"), body("a"))
    row = disk.index.current(key_of("a"))
    assert row is not None
    assert not disk.is_leased(row)
    disk.leases[row.entry.key, row.entry.ver] = 20.0
    assert disk.is_leased(row)
    now[0] = 20.0
    assert not disk.is_leased(row)


def test_a_record_is_believed_only_under_its_own_name(disk: Disk) -> None:
    published(disk, draft("a"), body("a"))
    files = disk.files
    assert disk.read_record(Area.PUB, key_of("a")) is not None
    folder = f"meta/{key_of('b')[:2]}"
    files.link(f"meta/{key_of('a')[:2]}/{key_of('a')}", f"{folder}/{key_of('b')}")
    assert disk.read_record(Area.PUB, key_of("b")) is None
    assert disk.read_record(Area.PUB, key_of("c")) is None


def test_a_broken_disk_is_left_alone_for_a_while(disk: Disk) -> None:
    now = [0.0]
    disk.monotonic = lambda: now[0]
    disk.check_usable()
    disk.note_broken("Input/output error")
    with pytest.raises(CacheUnusable, match="Input/output error"):
        disk.check_usable()
    now[0] = RETRY_S
    disk.check_usable()
    assert disk.degraded
    disk.note_usable()
    assert not disk.degraded


def test_failed_flushes_far_apart_do_not_count_together(disk: Disk) -> None:
    now = [0.0]
    disk.monotonic = lambda: now[0]
    for _ in range(6):
        disk.note_sync_failure("Input/output error")
        now[0] += 400.0
    assert not disk.degraded
    for _ in range(3):
        disk.note_sync_failure("Input/output error")
    assert disk.degraded


def test_folders_are_ranges_of_short_names() -> None:
    for name in ("00" + "1" * 62, "ab" + "f" * 62, "ff" * 32):
        low, high = in_folder(name[:2])
        assert low <= short(name) < high
    assert in_folder("00")[1] == in_folder("01")[0]
