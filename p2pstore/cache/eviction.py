"""How much must go, and which entries go for it: the least recently used first, from a high mark down to a low one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from p2pstore.types import Key, Version

INODES_PER_ENTRY: Final = 2
"""An entry is a data file and a record."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry that may have to go."""

    key: Key
    ver: Version
    disk_bytes: int
    """Blocks that removing it gives back, in bytes."""
    last_access: int
    """The agent's logical access counter, not a time: a clock that jumps evicts nothing."""
    protected: bool
    """In use, or a stored result: never a victim."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used and what is left; totals of the file system are as statvfs gives them."""

    used_bytes: int
    quota_bytes: int
    fs_free_bytes: int
    fs_free_inodes: int
    fs_total_inodes: int
    """0 on file systems that make inodes as they go; then they are no limit."""


@dataclass(frozen=True, slots=True)
class Marks:
    """When eviction begins and where it ends; the ratios are parts of the quota, except the one of inodes."""

    high_ratio: float
    low_ratio: float
    free_bytes: int
    free_inodes_ratio: float


@dataclass(frozen=True, slots=True)
class Goal:
    """What has to be given back; never both zero."""

    free_bytes: int
    free_inodes: int


def goal(usage: Usage, marks: Marks, needed_bytes: int = 0, needed_inodes: int = 0) -> Goal | None:
    """What has to go so that the needed bytes and inodes fit and every mark holds; None when they do as it is.

    Above the high mark of the quota everything down to the low mark goes, so that eviction comes seldom and in one go. Free space
    and inodes of the file system are others' too: there only what is missing goes.
    """
    after_bytes = usage.used_bytes + needed_bytes
    over_quota = after_bytes > usage.quota_bytes * marks.high_ratio
    quota_bytes = after_bytes - int(usage.quota_bytes * marks.low_ratio) if over_quota else 0
    space_bytes = marks.free_bytes + needed_bytes - usage.fs_free_bytes
    inodes = 0
    if usage.fs_total_inodes > 0:
        reserve = int(usage.fs_total_inodes * marks.free_inodes_ratio)
        inodes = reserve + needed_inodes - usage.fs_free_inodes
    found = Goal(max(quota_bytes, space_bytes, 0), max(inodes, 0))
    return found if found.free_bytes or found.free_inodes else None


def plan(candidates: Iterable[Candidate], goal: Goal) -> Iterator[Candidate]:
    """The victims in order until the goal is met; candidates come with the oldest access first and are taken one by one.

    Protected entries and those that would give back nothing that is still missing are passed over. When the candidates end first,
    all that could go went.
    """
    missing_bytes, missing_inodes = goal.free_bytes, goal.free_inodes
    for candidate in candidates:
        if missing_bytes <= 0 and missing_inodes <= 0:
            return
        if candidate.protected or (missing_inodes <= 0 and candidate.disk_bytes <= 0):
            continue
        yield candidate
        missing_bytes -= candidate.disk_bytes
        missing_inodes -= INODES_PER_ENTRY
