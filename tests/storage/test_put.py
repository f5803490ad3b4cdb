"""Taking in a caller's file: our own copy of what was there, or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pstore.errors import NameTaken, NoSpace
from p2pstore.storage import leftovers, put
from p2pstore.storage.disk import Disk
from p2pstore.storage.files import Files
from p2pstore.storage.layout import make_tree
from tests.storage.samples import body, draft, memory_disk, put_draft


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    (tmp_path / "c").mkdir()
    root_fd = os.open(tmp_path / "c", os.O_RDONLY | os.O_DIRECTORY)
    make_tree(root_fd, os.geteuid())
    disk = memory_disk(Files(root_fd), size_bytes=16 << 20)
    yield disk
    disk.index.close()
    disk.files.shut()


def _source(tmp_path: Path, content: bytes) -> int:
    (tmp_path / "source").write_bytes(content)
    return os.open(tmp_path / "source", os.O_RDONLY)


def _take(disk: Disk, tmp_path: Path, name: str, content: bytes) -> BaseException | None:
    job = put.reserve(disk, put_draft(name), len(content), replace=False)
    assert disk.used_bytes >= len(content)
    put.copy(disk.files, _source(tmp_path, content), job)
    one = put.finish(disk, job, replace=False)
    assert disk.partial_bytes == 0
    return one.error


@pytest.mark.parametrize("size", [0, 1, 300_000, 2_000_001])
@pytest.mark.parametrize("clones", [False, True])
def test_the_copy_is_the_file(
    disk: Disk, tmp_path: Path, size: int, clones: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if clones:

        def clone(self: Files, source_fd: int, fd: int) -> bool:
            # As a reflink does: everything at once, even more than was there when it was looked at.
            os.pwrite(fd, os.pread(source_fd, size, 0) + b"more", 0)
            return True

        monkeypatch.setattr(Files, "clone_from", clone)
    content = body("put", size)
    assert _take(disk, tmp_path, "r", content) is None
    row = disk.index.current(put_draft("r").key)
    assert row is not None and row.seq == 0 and row.entry.durable
    assert row.entry.ver == row.entry.root[:32]
    path = tmp_path / "c" / "put" / row.entry.root[:2] / row.entry.root
    assert path.read_bytes() == content
    assert disk.files.names("tmp") == []


def test_a_source_that_shrinks_gives_what_is_left(disk: Disk, tmp_path: Path) -> None:
    content = body("put", 1_000_000)
    fd = _source(tmp_path, content)
    job = put.reserve(disk, put_draft("r"), len(content), replace=False)
    os.truncate(tmp_path / "source", 400_000)
    put.copy(disk.files, fd, job)
    assert put.finish(disk, job, replace=False).error is None
    row = disk.index.current(put_draft("r").key)
    assert row is not None and row.entry.size_bytes == 400_000


def test_no_room_and_taken_names_are_said_first(disk: Disk, tmp_path: Path) -> None:
    with pytest.raises(NoSpace):
        put.reserve(disk, put_draft("big"), 17 << 20, replace=False)
    assert _take(disk, tmp_path, "r", b"r") is None
    with pytest.raises(NameTaken):
        put.reserve(disk, put_draft("r"), 1, replace=False)
    assert disk.partial_bytes == 0


def test_two_at_once_under_one_name(disk: Disk, tmp_path: Path) -> None:
    jobs = [put.reserve(disk, put_draft("r"), 3, replace=False) for _ in range(2)]
    for job in jobs:
        put.copy(disk.files, _source(tmp_path, b"abc"), job)
    assert put.finish(disk, jobs[0], replace=False).error is None
    assert type(put.finish(disk, jobs[1], replace=False).error) is NameTaken
    assert disk.files.names("tmp") == [] and disk.partial_bytes == 0


def test_what_is_given_up_leaves_nothing(disk: Disk, tmp_path: Path) -> None:
    job = put.reserve(disk, put_draft("r"), 3, replace=False)
    put.copy(disk.files, _source(tmp_path, b"abc"), job)
    put.release(disk, job)
    put.release(disk, job)
    assert disk.partial_bytes == 0 and disk.files.names("tmp") == []
    leftovers.empty_folder(disk.files, "tmp")


def test_an_ordinary_entry_keeps_its_version(disk: Disk, tmp_path: Path) -> None:
    job = put.reserve(disk, draft("local"), 3, replace=True)
    put.copy(disk.files, _source(tmp_path, b"abc"), job)
    one = put.finish(disk, job, replace=True)
    assert one.error is None
    assert (one.entry.ver, one.entry.durable) == (draft("local").ver, False)
