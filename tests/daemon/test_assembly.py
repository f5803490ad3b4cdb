"""A whole agent as a process: ready, told to the manager, ended by signal, idleness or age, and its exit codes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pstore.client.sync import Client
from tests.origin import Origin

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 30.0


class Started:
    """Agents of one test, all below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = str(directory / "run" / "agent.sock")
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "P2PSTORE_CONFIG": "/dev/null"}
        self.children: list[subprocess.Popen[str]] = []

    def start(self, *options: str, **more: str) -> subprocess.Popen[str]:
        argv = [
            "-m",
            "p2pstore",
            "agent",
            "--socket",
            self.socket,
            "--cache-dir",
            str(self.directory / "cache"),
            *options,
        ]
        child = subprocess.Popen(
            [sys.executable, *argv],
            cwd=ROOT,
            env=self.environ | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        return child

    def ready(self, *options: str, **more: str) -> tuple[subprocess.Popen[str], str]:
        """Start one and wait for its line."""
        child = self.start(*options, **more)
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            pytest.fail(f"the agent ended: {child.communicate(timeout=TIMEOUT_S)[1]}")
        return child, line


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Started]:
    one = Started(tmp_path)
    yield one
    for child in one.children:
        if child.poll() is None:
            child.kill()
        child.communicate(timeout=TIMEOUT_S)


def ended(child: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code and what it logged."""
    _, err = child.communicate(timeout=TIMEOUT_S)
    return child.returncode, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_from_ready_to_stopped(agents: Started, number: signal.Signals) -> None:
    child, line = agents.ready("--cache-size", "1G")
    assert line.startswith(f"ready · socket {agents.socket} · cache {agents.directory}/cache · quota 1.0 GiB")
    with Client(agents.socket) as client:
        assert client.status()["pid"] == child.pid
    child.send_signal(number)
    code, log = ended(child)
    assert code == 0
    assert f"stopping why={number.name}" in log
    assert not os.path.exists(agents.socket)


def test_it_serves_a_file(agents: Started, threaded_origin: Origin) -> None:
    agents.ready()
    threaded_origin.serve("/x", b"bytes" * 1000)
    with Client(agents.socket) as client, client.fetch(threaded_origin.url("/x")) as got, got.open() as file:
        assert file.read() == b"bytes" * 1000


def test_the_manager_hears_of_it(agents: Started, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(TIMEOUT_S)
        child, _ = agents.ready(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        first = manager.recv(4096).decode().split("\n")
        assert first[0] == "READY=1"
        assert first[2].startswith("STATUS=0.0 of ")
        assert [manager.recv(4096), manager.recv(4096)] == [b"WATCHDOG=1"] * 2
        child.terminate()
        said = b""
        while not said.startswith(b"STOPPING=1"):
            said = manager.recv(4096)
        assert ended(child)[0] == 0


def test_a_socket_that_the_manager_made(agents: Started, tmp_path: Path) -> None:
    path = str(tmp_path / "passed.sock")
    code = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[2], sys.argv[2:])"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        fd = listener.fileno()
        argv = [sys.executable, "-m", "p2pstore", "agent", "--cache-dir", str(tmp_path / "cache")]
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(fd), *argv],
            cwd=ROOT,
            env=agents.environ | {"LISTEN_FDS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(fd,),
        )
    agents.children.append(child)
    # Nobody has to wait until it is up: the kernel holds the connection.
    with Client(path) as client:
        status = client.status()
    assert (status["pid"], status["socket"]) == (child.pid, path)
    assert child.stdout is not None
    assert f"socket {path}" in child.stdout.readline()
    child.terminate()
    assert ended(child)[0] == 0
    assert os.path.exists(path), "the manager's socket is not ours to remove"


def test_it_ends_when_nobody_needs_it(agents: Started) -> None:
    child, _ = agents.ready("--idle-exit", "500ms")
    with Client(agents.socket) as client:
        for _ in range(3):
            client.status()
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(0.4)
    assert ended(child)[0] == 0


def test_it_ends_when_it_is_old(agents: Started) -> None:
    child, _ = agents.ready("--max-runtime", "200ms")
    code, log = ended(child)
    assert (code, "stopping why=max_runtime" in log) == (0, True)


def test_one_agent_owns_a_cache(agents: Started) -> None:
    first, _ = agents.ready()
    second = agents.start("--socket", str(agents.directory / "run" / "other.sock"))
    code, log = ended(second)
    assert code == 75
    assert log.startswith("p2pstore: another agent")
    assert str(first.pid) in log
    assert log.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "code"), [(("--cache-low-ratio", "0.99"), 78), (("--cache-dir", "/proc/nowhere"), 1)]
)
def test_what_can_not_start_says_so_in_one_line(agents: Started, options: tuple[str, ...], code: int) -> None:
    found, log = ended(agents.start(*options))
    assert found == code
    assert log.startswith("p2pstore: ")
    assert log.count("\n") == 1


def test_killed_and_started_again_it_still_has_what_it_had(agents: Started, threaded_origin: Origin) -> None:
    threaded_origin.serve("/x", b"bytes" * 1000)
    child, _ = agents.ready()
    with Client(agents.socket) as client:
        client.fetch(threaded_origin.url("/x")).close()
    child.kill()
    child.wait(TIMEOUT_S)
    agents.ready()
    with Client(agents.socket) as client, client.fetch(threaded_origin.url("/x"), offline=True) as got:
        assert got.bytes["cache"] == 5000
