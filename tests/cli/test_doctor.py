"""`p2pstore doctor`: each finding with its fix, made from states that a test sets up."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import socket
from pathlib import Path
from typing import Any

import pytest

from p2pstore import __version__
from p2pstore.cli import doctor
from p2pstore.cli.doctor import BAD, OK, WARN, Finding
from p2pstore.cli.embedded import Door
from p2pstore.cli.main import outcome
from p2pstore.config import CacheConfig, Config
from p2pstore.errors import RemoteProtocolError

STATUS: dict[str, Any] = {"version": __version__, "pid": 7, "uid": 0, "cache_dir": "/c"}


def test_a_finding_is_one_line() -> None:
    assert Finding(WARN, "clock", "wrong", "set it").line() == "warn  clock     wrong  ->  set it"
    assert Finding(OK, "clock", "right").line() == "ok    clock     right"


@pytest.mark.parametrize(
    ("named", "status", "level", "said"),
    [
        (True, STATUS, OK, "pid 7"),
        (True, STATUS | {"version": "0.0.1"}, WARN, "0.0.1"),
        (True, None, BAD, "not there"),
        (False, None, WARN, "not there"),
        (True, RemoteProtocolError("nonsense"), BAD, "nonsense"),
    ],
)
def test_the_socket(tmp_path: Path, named: bool, status: Any, level: str, said: str) -> None:
    found = doctor.socket_finding(Door(str(tmp_path / "s"), named), status)
    assert found.level == level
    assert said in found.seen


def test_a_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.bind(path)
    assert doctor.running(Door(path, True)) is None
    assert "nobody listens" in doctor.socket_finding(Door(path, True), None).seen


def test_a_cache_on_this_disk(tmp_path: Path) -> None:
    first, *_ = doctor.cache_directory(str(tmp_path / "a" / "b"), Config(), agent=False)
    assert (first.level, first.subject) == (OK, "cache")
    assert first.seen.endswith("not made yet)")


def test_a_cache_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from p2pstore.daemon import places

    monkeypatch.setattr(places, "file_system", lambda path: ("nfs4", True))
    first, *_ = doctor.cache_directory(str(tmp_path), Config(), agent=False)
    assert (first.level, first.seen) == (BAD, f"{tmp_path} is on nfs4")
    allowed = Config(cache=CacheConfig(allow_network_fs=True))
    first, *_ = doctor.cache_directory(str(tmp_path), allowed, agent=False)
    assert first.level == OK


def statvfs(**changes: int) -> Any:
    fields = {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1000, "f_bfree": 500, "f_bavail": 500}
    fields |= {"f_files": 1000, "f_ffree": 500, "f_favail": 500, "f_flag": 0, "f_namemax": 255} | changes
    return lambda path: os.statvfs_result(tuple(fields.values()))


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({}, OK, "500 of 1000 inodes free"),
        ({"f_bavail": 10}, WARN, "40.0 KiB of 3.9 MiB free"),
        ({"f_favail": 10}, WARN, "10 of 1000 inodes"),
        ({"f_files": 0, "f_favail": 0}, OK, "2.0 MiB of 3.9 MiB free"),
    ],
)
def test_room(changes: dict[str, int], level: str, said: str) -> None:
    found = doctor.room("/", statvfs(**changes))
    assert found.level == level
    assert said in found.seen


def test_who_holds_the_lock(tmp_path: Path) -> None:
    assert doctor.lock_holder(str(tmp_path)) == ""
    with open(tmp_path / "LOCK", "w") as lock:
        assert doctor.lock_holder(str(tmp_path)) == ""
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert doctor.lock_holder(str(tmp_path)) == str(os.getpid())
        *_, last = doctor.cache_directory(str(tmp_path), Config(), agent=False)
        assert (last.subject, last.level) == ("lock", WARN)
        assert [one.subject for one in doctor.cache_directory(str(tmp_path), Config(), agent=True)] == [
            "cache",
            "disk",
        ]


@pytest.mark.parametrize(
    ("changes", "level"),
    [({}, OK), ({"degraded": "read-only file system"}, BAD), ({"rebuilding": True}, WARN)],
)
def test_the_store(changes: dict[str, Any], level: str) -> None:
    usage = {"used_bytes": 1, "quota_bytes": 2, "entries": 3, "degraded": "", "rebuilding": False} | changes
    assert [one.level for one in doctor.store_findings({"usage": usage})] == [level]


def test_proxies_that_are_not_followed() -> None:
    found = list(doctor.proxies({"https_proxy": "http://p", "HTTP_PROXY": "", "PATH": "/bin"}))
    assert [(one.level, one.seen) for one in found] == [
        (WARN, "https_proxy set, but agents ask origins directly")
    ]
    assert list(doctor.proxies({})) == []


@pytest.mark.parametrize(
    ("now", "state", "level"),
    [(0.0, 0, BAD), (1.8e9, 0, OK), (1.8e9, doctor.TIME_ERROR, WARN), (1.8e9, -1, OK)],
)
def test_the_clock(now: float, state: int, level: str) -> None:
    assert doctor.clock(now, lambda: state).level == level


def test_the_kernel_is_asked_for_its_clock() -> None:
    assert doctor.adjtimex() in range(-1, doctor.TIME_ERROR + 1)


@pytest.mark.parametrize(("hard", "level"), [(1024, WARN), (1 << 20, OK), (resource.RLIM_INFINITY, OK)])
def test_descriptors(monkeypatch: pytest.MonkeyPatch, hard: int, level: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, hard))
    assert doctor.descriptors().level == level


def test_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.level for one in doctor.versions()] == [OK]
    monkeypatch.setattr(doctor, "PACKAGES", ("click", "no-such-package"))
    assert [one.level for one in doctor.versions()] == [OK, BAD]


def test_the_command_tells_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("P2PSTORE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("P2PSTORE_CACHE_SIZES", "1G")
    missing = str(tmp_path / "none.sock")
    assert outcome(["--config", "/dev/null", "--socket", missing, "doctor", "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    subjects = [one["subject"] for one in found]
    assert subjects[:4] == ["versions", "config", "config", "socket"]
    assert {"cache", "disk", "files", "clock"} <= set(subjects)
    assert all(one["fix"] for one in found if one["level"] != OK)
    assert not (tmp_path / "cache").exists()


def test_a_configuration_that_can_not_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text("nonsense = 1")
    assert outcome(["--config", str(tmp_path / "c.toml"), "--socket", str(tmp_path / "s"), "doctor"]) == 1
    assert "bad   config" in capsys.readouterr().out
