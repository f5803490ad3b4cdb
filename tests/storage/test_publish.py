"""Publishing on the store thread: all or nothing, whatever fails."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
from collections.abc import Callable

import pytest

from p2pstore.errors import CacheUnusable, NameTaken, NoSpace, NotCached
from p2pstore.storage.disk import Disk
from p2pstore.storage.files import Data
from p2pstore.storage.layout import Area, record_path
from p2pstore.storage.publish import Publication, publish, refresh
from tests.storage.samples import body, draft, key_of, memory_disk, publication, published, put_draft
from tests.storage.simulated import SimulatedFiles


class Fussy(SimulatedFiles):
    """Fails where the test says so."""

    def __init__(self) -> None:
        super().__init__(random.Random(0))
        self.refuse: Callable[[str, str], int] = lambda call, path: 0
        self.synced: list[str] = []

    def _ask(self, call: str, path: str) -> None:
        if code := self.refuse(call, path):
            raise OSError(code, os.strerror(code))

    def create(self, path: str, mode: int = 0o600) -> int:
        self._ask("create", path)
        return super().create(path, mode)

    def write_some(self, fd: int, data: Data) -> int:
        self._ask("write", "")
        return super().write_some(fd, data)

    def rename(self, source: str, target: str) -> None:
        self._ask("rename", target)
        super().rename(source, target)

    def sync_folder(self, path: str) -> None:
        self._ask("sync", path)
        self.synced.append(path)
        super().sync_folder(path)


@pytest.fixture
def files() -> Fussy:
    return Fussy()


@pytest.fixture
def disk(files: Fussy) -> Disk:
    return memory_disk(files)


def _try(disk: Disk, *batch: Publication) -> list[type[BaseException] | None]:
    publish(disk, list(batch))
    return [None if one.error is None else type(one.error) for one in batch]


def test_one_failure_in_a_batch_is_its_own(disk: Disk, files: Fussy) -> None:
    bad = record_path(Area.PUB, key_of("b"))
    files.refuse = lambda call, path: errno.EIO if (call, path) == ("rename", bad) else 0
    batch = [publication(disk, draft(name), body(name)) for name in "abc"]
    assert _try(disk, *batch) == [None, CacheUnusable, None]
    assert [disk.index.current(key_of(name)) is not None for name in "abc"] == [True, False, True]
    assert len(files.names("tmp")) == 0
    assert len([name for name in files.seen if name.startswith("pub/")]) == 2
    assert disk.degraded


def test_a_full_disk_is_emptied_and_tried_once_more(disk: Disk, files: Fussy) -> None:
    for number in range(10):
        published(disk, draft(f"old{number}"), body(number, 100_000))
    left = [3]

    def full(call: str, path: str) -> int:
        left[0] -= call == "write"
        return errno.ENOSPC if call == "write" and left[0] >= 0 else 0

    files.refuse = full
    assert _try(disk, publication(disk, draft("new"), body("new"))) == [NoSpace]
    assert disk.index.entries < 10
    before = disk.index.entries
    left[0] = 1
    assert _try(disk, *(publication(disk, draft(f"n{n}"), body(n)) for n in range(3))) == [None] * 3
    assert disk.index.entries > before
    assert not disk.degraded, "a full disk is not a broken one"


def test_an_earlier_version_stays_when_a_new_one_fails(disk: Disk, files: Fussy) -> None:
    old = published(disk, draft("a", "1"), body("1"))
    files.refuse = lambda call, path: errno.EIO if call == "rename" and path.startswith("meta/") else 0
    assert _try(disk, publication(disk, draft("a", "2"), body("2"))) == [CacheUnusable]
    files.refuse = lambda call, path: 0
    row = disk.index.current(key_of("a"))
    assert row is not None and row.entry.ver == old.ver
    assert len(files.seen) == 2


@pytest.mark.parametrize("which", [0, 1])
def test_a_result_whose_folder_can_t_be_flushed_is_not_stored(disk: Disk, files: Fussy, which: int) -> None:
    old = published(disk, put_draft("r"), body("old"))
    assert len(files.synced) == 2
    seen: list[str] = []

    def refuse(call: str, path: str) -> int:
        if call != "sync":
            return 0
        seen.append(path)
        return errno.EIO if len(seen) == which + 1 else 0

    files.refuse = refuse
    one = put_draft("r")
    newer = type(one)(**{**{name: getattr(one, name) for name in one.__slots__}, "ver": "00" * 16})
    assert _try(disk, publication(disk, newer, body("new"))) == [CacheUnusable]
    row = disk.index.current(old.key)
    assert row is not None and row.entry.ver == old.ver
    found = disk.read_record(row.area, old.key)
    assert found is not None and found.root == old.root


def test_a_cached_copy_is_not_flushed_by_itself(disk: Disk, files: Fussy) -> None:
    published(disk, draft("a"), body("a"))
    assert files.synced == []
    row = disk.index.current(key_of("a"))
    assert row is not None and row.seq > 0 and not row.entry.durable


def test_a_name_is_taken_once(disk: Disk) -> None:
    batch = [publication(disk, put_draft("r"), body(number)) for number in range(2)]
    for one in batch:
        one.create_only = True
    assert _try(disk, *batch) == [None, NameTaken]
    assert disk.files.names("tmp") == []


def test_a_broken_disk_is_not_asked_at_once_again(disk: Disk, files: Fussy) -> None:
    now = [0.0]
    disk.monotonic = lambda: now[0]
    files.refuse = lambda call, path: errno.EROFS if call == "create" else 0
    assert _try(disk, publication(disk, draft("a"), b"a")) == [CacheUnusable]
    asked: list[str] = []

    def ask(call: str, path: str) -> int:
        asked.append(call)
        return 0

    files.refuse = ask
    assert _try(disk, publication(disk, draft("a"), b"a")) == [CacheUnusable]
    assert asked == []
    now[0] = 61.0
    assert _try(disk, publication(disk, draft("a"), b"a")) == [None]
    assert not disk.degraded


def test_a_damaged_index_is_raised_with_nothing_changed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.DatabaseError("malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(type(disk.index), "insert", fail)
    one = publication(disk, draft("a"), b"a")
    with pytest.raises(sqlite3.DatabaseError):
        publish(disk, [one])
    assert disk.files.names("tmp") == []
    monkeypatch.undo()
    assert _try(disk, one) == [None]


def test_a_refresh_keeps_what_the_bytes_are(disk: Disk) -> None:
    entry = published(disk, draft("a"), body("a"))
    wrong = entry.with_changes(root="00" * 32, size_bytes=1, boot_id="x", stored_at=0.0, response_at=5.0)
    fresh = refresh(disk, wrong)
    assert fresh == entry.with_changes(response_at=5.0)
    found = disk.read_record(disk.index.select("1")[0].area, entry.key)
    assert found is not None and found.response_at == 5.0
    with pytest.raises(NotCached):
        refresh(disk, entry.with_changes(key=key_of("b")))


def test_a_larger_record_is_charged(disk: Disk) -> None:
    entry = published(disk, draft("a"), body("a"))
    before = disk.used_bytes
    refresh(disk, entry.with_changes(headers=(("x", "y" * 9000),)))
    assert disk.used_bytes == before + 8192
    refresh(disk, entry)
    assert disk.used_bytes == before
