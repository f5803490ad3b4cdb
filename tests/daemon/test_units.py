"""The systemd units: they start what is there, where the clients look, and give away what an agent does not need."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import pytest

from p2pstore.cli.main import outcome
from p2pstore.cli.settings import SETTINGS
from p2pstore.client.paths import SYSTEM_SOCKET
from p2pstore.errors import CacheLocked

UNITS: Final = Path(__file__).parents[2] / "packaging" / "systemd"
SERVICES: Final = [UNITS / "p2pstore.service", UNITS / "user" / "p2pstore.service"]


def lines_of(path: Path) -> list[tuple[str, str]]:
    """The settings of a unit in order; a name may come more than once."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line and line[0] not in "#["]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.parent.name)
def test_the_service_starts_an_agent_with_options_that_are_there(path: Path) -> None:
    argv = shlex.split(dict(lines_of(path))["ExecStart"])
    assert argv[0] == "/usr/bin/env"
    words = argv[argv.index("p2pstore") + 1 :]
    assert words[0] == "agent"
    known = {one.option for one in SETTINGS} | {"--config"}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_node_s_socket_is_where_clients_look() -> None:
    assert dict(lines_of(UNITS / "p2pstore.socket"))["ListenStream"] == SYSTEM_SOCKET
    assert SYSTEM_SOCKET in dict(lines_of(UNITS / "p2pstore.service"))["ExecStart"]
    own = dict(lines_of(UNITS / "user" / "p2pstore.socket"))
    assert (own["ListenStream"], own["SocketMode"]) == ("%t/p2pstore/agent.sock", "0600")


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.parent.name)
def test_restarts_are_routine_and_a_wrong_configuration_ends_them(path: Path) -> None:
    found = dict(lines_of(path))
    assert (found["Type"], found["Restart"]) == ("notify", "always")
    assert "RuntimeMaxSec" in found
    assert "WatchdogSec" in found
    prevented = found["RestartPreventExitStatus"].split()
    assert "78" in prevented
    assert outcome(["--config", "/dev/null", "agent", "--cache-size", "much"]) == 78
    # For the node's own service a lock is held by what will soon be gone.
    assert (str(CacheLocked.exit_code) in prevented) == (path.parent.name == "user")


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.parent.name)
def test_what_would_break_the_agent_is_not_switched_on(path: Path) -> None:
    found = lines_of(path)
    names = {name for name, _ in found}
    # Callers' uids, the boot id in /proc/sys, and files read by path need these.
    assert names.isdisjoint({"PrivateUsers", "ProcSubset", "DynamicUser", "PrivateNetwork"})
    assert {
        "NoNewPrivileges",
        "MemoryDenyWriteExecute",
        "RestrictAddressFamilies",
        "SystemCallFilter",
    } <= names


def test_the_service_of_the_node_gives_everything_away() -> None:
    found = lines_of(UNITS / "p2pstore.service")
    values = dict(found)
    assert values["CapabilityBoundingSet"] == values["AmbientCapabilities"] == ""
    assert values["ProtectSystem"] == "strict"
    assert values["User"] == "p2pstore"
    assert re.search(r"^u p2pstore ", (UNITS / "p2pstore.sysusers").read_text(), re.MULTILINE)
    assert "169.254.0.0/16" in values["IPAddressDeny"]
