from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from p2pstore.api.jobs.listening import inherited, listen
from p2pstore.errors import BadConfig, CacheLocked, CacheUnusable


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("everybody", "socket_mode", "directory_mode"), [(False, 0o600, 0o700), (True, 0o666, 0o755)]
)
def test_modes(tmp_path: Path, everybody: bool, socket_mode: int, directory_mode: int) -> None:
    path = tmp_path / "run" / "agent.sock"
    mask = os.umask(0o077)
    try:
        listener = listen(str(path), everybody=everybody)
    finally:
        os.umask(mask)
    assert (mode(path), mode(path.parent)) == (socket_mode, directory_mode)
    assert listener.everybody is everybody
    listener.close()
    assert not path.exists()


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    listener = listen(str(path), everybody=False)
    with pytest.raises(CacheLocked, match="another agent"):
        listen(str(path), everybody=False)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()


def test_a_busy_listener_counts_as_live(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        socket.socket(socket.AF_UNIX) as busy,
        socket.socket(socket.AF_UNIX) as one,
        socket.socket(socket.AF_UNIX) as two,
    ):
        busy.bind(str(path))
        busy.listen(0)
        one.connect(str(path))
        two.setblocking(False)
        with pytest.raises(BlockingIOError):
            two.connect(str(path))
        with pytest.raises(CacheLocked):
            listen(str(path), everybody=False)


def test_another_agents_socket_is_not_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = listen(str(path), everybody=False)
    os.unlink(path)
    second = listen(str(path), everybody=False)
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


def test_what_cannot_be_a_socket_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadConfig, match="no socket"):
        listen(str(tmp_path / "file"), everybody=False)
    with pytest.raises(BadConfig, match="longer"):
        listen(str(tmp_path / ("x" * 120)), everybody=False)
    with pytest.raises(CacheUnusable):
        listen("/proc/nowhere/s", everybody=False)


@pytest.mark.parametrize("bits", [0o770, 0o707])
def test_a_directory_that_others_may_write_is_refused(tmp_path: Path, bits: int) -> None:
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(bits)
    with pytest.raises(CacheUnusable, match="others could replace"):
        listen(str(directory / "s"), everybody=False)
    directory.chmod(0o1777)
    listen(str(directory / "s"), everybody=False).close()


CHILD = """
import os, socket, sys
from p2pstore.api.jobs.listening import inherited
os.environ["LISTEN_PID"] = str(os.getpid()) if sys.argv[1] == "me" else "1"
try:
    found = inherited(os.environ)
except Exception as error:
    print(type(error).__name__)
else:
    print(found and (found.path, found.everybody, found.inode, os.get_inheritable(3)))
print(sorted(name for name in os.environ if name.startswith("LISTEN")))
"""


def inherit(fd: int, whose: str, count: str) -> list[str]:
    script = f"import os\nos.dup2({fd}, 3)\nos.set_inheritable(3, True)\n" + CHILD
    done = subprocess.run(
        [sys.executable, "-c", script, whose],
        env={**os.environ, "LISTEN_FDS": count, "LISTEN_FDNAMES": "x"},
        pass_fds=[fd],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("everybody", [False, True])
def test_a_socket_passed_by_systemd(tmp_path: Path, everybody: bool) -> None:
    path = tmp_path / "s"
    with listen(str(path), everybody=everybody).sock as sock:
        assert inherit(sock.fileno(), "me", "1") == [str((str(path), everybody, None, False)), "[]"]
        assert inherit(sock.fileno(), "other", "1")[0] == "None"
        assert inherit(sock.fileno(), "me", "2")[0] == "BadConfig"
    with socket.socket(socket.AF_UNIX) as deaf:
        assert inherit(deaf.fileno(), "me", "1")[0] == "BadConfig"


def test_nothing_passed_is_nothing() -> None:
    assert inherited({}) is None
