"""How often each fault is tried: one table, so that a soak multiplies all of it.

`P2PSTORE_TRIALS_FACTOR=20 pytest tests/faults` runs everything twenty times as often (`SOAK=1`: forty times); times of
load grow with it too.
"""

from __future__ import annotations

import os
from typing import Final

FACTOR: Final = float(os.environ.get("P2PSTORE_TRIALS_FACTOR") or ("40" if os.environ.get("SOAK") else "1"))

_BASE: Final = {
    "power cut, ext4": 500,
    "power cut, xfs": 200,
    "power cut, planted": 60,
    "torn blocks": 200,
    "torn blocks, planted": 60,
    "kill": 150,
    "kill, planted": 40,
    "failing call": 300,
    "disk full": 20,
    "disk broken": 10,
    "bit rot": 500,
    "record rot": 100,
    "index": 100,
    "processes": 5,
    "clock": 20,
    "replaced at the origin": 200,
    "replaced, planted": 60,
    "kills of one download": 10,
    "planted symlinks": 200,
    "hostile origins": 3,
    "hostile frames": 20_000,
    "hostile connections": 2_000,
    "connections": 1,
    "growth": 60,
}
"""Trials of one run; the last line is seconds."""

_FIXED: Final = {"connections", "kills of one download"}
"""What a soak does not multiply: the number is part of the promise that is tested."""


def trials(name: str) -> int:
    """How many times, at least once."""
    return _BASE[name] if name in _FIXED else max(1, round(_BASE[name] * FACTOR))


def budget_s(seconds: float) -> float:
    """A time limit for a test that takes `seconds` at factor 1 on a quiet machine with two cores."""
    return max(60.0, 4 * seconds * max(1.0, FACTOR))
