"""Making room and removing, on the store thread."""

from __future__ import annotations

import random

import pytest

from p2pstore.errors import NoSpace
from p2pstore.storage import evict, quarantine
from p2pstore.storage.disk import Disk
from p2pstore.storage.files import Room
from p2pstore.storage.index import DOOMED
from p2pstore.storage.layout import Area
from p2pstore.types import Entry
from tests.storage.samples import body, draft, key_of, memory_disk, published, put_draft
from tests.storage.simulated import SimulatedFiles

KIB = 1 << 10


class Small(SimulatedFiles):
    """A file system with little left."""

    free_bytes = 1 << 40
    free_inodes = 1 << 30

    def room(self) -> Room:
        # What goes away is free again, and has four blocks or so.
        taken = len(self.seen)
        return Room(self.free_bytes - taken * 8192, 1 << 40, self.free_inodes - taken, 1 << 31, 4096)


@pytest.fixture
def files() -> Small:
    return Small(random.Random(0))


def _disk(files: Small, quota: int = 1 << 20) -> Disk:
    return memory_disk(files, size_bytes=quota, high_ratio=0.9, low_ratio=0.5)


def _fill(disk: Disk, count: int, size: int = 50_000) -> list[Entry]:
    return [published(disk, draft(f"f{number}"), body(number, size)) for number in range(count)]


def _left(disk: Disk) -> list[str]:
    return [row.entry.url.rpartition("/")[2] for row in disk.index.select("1")]


def test_just_enough_goes_for_what_is_needed(files: Small) -> None:
    disk = _disk(files)
    _fill(disk, 17)
    used = disk.used_bytes
    evict.make_room(disk, 100_000, 3)
    assert _left(disk) == [f"f{number}" for number in range(len(_left(disk)) and 17 - len(_left(disk)), 17)]
    assert used > disk.used_bytes
    assert (1 << 20) - 200_000 < disk.used_bytes <= (1 << 20) - 100_000


def test_background_eviction_goes_on_down_to_the_low_mark(files: Small) -> None:
    disk = _disk(files, 20 << 20)
    entries = _fill(disk, 170, 100_000)
    told: list[str] = []
    disk.notify = lambda kind, gone: told.extend(kind for _ in gone)
    assert evict.evict_slice(disk) == (0, False)
    entries += [published(disk, draft("last"), body("last", 900_000))]
    slices = []
    while (result := evict.evict_slice(disk))[1]:
        slices.append(result[0])
    assert len(slices) == 2 and max(slices) <= evict.SLICE
    assert disk.used_bytes <= 10 << 20
    assert len(told) == sum(slices) and set(told) == {"evicted"}
    assert not disk.evicting
    assert evict.evict_slice(disk) == (0, False)


def test_space_that_others_took_is_made_up_for(files: Small) -> None:
    disk = _disk(files, 20 << 20)
    _fill(disk, 20)
    files.free_bytes = len(files.seen) * 8192
    disk.marks = type(disk.marks)(0.9, 0.5, 5 * 50_000, 0.0)
    gone, _ = evict.evict_slice(disk)
    assert 0 < gone < 20


def test_inodes_are_room_too(files: Small) -> None:
    disk = _disk(files, 20 << 20)
    _fill(disk, 20, 10)
    files.free_inodes = len(files.seen) + int((1 << 31) * 0.05) + 3
    evict.make_room(disk, 0, 3)
    assert len(_left(disk)) == 20
    evict.make_room(disk, 0, 9)
    assert len(_left(disk)) == 17


def test_results_and_leased_entries_stay(files: Small) -> None:
    disk = _disk(files)
    entries = _fill(disk, 3, 200_000)
    published(disk, put_draft("r"), body("r", 200_000))
    disk.monotonic = lambda: 0.0
    for one in entries[:2]:
        disk.leases[one.key, one.ver] = 1.0
    evict.evict_to_low(disk)
    assert _left(disk) == ["f0", "f1", "put:r"]
    with pytest.raises(NoSpace, match="no room"):
        evict.make_room(disk, 900_000, 3)
    assert _left(disk) == ["put:r"], "a load that has no room otherwise gets that of leased entries"


def test_a_replaced_result_may_go(files: Small) -> None:
    disk = _disk(files)
    published(disk, put_draft("r"), body("old", 300_000))
    one = put_draft("r")
    newer = type(one)(**{**{name: getattr(one, name) for name in one.__slots__}, "ver": "00" * 16})
    published(disk, newer, body("new", 300_000))
    evict.make_room(disk, 700_000, 3)
    rows = disk.index.select("1")
    assert [row.entry.ver for row in rows] == ["00" * 16]


def test_damaged_objects_go_before_anybody_waits(files: Small) -> None:
    disk = _disk(files)
    entry = published(disk, draft("a"), body("a", 600_000))
    assert [one.url for one in evict.put_aside(disk, Area.PUB, entry)] == [entry.url]
    assert disk.quarantine_bytes > 600_000 and disk.index.entries == 0
    evict.make_room(disk, 900_000, 3)
    assert disk.quarantine_bytes == 0 and files.names("quarantine") == []


def test_few_damaged_objects_are_kept(files: Small) -> None:
    disk = _disk(files, 20 << 20)
    for entry in _fill(disk, quarantine.MAX_OBJECTS + 3):
        evict.put_aside(disk, Area.PUB, entry)
    assert len(files.names("quarantine")) == quarantine.MAX_OBJECTS
    assert disk.quarantine_bytes == quarantine.measure(disk) > 0


def test_a_doomed_row_is_finished_later(files: Small) -> None:
    disk = _disk(files)
    published(disk, draft("a"), body("a"))
    row = disk.index.current(key_of("a"))
    assert row is not None
    with disk.index.change():
        disk.index.set_seq([row], DOOMED)
    assert disk.index.current(key_of("a")) is None
    assert evict.remove_key(disk, key_of("a"), None) == []
    assert disk.index.entries == 0 and [name for name in files.seen if name.startswith("pub/")] == []


def test_removing_one_version_keeps_a_shared_object(files: Small) -> None:
    disk = _disk(files)
    one = published(disk, draft("a", "1"), body("same"))
    published(disk, draft("a", "2"), body("same"))
    assert [entry.ver for entry in evict.remove_key(disk, one.key, one.ver)] == [one.ver]
    assert len([name for name in files.seen if name.startswith("pub/")]) == 1
