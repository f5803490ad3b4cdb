"""The directory: made whole, checked at each step, refused when somebody else could change it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from p2pstore.errors import CacheUnusable
from p2pstore.storage import layout
from p2pstore.storage.layout import Area
from p2pstore.types import Key, Root, Version
from tests.storage.samples import opened

UID = os.geteuid()


def _open(path: Path) -> int:
    return layout.open_directory(str(path), UID)


def test_paths() -> None:
    root, key, ver = Root("ab" * 32), Key("cd" * 32), Version("ef" * 16)
    assert layout.object_path(Area.PUB, root) == f"pub/ab/{root}"
    assert layout.manifest_path(Area.PRIV, root) == f"priv/ab/{root}.m"
    assert layout.record_path(Area.PUB, key) == layout.record_path(Area.PRIV, key) == f"meta/cd/{key}"
    assert layout.record_path(Area.PUB, key, ver) == f"meta/cd/{key}.{ver}"
    assert layout.record_path(Area.PUT, key, ver) == f"put/cd/{key}.{ver}.r"


def test_a_new_directory_is_ours_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        fd = _open(tmp_path / "parent" / "c")
        layout.make_tree(fd, UID)
    finally:
        os.umask(old)
    modes = {
        name: stat.S_IMODE((tmp_path / "parent" / "c" / name).stat().st_mode)
        for name in (
            ".",
            "pub",
            "pub/00",
            "priv",
            "priv/ff",
            "put/7f",
            "meta/01",
            "part",
            "tmp",
            "quarantine",
        )
    }
    os.close(fd)
    assert modes == {
        ".": 0o711,
        "pub": 0o711,
        "pub/00": 0o711,
        "priv": 0o700,
        "priv/ff": 0o700,
        "put/7f": 0o700,
        "meta/01": 0o700,
        "part": 0o700,
        "tmp": 0o700,
        "quarantine": 0o700,
    }
    assert stat.S_IMODE((tmp_path / "parent").stat().st_mode) == 0o700


def test_a_narrow_umask_does_not_hide_public_files(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        fd = _open(tmp_path / "c")
        layout.make_tree(fd, UID)
        os.close(fd)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "c" / "pub" / "00").stat().st_mode) == 0o711


@pytest.mark.parametrize("name", [".", "pub", "meta/ab", "tmp"])
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_folders_that_others_may_write_are_refused(tmp_path: Path, name: str, mode: int) -> None:
    fd = _open(tmp_path / "c")
    layout.make_tree(fd, UID)
    (tmp_path / "c" / name).chmod(mode)
    try:
        with pytest.raises(CacheUnusable, match="others may write") as caught:
            os.close(_open(tmp_path / "c"))
            layout.make_tree(fd, UID)
        assert caught.value.hint.startswith("chmod go-w")
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["pub", "priv/ab", "meta", "part", "tmp"])
def test_a_planted_link_in_place_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "c").mkdir(mode=0o711)
    fd = _open(tmp_path / "c")
    if "/" in name:
        layout.make_tree(fd, UID)
        (tmp_path / "c" / name).rmdir()
    (tmp_path / "c" / name).symlink_to(elsewhere)
    with pytest.raises(CacheUnusable):
        layout.make_tree(fd, UID)
    os.close(fd)
    assert list(elsewhere.iterdir()) == []


def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with pytest.raises(CacheUnusable, match="belongs to uid"):
        layout.open_directory(str(tmp_path / "c"), UID + 1)


@pytest.mark.skipif(UID != 0, reason="only root can make what belongs to others")
@pytest.mark.parametrize("what", ["folder", "link", "parent", "inner"])
def test_what_another_user_made_before_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "c"
    if what == "folder":
        path.mkdir()
        os.chown(path, 12345, 12345)
    elif what == "link":
        (tmp_path / "mine").mkdir()
        path.symlink_to(tmp_path / "mine")
        os.chown(path, 12345, 12345, follow_symlinks=False)
    elif what == "parent":
        path.mkdir()
        os.chown(path, 12345, 12345)
        path = path / "c"
    else:
        (path / "pub").mkdir(parents=True)
        os.chown(path / "pub", 12345, 12345)
    with pytest.raises(CacheUnusable):
        fd = _open(path)
        try:
            layout.make_tree(fd, UID)
        finally:
            os.close(fd)


def test_a_parent_that_others_may_write_is_refused_unless_sticky(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(CacheUnusable, match="others may write"):
        _open(shared / "c")
    shared.chmod(0o1777)
    os.close(_open(shared / "c"))


def test_our_own_link_leads_to_the_cache(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    os.close(_open(tmp_path / "link" / "c"))
    assert (tmp_path / "real" / "c").is_dir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CacheUnusable):
        _open(tmp_path / "loop" / "c")


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("a file")
    with pytest.raises(CacheUnusable):
        _open(tmp_path / "c")


def test_format_is_written_last_and_read_again(tmp_path: Path) -> None:
    fd = _open(tmp_path / "c")
    assert layout.read_format(fd) is None
    layout.make_tree(fd, UID)
    assert layout.read_format(fd) is None
    uuid = layout.write_format(fd)
    assert layout.read_format(fd) == uuid
    os.close(fd)
    assert (tmp_path / "c" / "FORMAT").read_text() == f"p2pstore-cache 1 {uuid}\n"


def test_a_directory_with_other_files_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    fd = _open(tmp_path)
    with pytest.raises(CacheUnusable, match=r"thesis\.tex"):
        layout.read_format(fd)
    os.close(fd)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p2pstore-cache 2 abc\n", "format 2"),
        ("p2pstore-cache 999 abc more\n", "can't be read"),
        ("", "can't be read"),
        ("p2pstore-cache x abc\n", "can't be read"),
        ("\0" * 50, "can't be read"),
        ("something-else 1 abc\n", "can't be read"),
    ],
)
async def test_a_format_we_don_t_know_is_left_untouched(tmp_path: Path, text: str, message: str) -> None:
    async with opened(tmp_path / "c"):
        pass
    (tmp_path / "c" / "FORMAT").write_text(text)
    before = _state(tmp_path / "c")
    with pytest.raises(CacheUnusable, match=message):
        async with opened(tmp_path / "c"):
            pass
    assert _state(tmp_path / "c") == before


def _state(path: Path) -> list[tuple[str, int, int, int]]:
    paths = sorted([path, *path.rglob("*")])
    return [(str(one), one.stat().st_mtime_ns, one.stat().st_ctime_ns, one.stat().st_size) for one in paths]
