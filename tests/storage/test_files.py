"""System calls: all or an error, links never followed."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pstore.storage import files as files_module
from p2pstore.storage.files import Data, Files
from tests.storage.samples import body


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    files = Files(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY))
    yield files
    files.shut()


@pytest.fixture
def no_waiting_for_disks() -> None:
    """Here the calls themselves are tried."""


class Slow(Files):
    """Takes seven bytes at a time."""

    def write_some(self, fd: int, data: Data) -> int:
        return super().write_some(fd, data[:7])

    def pwrite_some(self, fd: int, data: Data, offset: int) -> int:
        return super().pwrite_some(fd, data[:7], offset)


class Full(Files):
    """Takes nothing, without saying why."""

    def write_some(self, fd: int, data: Data) -> int:
        return 0


def test_short_writes_are_gone_on_with(tmp_path: Path) -> None:
    files = Slow(os.open(tmp_path, os.O_RDONLY))
    fd = files.create("a")
    files.write(fd, b"0123456789" * 5)
    files.pwrite(fd, b"abcdefghijklm", 3)
    files.close(fd)
    files.shut()
    expected = bytearray(b"0123456789" * 5)
    expected[3:16] = b"abcdefghijklm"
    assert (tmp_path / "a").read_bytes() == expected


def test_a_write_that_goes_nowhere_is_an_error(tmp_path: Path) -> None:
    files = Full(os.open(tmp_path, os.O_RDONLY))
    fd = files.create("a")
    with pytest.raises(OSError, match="took no byte"):
        files.write(fd, b"x")
    files.close(fd)
    files.shut()


@pytest.mark.parametrize("call", ["create", "open_read", "open_change", "open_append"])
def test_planted_links_are_not_followed(tmp_path: Path, files: Files, call: str) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "link").symlink_to("victim")
    with pytest.raises(OSError) as caught:
        getattr(files, call)("link")
    assert caught.value.errno in (errno.ELOOP, errno.EEXIST)
    state = files.stat("link")
    assert state is not None and state.size_bytes == len("victim"), "the link itself is looked at"
    assert (tmp_path / "victim").read_text() == "precious"


def test_an_existing_file_is_never_created_again(tmp_path: Path, files: Files) -> None:
    (tmp_path / "a").write_text("precious")
    with pytest.raises(FileExistsError):
        files.create("a")
    assert (tmp_path / "a").read_text() == "precious"


def test_reading(tmp_path: Path, files: Files) -> None:
    (tmp_path / "a").write_bytes(body("a", 5000))
    assert files.read("a", 1 << 20) == body("a", 5000)
    assert files.read("a", 100) == body("a", 5000)[:100]
    fd = files.open_read("a")
    buffer = bytearray(3000)
    assert files.read_into(fd, buffer, 1000) == 3000
    assert buffer == body("a", 5000)[1000:4000]
    assert files.read_into(fd, buffer, 4000) == 1000
    assert files.size(fd) == 5000
    files.close(fd)


def test_allocation_takes_the_blocks_at_once(tmp_path: Path, files: Files) -> None:
    fd = files.create("a")
    files.allocate(fd, 0)
    files.allocate(fd, 1 << 20)
    state = files.fstat(fd)
    files.close(fd)
    assert state.size_bytes == 1 << 20
    assert state.disk_bytes >= 1 << 20


@pytest.mark.parametrize(("code", "works"), [(errno.EOPNOTSUPP, True), (errno.ENOSPC, False)])
def test_allocation_without_support_sets_the_length_only(
    files: Files, code: int, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Libc:
        def fallocate(self, *_: int) -> int:
            return -1

    monkeypatch.setattr(files_module, "_libc", Libc())
    monkeypatch.setattr(ctypes, "get_errno", lambda: code)
    fd = files.create("a")
    if works:
        files.allocate(fd, 1 << 20)
        assert files.size(fd) == 1 << 20
    else:
        with pytest.raises(OSError) as caught:
            files.allocate(fd, 1 << 20)
        assert caught.value.errno == code
    files.close(fd)


def test_names(tmp_path: Path, files: Files) -> None:
    files.make_folder("f")
    for name in "cab":
        files.close(files.create(f"f/{name}"))
    assert files.names("f") == ["a", "b", "c"]
    assert files.names("absent") == []
    files.rename("f/a", "f/b")
    files.link("f/b", "f/d")
    with pytest.raises(FileExistsError):
        files.link("f/b", "f/c")
    assert files.unlink("f/b") and not files.unlink("f/b")
    assert files.stat("f/b") is None
    assert files.names("f") == ["c", "d"]
    files.sync_folder("f")
    files.sync_all()
    for name in "cd":
        files.unlink(f"f/{name}")
    files.remove_folder("f")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [0, errno.EXDEV, errno.EINVAL])
def test_copies_whatever_the_system_can(
    tmp_path: Path, files: Files, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = body("copy", 3_000_000)
    (tmp_path / "source").write_bytes(content)
    if code:

        def refuse(*_: object) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "copy_file_range", refuse)
    source = os.open(tmp_path / "source", os.O_RDONLY)
    os.lseek(source, 77, os.SEEK_SET)
    fd = files.create("target")
    at = 0
    while done := files.copy_from(source, fd, at, 1 << 30):
        at += done
    assert os.lseek(source, 0, os.SEEK_CUR) == 77, "the caller's place in the file stays"
    os.close(source)
    files.close(fd)
    assert (tmp_path / "target").read_bytes() == content


def test_room(files: Files) -> None:
    room = files.room()
    assert 0 < room.free_bytes <= room.total_bytes
    assert room.block_bytes >= 512
