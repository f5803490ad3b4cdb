"""The way to the agent, and the one that is started when there is none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pstore.cli import embedded
from p2pstore.cli.embedded import Door, answers, find_door
from p2pstore.cli.main import Globals
from p2pstore.client.sync import Client
from p2pstore.errors import AgentUnreachable
from tests.origin import Origin

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything of ours below one directory, whoever runs the tests; the socket is the file's, so nobody named it."""
    (tmp_path / "c.toml").write_text(
        f'socket = "{tmp_path}/run/agent.sock"\n[cache]\ndir = "{tmp_path}/cache"\n'
    )
    monkeypatch.setenv("P2PSTORE_CONFIG", str(tmp_path / "c.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_who_says_where_the_agent_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_door(Globals()) == Door(f"{home}/run/agent.sock", named=False)
    monkeypatch.setenv("P2PSTORE_SOCKET", "/from/environment")
    assert find_door(Globals()) == Door("/from/environment", named=True)
    assert find_door(Globals(socket="/from/option")) == Door("/from/option", named=True)


@pytest.mark.parametrize("text", ["", "socket = 3", "nonsense", '[cache]\ndir = "/x"'])
def test_a_file_that_does_not_say_it(home: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from p2pstore.client import paths

    monkeypatch.setattr(paths, "find_socket", lambda: "/usual")
    (home / "c.toml").write_text(text)
    assert find_door(Globals()) == Door("/usual", named=False)


def test_a_socket_that_was_named_is_never_started_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "start", lambda *_, **__: pytest.fail("started"))
    client = embedded.connect(Globals(socket=str(home / "none.sock")))
    with client, pytest.raises(AgentUnreachable):
        client.status()


def test_an_agent_that_answers_is_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "start", lambda *_, **__: pytest.fail("started"))
    (home / "run").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"{home}/run/agent.sock")
        listener.listen()
        assert answers(f"{home}/run/agent.sock")
        embedded.connect(Globals()).close()
    assert not answers(f"{home}/run/agent.sock")


def test_a_dead_socket_of_the_node_is_not_started_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from p2pstore.client import paths

    started: list[str] = []
    monkeypatch.setattr(embedded, "start", lambda door, given, quiet: started.append(door.socket))
    monkeypatch.setattr(paths, "find_socket", lambda: str(home / "of-the-node"))
    monkeypatch.setattr(paths, "own_socket", lambda: str(home / "own"))
    (home / "c.toml").write_text("")
    embedded.connect(Globals()).close()
    assert started == [str(home / "own")]


def test_an_agent_that_can_not_start_says_why(home: Path) -> None:
    with open(home / "c.toml", "a") as file:
        file.write("sizes = 3\n")
    with pytest.raises(AgentUnreachable, match=r"ended with code 78: .*\[cache\] sizes"):
        embedded.connect(Globals())


def test_one_that_does_not_answer_in_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeping = subprocess.Popen(["sleep", "30"])
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.1)
    monkeypatch.setattr(embedded, "_spawn", lambda argv, log: sleeping)
    try:
        with pytest.raises(AgentUnreachable, match="does not answer"):
            embedded.connect(Globals())
    finally:
        sleeping.kill()
        sleeping.wait()


def test_a_log_that_grew_is_begun_anew(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MAX_LOG_BYTES", 10)
    log = embedded._log_file()
    child = embedded._spawn([sys.executable, "-c", "print('x' * 100)"], log)
    assert child.wait(30) == 0
    assert log.stat().st_mode & 0o077 == 0
    child = embedded._spawn([sys.executable, "-c", "print('new')"], log)
    assert child.wait(30) == 0
    assert log.read_text() == "new\n"


@pytest.fixture
def ended(home: Path) -> Iterator[None]:
    """Ends the agent that a command left running."""
    yield
    path = f"{home}/run/agent.sock"
    if answers(path):
        with Client(path) as client:
            pid = int(client.status()["pid"])
        watched = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        os.close(watched)
        give_up_at = time.monotonic() + 20
        while answers(path) and time.monotonic() < give_up_at:
            time.sleep(0.02)


@pytest.mark.usefixtures("ended")
def test_get_without_an_agent_starts_one_and_two_at_once_share_it(
    home: Path, threaded_origin: Origin
) -> None:
    body = os.urandom(300_000)
    threaded_origin.serve("/x.bin", body)
    url = threaded_origin.url("/x.bin")
    commands = [
        subprocess.Popen(
            [sys.executable, "-m", "p2pstore", "get", url, "-o", str(home / f"out{number}")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    said = [command.communicate(timeout=60)[1] for command in commands]
    assert [command.returncode for command in commands] == [0, 0], said
    assert all("x.bin" in one or "out" in one for one in said)
    assert any("no agent was running: started one" in one for one in said)
    assert {(home / f"out{number}").read_bytes() for number in range(2)} == {body}
    with Client(f"{home}/run/agent.sock") as client:
        assert client.status()["cache_dir"] == f"{home}/cache"
