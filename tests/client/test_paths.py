from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pstore.client import paths
from p2pstore.client.paths import find_socket, own_socket
from p2pstore.errors import AgentUnreachable


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("P2PSTORE_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", str(tmp_path / "system.sock"))
    uid = os.stat(tmp_path).st_uid or 1000
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    return tmp_path


def test_own_socket(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_socket() == f"{user}/run/p2pstore/agent.sock"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert own_socket() == "/tmp/p2pstore-1234/agent.sock"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert own_socket() == paths.SYSTEM_SOCKET


def test_the_named_one_first_then_the_own_then_the_nodes(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, system = user / "run" / "p2pstore" / "agent.sock", user / "system.sock"
    assert find_socket() == str(own)
    system.touch()
    assert find_socket() == str(system)
    own.parent.mkdir(parents=True)
    assert find_socket() == str(system)
    own.touch()
    assert find_socket() == str(own)
    monkeypatch.setenv("P2PSTORE_SOCKET", "/named")
    assert find_socket() == "/named"


def test_a_directory_that_somebody_else_made_is_not_trusted(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user / "run" / "p2pstore").mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    if os.stat(user).st_uid == 0:
        os.chown(user / "run" / "p2pstore", 99, 99)
    with pytest.raises(AgentUnreachable, match="not yours"):
        find_socket()


def test_a_link_is_no_directory(user: Path) -> None:
    (user / "run").mkdir()
    (user / "elsewhere").mkdir()
    (user / "run" / "p2pstore").symlink_to(user / "elsewhere")
    with pytest.raises(AgentUnreachable):
        find_socket()
