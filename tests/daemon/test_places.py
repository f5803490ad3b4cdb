"""Default places: host-local, and of the one who runs the agent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pstore.config import CacheConfig, Config
from p2pstore.daemon import places


@pytest.fixture
def _ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def mounts(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "mounts"
    rows = [line.split() for line in ("/dev/sda / ext4", *lines)]
    # proc(5) mountinfo: the mount point is the fifth field, the type follows the dash.
    path.write_text(
        "".join(f"36 35 98:0 / {point} rw - {kind} {device} rw\n" for device, point, kind in rows)
    )
    return str(path)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", ("ext4", False)),
        ("/home/u/.cache", ("nfs4", True)),
        ("/homely", ("ext4", False)),
        ("/scratch/x", ("xfs", False)),
        ("/remote/x", ("fuse.sshfs", True)),
        ("/twice/x", ("tmpfs", False)),
    ],
)
def test_the_longest_mount_point_tells_the_file_system(
    tmp_path: Path, path: str, found: tuple[str, bool]
) -> None:
    file = mounts(
        tmp_path,
        "srv:/home /home nfs4",
        "/dev/sdb /scratch xfs",
        "h:/x /remote fuse.sshfs",
        "a /twice nfs",
        "b /twice tmpfs",
    )
    assert places.file_system(path, file) == found


def test_an_unreadable_table_tells_nothing(tmp_path: Path) -> None:
    assert places.file_system("/", str(tmp_path / "none")) == ("", False)


@pytest.mark.usefixtures("_ordinary_user")
def test_a_user_keeps_the_cache_at_home(tmp_path: Path) -> None:
    file = mounts(tmp_path)
    assert places.default_cache_dir({"HOME": "/home/u"}, file) == "/home/u/.cache/p2pstore"
    assert places.default_cache_dir({"HOME": "/home/u", "XDG_CACHE_HOME": "/c"}, file) == "/c/p2pstore"


@pytest.mark.usefixtures("_ordinary_user")
def test_a_home_that_many_hosts_share_does_not_hold_the_cache(tmp_path: Path) -> None:
    file = mounts(tmp_path, "srv:/home /home nfs4")
    environ = {"HOME": "/home/u", "TMPDIR": "/local"}
    assert places.default_cache_dir(environ, file) == "/local/p2pstore-1000"


def test_root_and_services_have_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.default_cache_dir({"CACHE_DIRECTORY": "/var/cache/a:/var/cache/b"}) == "/var/cache/a"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert places.default_cache_dir({}) == "/var/cache/p2pstore"
    assert places.state_dir({}) == "/var/lib/p2pstore"


@pytest.mark.usefixtures("_ordinary_user")
def test_logs_nobody_watches_lie_in_the_state_directory() -> None:
    assert places.state_dir({"HOME": "/home/u"}) == "/home/u/.local/state/p2pstore"
    assert places.state_dir({"HOME": "/home/u", "XDG_STATE_HOME": "/s"}) == "/s/p2pstore"


def test_what_was_said_stays_but_becomes_absolute() -> None:
    config = Config(socket="a.sock", cache=CacheConfig(dir="c", size_bytes=5))
    filled = places.filled(config, {})
    assert filled.socket == os.path.abspath("a.sock")
    assert filled.cache.dir == os.path.abspath("c")
    assert filled.cache.size_bytes == 5
