"""Where an agent keeps its files when nothing was said: host-local, and of the one who runs it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from p2pstore.client.paths import own_socket
from p2pstore.config import Config
from p2pstore.storage import space

SYSTEM_CACHE: Final = "/var/cache/p2pstore"
SYSTEM_STATE: Final = "/var/lib/p2pstore"
MOUNTS: Final = "/proc/self/mountinfo"


def filled(config: Config, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration with its socket and its cache directory written out, absolute."""
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
    _, remote = file_system(base, mounts)
    if not remote:
        return os.path.join(base, "p2pstore")
    return os.path.join(environ.get("TMPDIR") or tempfile.gettempdir(), f"p2pstore-{os.geteuid()}")


def state_dir(environ: Mapping[str, str] = os.environ) -> str:
    """Where logs of agents lie that nobody watches: `$XDG_STATE_HOME/p2pstore`, for root /var/lib/p2pstore."""
    base = environ.get("XDG_STATE_HOME")
    if not base and os.geteuid() == 0:
        return SYSTEM_STATE
    return os.path.join(base or os.path.join(home(environ), ".local", "state"), "p2pstore")


def home(environ: Mapping[str, str] = os.environ) -> str:
    """The home directory: HOME, else what the user database says."""
    return environ.get("HOME") or str(Path.home())


def file_system(directory: str, mounts: str = MOUNTS) -> tuple[str, bool]:
    """The type of the file system that holds a directory (which need not exist yet), and whether it is another machine's.

    The type is empty when it can't be told.
    """
    try:
        text = Path(mounts).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return "", False
    kind = space.file_system(directory, text)
    return kind, kind in space.NETWORK_FILE_SYSTEMS or kind.startswith("fuse.")
