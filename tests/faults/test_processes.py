"""Two agents, stale sockets, foreign formats: the right exit code, and the data untouched."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.agents import Agent, NotReady
from tests.faults.trials import budget_s, trials

EXIT_LOCKED = 75


def _fingerprint(directory: Path) -> dict[str, str]:
    """Every file that holds data, with its digest; the index may be opened and checkpointed by whoever owns the lock."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.startswith("index.sqlite")
    }


def _ends_with(agent: Agent, *plants: str) -> int:
    agent.launch(*plants)
    return agent.reap()


@pytest.mark.timeout(budget_s(10))
@pytest.mark.parametrize("plant", ["", "processes.no_lock"])
def test_one_agent_owns_a_cache(plant: str, agents: Callable[..., Agent]) -> None:
    first, second = agents("first"), agents("second")
    second.cache = first.cache
    first.start()
    with first.wire() as wire:
        wire.put("kept", b"kept")
        before = _fingerprint(first.cache)
        statuses: set[int | None] = set()
        for _ in range(trials("processes")):
            try:
                second.start(*([plant] if plant else []))
                statuses.add(0)
                second.kill()
            except NotReady as error:
                statuses.add(error.status)
        if not plant:
            for _ in range(trials("processes")):
                statuses.add(_ends_with(second))
        owned = statuses == {EXIT_LOCKED} and _fingerprint(first.cache) == before
        assert wire.get("put:kept") == b"kept"
    assert owned == (not plant), statuses


@pytest.mark.timeout(budget_s(10))
def test_a_stale_socket_does_not_keep_an_agent_from_starting(agent: Agent) -> None:
    for _ in range(trials("processes")):
        agent.start()
        agent.kill()
        assert agent.socket.is_socket()
    agent.start()


@pytest.mark.timeout(budget_s(10))
def test_a_socket_in_use_is_not_taken_away(agents: Callable[..., Agent]) -> None:
    first, second = agents("first"), agents("second")
    second.socket = first.socket
    first.start()
    assert _ends_with(second) not in (0, None)
    with first.wire() as wire:
        assert wire.greeting["pid"] == first.pid


@pytest.mark.timeout(budget_s(10))
def test_a_file_in_the_place_of_the_socket_is_kept(agent: Agent) -> None:
    agent.socket.write_text("precious")
    assert _ends_with(agent) != 0
    assert agent.socket.read_text() == "precious"


@pytest.mark.timeout(budget_s(10))
def test_a_socket_of_another_program_is_kept(agent: Agent) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(agent.socket))
        other.listen()
        inode = os.stat(agent.socket).st_ino
        assert _ends_with(agent) != 0
        assert os.stat(agent.socket).st_ino == inode


@pytest.mark.timeout(budget_s(10))
@pytest.mark.parametrize("plant", ["", "processes.any_format"])
def test_a_newer_format_is_refused_and_nothing_is_written(plant: str, agent: Agent) -> None:
    agent.start()
    with agent.wire() as wire:
        wire.put("kept", b"kept")
    agent.kill()
    path = agent.cache / "FORMAT"
    words = path.read_text().split(" ")
    words[1] = "2"
    path.chmod(0o644)
    path.write_text(" ".join(words))
    before = _fingerprint(agent.cache)
    plants = [plant] if plant else []
    try:
        agent.start(*plants)
        refused = False
    except NotReady:
        refused = True
    assert refused == (not plant)
    if refused:
        assert "2" in agent.tail()
        assert _fingerprint(agent.cache) == before


@pytest.mark.timeout(budget_s(10))
@pytest.mark.parametrize("text", ["", "garbage\n", "p2pstore-cache 1\n", "p2pstore-cache x y\n", "\0" * 64])
def test_a_damaged_format_is_never_overwritten_silently(text: str, agent: Agent) -> None:
    agent.start()
    with agent.wire() as wire:
        wire.put("kept", b"kept")
    agent.kill()
    path = agent.cache / "FORMAT"
    path.chmod(0o644)
    path.write_text(text)
    try:
        agent.start()
    except NotReady:
        assert "FORMAT" in agent.tail()
    else:
        with agent.wire() as wire:
            assert wire.get("put:kept") == b"kept"
