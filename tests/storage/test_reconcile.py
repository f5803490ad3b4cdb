"""Rows and files, brought together from any state that a cut can leave."""

from __future__ import annotations

import random

import pytest

from p2pstore.storage import reconcile
from p2pstore.storage.disk import Disk
from p2pstore.storage.index import DOOMED
from p2pstore.storage.layout import Area, object_path, record_path
from p2pstore.types import Entry
from tests.storage.samples import body, draft, key_of, memory_disk, published, put_draft, ver_of
from tests.storage.simulated import SimulatedFiles


@pytest.fixture
def disk() -> Disk:
    return memory_disk(SimulatedFiles(random.Random(0)))


def _settle(disk: Disk, entry: Entry, *versions: str) -> None:
    with disk.index.change():
        area = Area.PUT if entry.is_put else Area.PUB
        reconcile.settle(disk, area, entry.key, [ver_of("a", version) for version in versions])


def _state(disk: Disk) -> list[tuple[str, bool]]:
    return sorted(
        (row.entry.headers[0][1] if row.entry.headers else "", row.current) for row in disk.index.select("1")
    )


def test_agreement_changes_nothing(disk: Disk) -> None:
    for version in "12":
        entry = published(disk, draft("a", version), body(version))
    files = disk.files
    assert isinstance(files, SimulatedFiles)
    before, rows = dict(files.seen), disk.index.select("1")
    _settle(disk, entry, "1")
    assert (files.seen, disk.index.select("1")) == (before, rows)


def test_a_kill_before_the_names_leaves_the_earlier_version(disk: Disk) -> None:
    old = published(disk, draft("a", "1"), body("1"))
    record = disk.files.read(record_path(Area.PUB, old.key), 10_000)
    new = published(disk, draft("a", "2"), body("2"))
    # The rows were committed, then the process was gone: no object, and the record is still the old one.
    for path in (object_path(Area.PUB, new.root), record_path(Area.PUB, old.key)):
        disk.files.unlink(path)
    disk.files.unlink(record_path(Area.PUB, old.key, old.ver))
    disk.write_file(record_path(Area.PUB, old.key), record, 0o600, sync=False)
    _settle(disk, new)
    assert _state(disk) == [('"1"', True)]
    assert disk.has_object(Area.PUB, old)


def test_a_lost_record_is_written_again_from_its_row(disk: Disk) -> None:
    entry = published(disk, draft("a"), body("a"))
    path = record_path(Area.PUB, entry.key)
    disk.files.unlink(path)
    _settle(disk, entry)
    assert disk.read_record(Area.PUB, entry.key) == entry
    assert _state(disk) == [('"1"', True)]


def test_a_result_without_record_was_removed(disk: Disk) -> None:
    entry = published(disk, put_draft("r"), body("r"))
    disk.files.unlink(record_path(Area.PUT, entry.key))
    _settle(disk, entry)
    assert disk.index.entries == 0


def test_a_result_with_a_torn_record_is_not_lost(disk: Disk) -> None:
    entry = published(disk, put_draft("r"), body("r"))
    path = record_path(Area.PUT, entry.key)
    disk.files.unlink(path)
    disk.write_file(path, b"torn", 0o600, sync=False)
    _settle(disk, entry)
    assert disk.read_record(Area.PUT, entry.key) == entry


def test_a_record_without_object_goes(disk: Disk) -> None:
    entry = published(disk, draft("a"), body("a"))
    disk.files.unlink(object_path(Area.PUB, entry.root))
    _settle(disk, entry)
    assert disk.index.entries == 0
    assert disk.read_record(Area.PUB, entry.key) is None


def test_a_superseded_record_comes_back_as_such(disk: Disk) -> None:
    for version in "12":
        entry = published(disk, draft("a", version), body(version))
    with disk.index.change():
        for row in disk.index.select("1"):
            disk.index.delete(row)
    _settle(disk, entry, "1")
    assert _state(disk) == [('"1"', False), ('"2"', True)]


def test_a_removal_that_was_cut_off_is_finished(disk: Disk) -> None:
    entry = published(disk, draft("a"), body("a"))
    with disk.index.change():
        disk.index.set_seq(disk.index.select("1"), DOOMED)
    _settle(disk, entry)
    files = disk.files
    assert isinstance(files, SimulatedFiles)
    assert disk.index.entries == 0 and files.seen == {}


def test_a_doubled_record_is_one_again(disk: Disk) -> None:
    """The link to the superseded name was made, and then came the cut."""
    entry = published(disk, draft("a"), body("a"))
    disk.files.link(record_path(Area.PUB, entry.key), record_path(Area.PUB, entry.key, entry.ver))
    _settle(disk, entry, "1")
    assert disk.files.names(f"meta/{entry.key[:2]}") == [entry.key]
    assert _state(disk) == [('"1"', True)]


def test_the_scan_yields_often_and_finds_everything(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "SLICE", 2)
    for number in range(20):
        published(disk, draft(f"f{number}"), body(number))
    disk.write_file("pub/ab/" + "ab" * 32, b"orphan", 0o444, sync=False)
    sums = disk.index.entries, disk.index.entry_bytes
    with disk.index.change():
        for row in disk.index.select("1"):
            disk.index.delete(row)
    disk.rebuilding = True
    assert max(reconcile.scan(disk)) <= 2
    assert (disk.index.entries, disk.index.entry_bytes) == sums
    assert not disk.rebuilding
    assert disk.files.stat("pub/ab/" + "ab" * 32) is None


def test_the_scan_sees_rows_without_record_or_object(disk: Disk) -> None:
    kept = published(disk, draft("kept"), body("kept"))
    no_record = published(disk, draft("a"), body("a"))
    no_object = published(disk, draft("b"), body("b"))
    disk.files.unlink(record_path(Area.PUB, no_record.key))
    disk.files.unlink(object_path(Area.PUB, no_object.root))
    disk.rebuilding = True
    list(reconcile.scan(disk))
    assert {row.entry.key for row in disk.index.select("1")} == {kept.key, no_record.key}
    assert disk.read_record(Area.PUB, no_record.key) == no_record


def test_what_was_not_settled_is_looked_at_after_a_start(disk: Disk) -> None:
    kept = published(disk, draft("kept"), body("kept"))
    gone = published(disk, draft("gone"), body("gone"))
    disk.files.unlink(object_path(Area.PUB, gone.root))
    assert list(reconcile.unsettled(disk)) == [2]
    assert [row.entry for row in disk.index.select("1")] == [kept]
    with disk.index.change():
        disk.index.set_durable(disk.last_seq)
    assert list(reconcile.unsettled(disk)) == []


def test_foreign_names_are_left_alone(disk: Disk) -> None:
    for name in ("meta/ab/README", "pub/ab/x.y", "put/ab/short.r"):
        disk.write_file(name, b"?", 0o600, sync=False)
    disk.rebuilding = True
    list(reconcile.scan(disk))
    assert disk.files.stat("meta/ab/README") is not None
    assert disk.index.entries == 0


def test_adopting_twice_is_adopting_once(disk: Disk) -> None:
    published(disk, draft("a"), body("a"))
    with disk.index.change():
        row = reconcile.adopt(disk, key_of("a"))
        assert row is not None and reconcile.adopt(disk, key_of("a")) == row
        assert reconcile.adopt(disk, key_of("absent")) is None
        reconcile.adopt_all(disk, key_of("a"))
    assert disk.index.entries == 1
