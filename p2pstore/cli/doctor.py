"""`p2pstore doctor`: looks at what an agent needs on this machine, one line for each with the fix; changes nothing."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from p2pstore.cli.embedded import Door, answers, find_door
from p2pstore.cli.main import Globals
from p2pstore.cli.quantities import show_size
from p2pstore.cli.report import paint, print_json
from p2pstore.cli.settings import Effective, load
from p2pstore.config import Config
from p2pstore.errors import BadConfig, P2PStoreError

OK: Final = "ok"
WARN: Final = "warn"
BAD: Final = "bad"
_COLOURS: Final = {OK: "green", WARN: "yellow", BAD: "red"}
PACKAGES: Final = ("aiohttp", "blake3", "click", "httptools", "idna", "msgpack", "msgspec", "rich")
PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")
MIN_FILES: Final = 4096
"""Below this many descriptors a busy agent refuses connections."""
MIN_FREE_RATIO: Final = 0.05
ADJTIMEX_BYTES: Final = 208
"""sizeof(struct timex) on 64-bit Linux; its first member, `modes`, is 0: only read (adjtimex(2))."""
TIME_ERROR: Final = 5
"""What adjtimex(2) returns when nothing keeps the clock right."""
EARLIEST: Final = 1_735_689_600
"""2025-01-01: a clock that shows less is wrong."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, what was seen, what to do."""

    level: str
    subject: str
    seen: str
    fix: str = ""

    def line(self) -> str:
        """`warn  clock  not synchronised: start an NTP client`."""
        mark = paint(f"{self.level:<5}", _COLOURS[self.level])
        return f"{mark} {self.subject:<9} {self.seen}" + (f"  ->  {self.fix}" if self.fix else "")


@click.command(short_help="Look at what an agent needs on this machine.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each finding.")
@click.pass_obj
def command(given: Globals, as_json: bool) -> int:
    """Look at the socket, the cache directory, disk, clock, limits and versions; one line each, with the fix.

    Exits with 1 when something is bad. Changes nothing and starts nothing.

    \b
    Examples:
      p2pstore doctor
      p2pstore --socket /run/p2pstore/agent.sock doctor
    """
    worst = 0
    for finding in findings(given):
        if as_json:
            print_json(
                {"level": finding.level, "subject": finding.subject, "seen": finding.seen, "fix": finding.fix}
            )
        else:
            click.echo(finding.line())
        worst = max(worst, finding.level == BAD)
    return int(worst)


def findings(given: Globals) -> Iterator[Finding]:
    """Everything that was looked at, in order."""
    from p2pstore.daemon.places import filled

    yield from versions()
    try:
        effective = load(given.config)
    except BadConfig as wrong:
        yield Finding(BAD, "config", str(wrong), "p2pstore config")
        effective = Effective(Config(), {})
    else:
        yield from configuration(effective)
    config = filled(effective.config)
    door = find_door(given)
    status = running(door)
    yield socket_finding(door, status)
    directory = str(status["cache_dir"]) if isinstance(status, Mapping) else config.cache.dir
    yield from cache_directory(directory, config, agent=isinstance(status, Mapping))
    if isinstance(status, Mapping):
        yield from store_findings(status)
    yield from proxies(os.environ)
    yield descriptors()
    yield clock(time.time(), adjtimex)


