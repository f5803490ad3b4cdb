"""Agents under test: started, killed, restarted and asked over their socket."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tests.faults.launch import ROOT, Spec
from tests.faults.wire import Wire

READY_TIMEOUT_S: Final = 30.0


class NotReady(AssertionError):
    """The agent ended, with `status`, or did not answer in time (None); the message ends with its log."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Zygote:
    """The process that forks agents; see zygote.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        if not self._out.readline():
            raise NotReady("the product can't be imported")

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        print(json.dumps(request), file=self._in, flush=True)
        line = self._out.readline()
        if not line:
            raise NotReady("the process that forks agents ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def start(self, spec: Spec) -> int:
        """Fork one; returns its pid."""
        return int(self._ask({"op": "start", "spec": asdict(spec)})["pid"])

    def wait(self, pid: int, timeout_s: float) -> int | None:
        """Its exit status (negative: the signal), or None when it still runs."""
        status = self._ask({"op": "wait", "pid": pid, "timeout_s": timeout_s})["status"]
        return None if status is None else int(status)

    def close(self) -> None:
        """End it; agents must have ended."""
        self._in.close()
        self._out.close()
        self._process.wait(10)


class Agent:
    """One agent and its surroundings; `start` and `kill` as often as wanted, on the same cache."""

    def __init__(self, directory: Path, *, zygote: Zygote | None = None, cache: Path | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.cache = cache or directory / "cache"
        self.socket = directory / "agent.sock"
        self.log = directory / "agent.log"
        self.options: list[str] = ["--cache-size", "4G"]
        self.settings: dict[str, str] = {}
        self.spec = Spec(argv=[], log=str(self.log))
        self.pid = 0
        self._zygote = zygote
        self._process: subprocess.Popen[bytes] | None = None
        self.boots = 0

    # -- surroundings

    def environment(self) -> dict[str, str]:
        """The environment of the agent and of commands: a fresh HOME, and nothing of the user's."""
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            **{f"P2PSTORE_{name}": value for name, value in self.settings.items()},
        }

    def reboot(self) -> None:
        """The next start sees another boot id, as after a power cut."""
        path = self.directory / "boot_id"
        path.write_text(f"{uuid.uuid4()}\n")
        self.spec.boot_id_file = str(path)
        self.boots += 1

    def belongs_to(self, uid: int) -> None:
        """Run as that uid: it owns the directory and HOME, and can reach them."""
        self.environment()
        self.spec.uid = uid
        for path in (self.directory, self.directory / "home"):
            os.chown(path, uid, uid)
        for parent in self.directory.parents:
            # pytest's directories are root's alone.
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o055)

    # -- life

    def launch(self, *plants: str) -> None:
        """Start it without waiting for the socket."""
        if self.pid:
            raise AssertionError("it runs already")
        self.spec.argv = [
            "agent",
            "--cache-dir",
            str(self.cache),
            "--socket",
            str(self.socket),
            *self.options,
        ]
        self.spec.env = self.environment()
        self.spec.plants = list(plants)
        if self._zygote is not None:
            self.pid = self._zygote.start(self.spec)
        else:
            self._process = self._executed()
            self.pid = self._process.pid

    def _executed(self) -> subprocess.Popen[bytes]:
        plain = Spec(argv=self.spec.argv, env=self.spec.env, log=self.spec.log)
        if self.spec != plain:
            command = [sys.executable, "-m", "tests.faults.launch", json.dumps(asdict(self.spec))]
            return subprocess.Popen(command, cwd=ROOT)
        # Nothing special: the product as a user starts it.
        with open(self.spec.log, "ab") as log:
            command = [sys.executable, "-m", "p2pstore", *self.spec.argv]
            return subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.spec.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start(self, *plants: str, ready_s: float = READY_TIMEOUT_S) -> float:
        """Start it and wait for the greeting; returns the seconds that took."""
        begin = time.monotonic()
        self.launch(*plants)
        self.wait_ready(ready_s)
        return time.monotonic() - begin

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Until the agent greets on its socket; raises NotReady."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                with Wire(self.socket, timeout_s=timeout_s) as wire:
                    if wire.greeting["pid"] == self.pid:
                        return
            except (ConnectionError, FileNotFoundError, TimeoutError):
                pass
            if not self.running():
                status = self.reap()
                raise NotReady(f"the agent ended with {status}:\n{self.tail()}", status)
            if time.monotonic() > deadline:
                raise NotReady(f"no greeting within {timeout_s} s:\n{self.tail()}")
            time.sleep(0.002)

    def running(self) -> bool:
        """Whether the process has not ended."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            return not select.select([fd], [], [], 0)[0]
        finally:
            os.close(fd)

    def reap(self, timeout_s: float = 20.0) -> int:
        """Wait for its end and forget it; returns the exit status (negative: the signal)."""
        if self._process is not None:
            status: int | None = self._process.wait(timeout_s)
        else:
            assert self._zygote is not None
            status = self._zygote.wait(self.pid, timeout_s)
        if status is None:
            raise NotReady(f"the agent did not end within {timeout_s} s:\n{self.tail()}")
        self.pid = 0
        self._process = None
        return status

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9 and reap."""
        if self.pid:
            self.signal(signal.SIGKILL)
            self.reap()

    def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        self.signal(signal.SIGTERM)
        return self.reap()

    # -- asking

    def wire(self, *, timeout_s: float = 60.0) -> Wire:
        """A new connection."""
        return Wire(self.socket, timeout_s=timeout_s)

    def argv(self, *args: str) -> list[str]:
        """A command line against this agent."""
        return [sys.executable, "-m", "p2pstore", "--socket", str(self.socket), *args]

    def command(self, *args: str, timeout_s: float = 120.0, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line against this agent."""
        environment = {**self.environment(), **more.pop("env", {})}
        return subprocess.run(
            self.argv(*args),
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            **more,
        )

    def command_as(self, uid: int, *args: str, timeout_s: float = 120.0) -> int:
        """Run the command line as another user; returns its exit code, its output goes to the log."""
        spec = Spec(
            argv=["--socket", str(self.socket), *args], env=self.environment(), log=str(self.log), uid=uid
        )
        command = [sys.executable, "-m", "tests.faults.launch", json.dumps(asdict(spec))]
        return subprocess.run(command, cwd=ROOT, timeout=timeout_s).returncode

    def tail(self, chars: int = 4000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-chars:] if self.log.exists() else "(no log)"

    # -- measuring

    def rss_bytes(self, field: str = "VmRSS") -> int:
        """Resident memory; `VmHWM` gives the peak."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field} in /proc/{self.pid}/status")

    def fds(self) -> list[str]:
        """What its descriptors point to."""
        found = []
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                found.append(os.readlink(f"/proc/{self.pid}/fd/{name}"))
            except FileNotFoundError:
                continue
        return found
