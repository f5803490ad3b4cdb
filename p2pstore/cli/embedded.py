"""The way to the agent: the socket that was named, the usual one, or an agent started for the occasion.

An agent is started only when nobody named a socket. It ends by itself when it has nothing to do; two commands that start one
at the same time get the same: the second agent finds the cache locked and leaves.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from p2pstore.cli.main import Globals, say
from p2pstore.errors import AgentUnreachable, CacheLocked

if TYPE_CHECKING:
    # Imported where an agent is started: most commands find one.
    import subprocess
    from pathlib import Path

    from p2pstore.client.sync import Client

IDLE_EXIT: Final = "30s"
"""How long an agent started for the occasion stays without work."""
START_TIMEOUT_S: Final = 15.0
"""Deadline for such an agent to answer."""
POLL_S: Final = 0.02
MAX_LOG_BYTES: Final = 1 << 20
"""The log is begun anew when it has grown beyond this."""
CONNECT_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True)
class Door:
    """Where the agent listens; `named` when a person or a script said so, and nothing may be started then."""

    socket: str
    named: bool


def find_door(given: Globals) -> Door:
    """`--socket`, else P2PSTORE_SOCKET, else the configuration file's, else the usual one; raises AgentUnreachable."""
    from p2pstore.client.paths import VARIABLE, find_socket

    socket = given.socket or os.environ.get(VARIABLE)
    if socket:
        return Door(socket, named=True)
    return Door(_socket_of_file(given) or find_socket(), named=False)


def _socket_of_file(given: Globals) -> str:
    """What the configuration file says, without the machinery that reads all of it: this is on every command's way."""
    if os.geteuid() == 0:
        usual = "/etc/p2pstore/config.toml"
    else:
        usual = os.path.join(
            os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.environ.get("HOME", "/"), ".config"),
            "p2pstore",
            "config.toml",
        )
    path = given.config or os.environ.get("P2PSTORE_CONFIG") or usual
    if not os.path.exists(path):
        return ""
    import tomllib

    try:
        with open(path, "rb") as stream:
            socket = tomllib.load(stream).get("socket", "")
    except (OSError, ValueError):
        return ""
    return socket if isinstance(socket, str) else ""


def connect(given: Globals, *, quiet: bool = False) -> Client:
    """A client of the agent, which may have to be started; raises AgentUnreachable."""
    from p2pstore.client.sync import Client

    door = find_door(given)
    if door.named or answers(door.socket):
        return Client(door.socket)
    from p2pstore.client.paths import own_socket

    # The node's socket may have been found and be dead: what is started here serves this user.
    own = Door(_socket_of_file(given) or own_socket(), named=False)
    start(own, given, quiet=quiet)
    return Client(own.socket)


def answers(path: str) -> bool:
    """Whether somebody listens there."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(CONNECT_TIMEOUT_S)
        try:
            one.connect(path)
        except OSError:
            return False
    return True


def start(door: Door, given: Globals, *, quiet: bool = False) -> None:
    """Start an agent that ends when idle and wait until it answers; raises AgentUnreachable with its last words."""
    log = _log_file()
    argv = [sys.executable, "-m", "p2pstore", "agent", "--socket", door.socket, "--idle-exit", IDLE_EXIT]
    argv += ["--config", os.path.abspath(given.config)] if given.config else []
    began, told_before = time.monotonic(), log.stat().st_size if log.exists() else 0
    child = _spawn(argv, log)
    while not answers(door.socket):
        code = child.poll()
        if code is not None and code != CacheLocked.exit_code:
            raise _failed(f"the agent started for this command ended with code {code}", log, told_before)
        if time.monotonic() - began > START_TIMEOUT_S:
            why = "another agent owns the cache" if code is not None else "the agent started for this command"
            raise _failed(
                f"{why} and does not answer on {door.socket} within {START_TIMEOUT_S:.0f} s", log, told_before
            )
        time.sleep(POLL_S)
    # The agent lives on without us; the interpreter must not warn about a child that nobody waited for.
    child.returncode = 0 if child.returncode is None else child.returncode
    if not quiet:
        say(f"no agent was running: started one that ends after {IDLE_EXIT} without work (log {log})")


def _spawn(argv: list[str], log: Path) -> subprocess.Popen[bytes]:
    import subprocess
    from pathlib import Path

    import p2pstore

    # Started elsewhere, it must find the package that this program was started from.
    package = str(Path(p2pstore.__file__).parents[1])
    environ: dict[str, Any] = dict(os.environ)
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environ.get("PYTHONPATH", "")]))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    out = os.open(log, flags, 0o600)
    try:
        if os.fstat(out).st_size > MAX_LOG_BYTES:
            os.ftruncate(out, 0)
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            env=environ,
            start_new_session=True,
        )
    finally:
        os.close(out)


def _log_file() -> Path:
    from pathlib import Path

    from p2pstore.daemon.places import state_dir

    directory = Path(state_dir())
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AgentUnreachable(
            f"can't start an agent: {directory}: {error.strerror}", hint="start one: p2pstore agent"
        ) from error
    return directory / "embedded.log"


def _failed(what: str, log: Path, told_before: int) -> AgentUnreachable:
    """The error with the last words of the agent: its own one-line message, else whatever came last."""
    try:
        with open(log, "rb") as stream:
            stream.seek(told_before if told_before < os.fstat(stream.fileno()).st_size else 0)
            lines = stream.read(MAX_LOG_BYTES).decode(errors="replace").split("\n")
    except OSError:
        lines = []
    told = [line for line in reversed(lines) if line.strip()]
    last = next((line for line in told if line.startswith("p2pstore:")), told[0] if told else "")
    said = f": {last.removeprefix('p2pstore: ')}" if last else ""
    return AgentUnreachable(what + said, hint=f"see {log}, or run p2pstore agent")