def versions() -> Iterator[Finding]:
    """Python and the packages that matter."""
    from importlib.metadata import PackageNotFoundError, version

    from p2pstore import __version__

    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Finding(
        OK, "versions", f"p2pstore {__version__}, Python {platform.python_version()}, {', '.join(found)}"
    )
    if missing:
        yield Finding(BAD, "versions", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")


def configuration(effective: Effective) -> Iterator[Finding]:
    """The file that was read, and variables that mean nothing."""
    changed = sum(source != "default" for source in effective.came_from.values())
    yield Finding(OK, "config", f"{effective.file or 'no file'}, {changed} settings are not defaults")
    for warning in effective.warnings:
        yield Finding(WARN, "config", warning, "unset it, or see p2pstore config")


def running(door: Door) -> Mapping[str, Any] | P2PStoreError | None:
    """What the agent says of itself, why it can't, or None when there is none."""
    from p2pstore.client.sync import Client

    if not answers(door.socket):
        return None
    try:
        with Client(door.socket) as client:
            status: Mapping[str, Any] = client.status()
            return status
    except P2PStoreError as error:
        return error


def socket_finding(door: Door, status: Mapping[str, Any] | P2PStoreError | None) -> Finding:
    """Whether an agent answers, and whether it is of our version."""
    from p2pstore import __version__

    if isinstance(status, P2PStoreError):
        return Finding(BAD, "socket", f"{door.socket}: {status.message}", status.hint or "restart the agent")
    if status is None:
        if os.path.exists(door.socket) and not os.access(door.socket, os.W_OK):
            return Finding(
                BAD, "socket", f"{door.socket} is not open to you", "start your own: p2pstore agent"
            )
        stale = "nobody listens on it" if os.path.exists(door.socket) else "not there"
        level = BAD if door.named else WARN
        return Finding(
            level, "socket", f"{door.socket}: {stale}", "p2pstore agent (get starts one by itself)"
        )
    version = status["version"]
    seen = f"{door.socket}: agent {version}, pid {status['pid']}, uid {status['uid']}"
    if version != __version__:
        return Finding(WARN, "socket", f"{seen}; this command is {__version__}", "restart the agent")
    return Finding(OK, "socket", seen)


def cache_directory(directory: str, config: Config, *, agent: bool) -> Iterator[Finding]:
    """File system, room, rights and lock of the cache directory."""
    from p2pstore.daemon.places import file_system

    there = _nearest(directory)
    kind, remote = file_system(directory)
    if remote and not config.cache.allow_network_fs:
        yield Finding(BAD, "cache", f"{directory} is on {kind}", "give a local directory: --cache-dir DIR")
    elif not agent and not os.access(there, os.W_OK | os.X_OK):
        yield Finding(BAD, "cache", f"{there} is not yours to write", "give another: --cache-dir DIR")
    else:
        missing = "" if there == directory else ", not made yet"
        yield Finding(OK, "cache", f"{directory} ({kind or 'unknown file system'}{missing})")
    yield room(there)
    holder = "" if agent else lock_holder(directory)
    if holder:
        seen = f"process {holder} owns {directory}, but does not answer on the socket above"
        yield Finding(
            WARN, "lock", seen, f"use its socket: p2pstore --socket PATH, or stop it: kill {holder}"
        )


def room(directory: str, statvfs: Callable[[str], os.statvfs_result] = os.statvfs) -> Finding:
    """Bytes and inodes left on the file system."""
    found = statvfs(directory)
    total = found.f_blocks * found.f_frsize
    left = found.f_bavail * found.f_frsize
    seen = f"{show_size(left)} of {show_size(total)} free"
    if found.f_files:
        seen += f", {found.f_favail} of {found.f_files} inodes free"
    if left < total * MIN_FREE_RATIO:
        return Finding(WARN, "disk", seen, "make room, or move the cache: --cache-dir DIR")
    if found.f_files and found.f_favail < found.f_files * MIN_FREE_RATIO:
        return Finding(WARN, "disk", seen, "remove small files, or move the cache: --cache-dir DIR")
    return Finding(OK, "disk", seen)


def lock_holder(directory: str, locks: str = "/proc/locks") -> str:
    """The process that holds the lock of a cache directory, or empty; looked up, so that no agent finds it taken by us."""
    try:
        found = os.stat(os.path.join(directory, "LOCK"))
        lines = Path(locks).read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    # proc(5): number, kind, mode, access, pid, MAJOR:MINOR:INODE in hexadecimal and decimal.
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    rows = [line.split() for line in lines]
    return next((row[4] for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5] == file), "")


def store_findings(status: Mapping[str, Any]) -> Iterator[Finding]:
    """What the agent says of its store."""
    usage = status["usage"]
    seen = f"{show_size(usage['used_bytes'])} of {show_size(usage['quota_bytes'])} used, {usage['entries']} entries"
    if usage["degraded"]:
        yield Finding(
            BAD, "store", f"{seen}; degraded: {usage['degraded']}", "see the disk, then restart the agent"
        )
    elif usage["rebuilding"]:
        yield Finding(WARN, "store", f"{seen}; the index is being rebuilt", "wait, it answers meanwhile")
    else:
        yield Finding(OK, "store", seen)


def proxies(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Proxy variables, which are not followed: an agent acts for many, and these are one user's."""
    found = [name for name in environ if name.lower() in PROXIES and environ[name]]
    if found:
        yield Finding(
            WARN,
            "proxy",
            f"{', '.join(sorted(found))} set, but agents ask origins directly",
            "reach the origin without",
        )


def descriptors() -> Finding:
    """How many files an agent started from here may open."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MIN_FILES:
        return Finding(
            WARN,
            "files",
            f"at most {hard} open files",
            f"ulimit -Hn {MIN_FILES}, or LimitNOFILE= of the unit",
        )
    return Finding(OK, "files", f"up to {hard} open files")


def clock(now: float, state: Callable[[], int]) -> Finding:
    """Whether the wall clock can be believed: freshness is told by it."""
    if now < EARLIEST:
        return Finding(
            BAD, "clock", f"it shows {time.strftime('%Y-%m-%d', time.gmtime(now))}", "set the clock"
        )
    if state() == TIME_ERROR:
        return Finding(
            WARN, "clock", "nothing keeps it right", "start an NTP client: freshness is told by it"
        )
    return Finding(OK, "clock", "synchronised")


def adjtimex() -> int:
    """The state of the kernel's clock; -1 when it can't be asked."""
    import ctypes

    try:
        return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(ADJTIMEX_BYTES)))
    except AttributeError:
        return -1


def _nearest(directory: str) -> str:
    """The directory, or the nearest one above it that is there."""
    path = Path(directory)
    return str(next((one for one in (path, *path.parents) if one.exists()), Path("/")))
