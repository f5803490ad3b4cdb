"""A wall clock that a test moves, and bugs that only then show."""

from __future__ import annotations

import mmap
import struct
import time


def offset(path: str) -> None:
    """`time.time` differs by the seconds in that file (one double)."""
    with open(path, "r+b") as file:
        seconds = mmap.mmap(file.fileno(), 8)
    real, real_ns = time.time, time.time_ns

    def now() -> float:
        return real() + float(struct.unpack("d", seconds[:8])[0])

    def now_ns() -> int:
        return real_ns() + int(struct.unpack("d", seconds[:8])[0] * 1e9)

    time.time, time.time_ns = now, now_ns


def timers_by_wall() -> None:
    """Deadlines and timers are reckoned by the wall clock."""
    time.monotonic = time.time


def negative_ages() -> None:
    """An age is whatever the clocks say."""
    from p2pstore.cache import freshness

    def age_s(stored: freshness.Stored, now: float) -> float:
        return now - stored.response_at

    freshness.age_s = age_s
