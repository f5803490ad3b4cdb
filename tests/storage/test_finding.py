"""Which bytes are believed, and what becomes of the others."""

from __future__ import annotations

import random

import pytest

from p2pstore.storage import finding
from p2pstore.storage.disk import Disk
from p2pstore.storage.index import SUSPECT, Row
from p2pstore.types import Entry
from tests.storage.samples import OTHER_BOOT, body, draft, key_of, memory_disk, published, put_draft
from tests.storage.simulated import SimulatedFiles


@pytest.fixture
def disk() -> Disk:
    return memory_disk(SimulatedFiles(random.Random(0)))


def _row(disk: Disk, entry: Entry) -> Row:
    row = disk.index.current(entry.key)
    assert row is not None
    return row


def _rot(disk: Disk, entry: Entry) -> None:
    files = disk.files
    assert isinstance(files, SimulatedFiles)
    files.seen[next(name for name in files.seen if name.endswith(entry.root))].seen[0] ^= 1


def test_this_boots_entries_are_believed_and_flushed_ones(disk: Disk) -> None:
    fresh, flushed = published(disk, draft("a"), body("a")), published(disk, draft("b"), body("b"))
    with disk.index.change():
        disk.index.set_seq([_row(disk, flushed)], 0)
    assert not finding.is_suspect(disk, _row(disk, fresh))
    disk.boot_id = OTHER_BOOT
    assert not finding.is_suspect(disk, _row(disk, flushed))
    with disk.index.change():
        disk.index.suspect_all()
    assert finding.in_index(disk, disk.index, fresh.key, None) == (_row(disk, fresh), True)


def test_a_flushed_file_with_another_time_of_change_is_a_suspect(disk: Disk) -> None:
    entry = published(disk, draft("a"), body("a"))
    with disk.index.change():
        disk.index.set_seq([_row(disk, entry)], 0)
    files = disk.files
    assert isinstance(files, SimulatedFiles)
    files.seen[next(name for name in files.seen if name.endswith(entry.root))].mtime_ns += 1
    assert not finding.is_suspect(disk, _row(disk, entry)), "in its own boot it does not matter"
    disk.boot_id = OTHER_BOOT
    assert finding.is_suspect(disk, _row(disk, entry))


@pytest.mark.parametrize("rotten", [False, True])
def test_a_suspect_is_proven_or_goes(disk: Disk, rotten: bool) -> None:
    entry = published(disk, draft("a"), body("a"))
    disk.boot_id = OTHER_BOOT
    with disk.index.change():
        disk.index.suspect_all()
    if rotten:
        _rot(disk, entry)
    right = finding.is_right(disk, entry)
    proven = finding.note_proof(disk, entry, is_right=right)
    if rotten:
        assert (right, proven, disk.index.entries) == (False, None, 0)
        assert disk.files.names("quarantine") == []
    else:
        assert proven is not None and proven.boot_id == OTHER_BOOT
        assert _row(disk, entry).seq > 0 and not finding.is_suspect(disk, _row(disk, entry))
        assert disk.unflushed_bytes > 0


def test_a_result_that_does_not_prove_right_is_kept_aside(disk: Disk) -> None:
    entry = published(disk, put_draft("r"), body("r"))
    _rot(disk, entry)
    assert finding.note_proof(disk, entry, is_right=finding.is_right(disk, entry)) is None
    assert disk.files.names("quarantine") == [entry.root, f"{entry.root}.{entry.key}"]


def test_a_proof_of_what_is_gone_proves_nothing(disk: Disk) -> None:
    entry = published(disk, draft("a"), body("old"))
    published(disk, draft("a"), body("new"))
    assert finding.note_proof(disk, entry, is_right=True) is None
    assert finding.note_proof(disk, entry.with_changes(key=key_of("b")), is_right=True) is None


def test_while_rebuilding_a_result_is_what_the_disk_says(disk: Disk) -> None:
    """The index may be older than the last acknowledged act."""
    old = published(disk, put_draft("r"), body("old"))
    image = disk.index._db.serialize()
    one = put_draft("r")
    newer = type(one)(**{**{name: getattr(one, name) for name in one.__slots__}, "ver": "00" * 16})
    published(disk, newer, body("new"))
    disk.index._db.deserialize(image)
    disk.rebuilding = True
    assert finding.in_index(disk, disk.index, old.key, None) == (None, False)
    row = finding.by_path(disk, old.key, None)
    assert row is not None and row.entry.ver == "00" * 16
    older = finding.by_path(disk, old.key, old.ver)
    assert older is not None and older.entry.root == old.root and not older.current


def test_by_path_finds_what_the_index_lost(disk: Disk) -> None:
    entries = [published(disk, draft("a", version), body(version)) for version in "12"]
    with disk.index.change():
        for row in disk.index.select("1"):
            disk.index.delete(row)
    disk.rebuilding = True
    newest = finding.by_path(disk, entries[0].key, None)
    assert newest is not None and newest.entry == entries[1] and newest.current
    oldest = finding.by_path(disk, entries[0].key, entries[0].ver)
    assert oldest is not None and oldest.entry == entries[0] and not oldest.current
    assert finding.by_path(disk, key_of("b"), None) is None


def test_a_record_of_another_boot_makes_a_suspect(disk: Disk) -> None:
    entry = published(disk, draft("a"), body("a"))
    with disk.index.change():
        disk.index.delete(_row(disk, entry))
    disk.boot_id, disk.rebuilding = OTHER_BOOT, True
    row = finding.by_path(disk, entry.key, None)
    assert row is not None and row.seq == SUSPECT


def test_settling_drops_what_has_no_file(disk: Disk) -> None:
    entry = published(disk, draft("a"), body("a"))
    disk.files.unlink(f"pub/{entry.root[:2]}/{entry.root}")
    finding.settle(disk, entry)
    assert disk.index.entries == 0 and disk.index.entry_bytes == 0
    assert disk.files.names(f"meta/{entry.key[:2]}") == []
