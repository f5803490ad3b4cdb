"""Runs the product in this process with the surroundings that a test wants: other boot, other network, planted bugs.

A planted bug takes one defence away before `main` runs; the product itself has no switches for that. `python -m
tests.faults.launch JSON` starts one with fresh imports, `zygote.py` forks them.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 4096
_PR_SET_PDEATHSIG: Final = 1
_MS_REC_SLAVE: Final = 16384 | 1 << 19
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


@dataclass
class Spec:
    """What to run and in which surroundings."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    plants: list[str] = field(default_factory=list)
    """`module.function` in tests/faults/plants, or `module.function=ARGUMENT`."""
    boot_id_file: str = ""
    """A file that this process sees as the kernel's boot id."""
    binds: dict[str, str] = field(default_factory=dict)
    """Files that this process sees in the place of others."""
    netns: str = ""
    """Path of a network namespace to join."""
    log: str = "/dev/null"
    files: int = 0
    """Limit of open files; 0 leaves it."""
    uid: int = 0


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _surround(spec: Spec) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if spec.netns:
        fd = os.open(spec.netns, os.O_RDONLY)
        _check(libc.setns(fd, _CLONE_NEWNET), "setns")
        os.close(fd)
    binds = dict(spec.binds)
    if spec.boot_id_file:
        binds[_BOOT_ID] = spec.boot_id_file
    if binds or spec.uid:
        _check(libc.unshare(_CLONE_NEWNS), "unshare")
        _check(libc.mount(None, b"/", None, _MS_REC_SLAVE, None), "make mounts private")
        for seen, real in binds.items():
            _check(libc.mount(real.encode(), seen.encode(), None, _MS_BIND, None), f"bind {seen}")
    if spec.files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (spec.files, spec.files))
    if spec.uid:
        for path in (sys.base_prefix, sys.prefix, str(ROOT)):
            _make_reachable(libc, Path(path).resolve())
        os.setgroups([])
        os.setresgid(spec.uid, spec.uid, spec.uid)
        os.setresuid(spec.uid, spec.uid, spec.uid)
    # An agent does not outlive the test that started it, however that ends.
    _check(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def _make_reachable(libc: ctypes.CDLL, path: Path) -> None:
    """Let other uids reach a directory that lies in somebody's private one, such as root's home; for this process only."""
    closed = next((one for one in reversed(path.parents) if not one.stat().st_mode & stat.S_IXOTH), None)
    if closed is None:
        return
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
    _check(libc.mount(b"none", str(closed).encode(), b"tmpfs", 0, b"mode=755"), f"cover {closed}")
    path.mkdir(parents=True)
    _check(
        libc.mount(f"/proc/self/fd/{fd}".encode(), str(path).encode(), None, _MS_BIND, None), f"bind {path}"
    )
    os.close(fd)


def _redirect(log: str) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(null)
    os.close(out)


def plant(name: str) -> None:
    """Take one defence away, or put one disturbance in."""
    path, _, argument = name.partition("=")
    module, _, function = path.rpartition(".")
    apply = getattr(importlib.import_module(f"tests.faults.plants.{module}"), function)
    if argument:
        apply(argument)
    else:
        apply()


def run(spec: Spec) -> None:
    """Become that program; never returns."""
    _redirect(spec.log)
    _surround(spec)
    os.environ.clear()
    os.environ.update(spec.env)
    sys.argv = ["p2pstore", *spec.argv]
    for name in spec.plants:
        plant(name)
    from p2pstore.__main__ import main

    status: object = 0
    try:
        main()
    except SystemExit as end:
        status = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    run(Spec(**json.loads(sys.argv[1])))
