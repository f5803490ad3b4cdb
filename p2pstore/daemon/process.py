"""What an agent asks of the kernel for itself: no core dumps, no tracing by others, as many descriptors as it may have."""

from __future__ import annotations

import ctypes
import gc
import logging
import resource
from pathlib import Path
from typing import Final

PR_SET_DUMPABLE: Final = 4
"""prctl(2): with 0 nobody of the same uid may attach or read the process's memory, where credentials pass through."""
BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"

log = logging.getLogger(__name__)


def guard_memory() -> None:
    """No core file, no ptrace by processes of the same uid; for the whole life of the process."""
    _limit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warning("process stays dumpable errno=%s", ctypes.get_errno())


def raise_descriptor_limit() -> int:
    """As many descriptors as the hard limit allows; the number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    _limit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _limit(which: int, wanted: tuple[int, int]) -> None:
    """Set a limit that is not so already; a service manager may have set it and taken the system call away."""
    if resource.getrlimit(which) == wanted:
        return
    try:
        resource.setrlimit(which, wanted)
    except (OSError, ValueError) as error:
        log.warning("limit stays as it is which=%s error=%s", which, error)


def settle_memory() -> None:
    """Take what start-up made out of the garbage collector's sight: it lives as long as the process does."""
    gc.collect()
    gc.freeze()


def boot_id(path: str = BOOT_ID) -> str:
    """The name of this boot: what was written during another one may have been lost with its power."""
    return Path(path).read_text(encoding="ascii").strip()
