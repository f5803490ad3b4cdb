"""Where an agent keeps its files when nothing was said: host-local, and of the one who runs it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from p2pstore.config import Config

SYSTEM_CACHE: Final = "/var/cache/p2pstore"
SYSTEM_STATE: Final = "/var/lib/p2pstore"
NETWORK_FILE_SYSTEMS: Final = frozenset(
    "9p afs beegfs ceph cifs coda fuse.cvmfs fuse.glusterfs fuse.juicefs fuse.sshfs fuse.s3fs glusterfs gpfs lustre "
    "ncpfs nfs nfs4 orangefs panfs pvfs2 smb3 smbfs virtiofs vboxsf wekafs".split()
)
"""File systems that other hosts write too, or whose locks and renames another host must agree to (proc(5) mounts names)."""
MOUNTS: Final = "/proc/self/mounts"
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def filled(config: Config, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration with its socket and its cache directory written out, absolute."""
    from p2pstore.client.paths import own_socket

    socket = os.path.abspath(config.socket or own_socket())
    directory = os.path.abspath(config.cache.dir or default_cache_dir(environ))
    return replace(config, socket=socket, cache=replace(config.cache, dir=directory))


def default_cache_dir(environ: Mapping[str, str] = os.environ, mounts: str = MOUNTS) -> str:
    """For root /var/cache/p2pstore, else `$XDG_CACHE_HOME/p2pstore`, or below the temporary directory if that is remote.

    `CACHE_DIRECTORY` of systemd comes first. A home directory shared by many hosts would give all their agents one cache.
    """
    given = environ.get("CACHE_DIRECTORY", "").split(":")[0]
    if given:
        return given
    if os.geteuid() == 0:
        return SYSTEM_CACHE
    base = environ.get("XDG_CACHE_HOME") or os.path.join(home(environ), ".cache")
    if file_system(base, mounts) not in NETWORK_FILE_SYSTEMS:
        return os.path.join(base, "p2pstore")
    return os.path.join(environ.get("TMPDIR") or tempfile.gettempdir(), f"p2pstore-{os.geteuid()}")


def state_dir(environ: Mapping[str, str] = os.environ) -> str:
    """Where logs of agents lie that nobody watches: `$XDG_STATE_HOME/p2pstore`, for root /var/lib/p2pstore."""
    if os.geteuid() == 0:
        return SYSTEM_STATE
    return os.path.join(
        environ.get("XDG_STATE_HOME") or os.path.join(home(environ), ".local", "state"), "p2pstore"
    )


def home(environ: Mapping[str, str] = os.environ) -> str:
    """The home directory: HOME, else what the user database says."""
    return environ.get("HOME") or str(Path.home())


def file_system(path: str, mounts: str = MOUNTS) -> str:
    """The type of the file system that holds `path` (which need not exist yet), or empty when it can't be told."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    return _mounted_at(os.path.realpath(path), lines)


def _mounted_at(path: str, lines: Iterable[str]) -> str:
    best, kind = "", ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # Spaces and backslashes in a mount point are written in octal (proc(5)).
        point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[1])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # A later mount on the same point hides the earlier one.
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind
