"""How many leases one origin carries at once: more while that brings more, fewer when it complains. Pure."""

from __future__ import annotations

from typing import Final

START_LEASES: Final = 16
MAX_LEASES: Final = 64
STEP_LEASES: Final = 8
GAIN: Final = 1.1
"""A step is kept when goodput grew by this factor."""
PERIOD_S: Final = 1.0
"""Goodput is measured for so long, all of it with every lease in use."""
HOLD_PERIODS: Final = 8
"""After a step back, or a complaint, no step forward for so many periods."""
MAX_PAUSE_S: Final = 120.0
"""A longer Retry-After is cut to this: nobody learns otherwise that the origin is back."""


class Window:
    """The number of leases and the pause that the origin asked for."""

    def __init__(self) -> None:
        self.leases = START_LEASES
        self._raised = False
        self._hold = 0
        self._rate_before = 0.0
        self._since: float | None = None
        self._bytes = 0
        self._paused_until = float("-inf")

    def paused(self, now: float) -> bool:
        """Whether the origin asked not to be asked yet."""
        return now < self._paused_until

    def brought(self, size_bytes: int, full: bool, now: float) -> None:
        """Bytes came in; `full` says whether all leases are in use, without which more of them would change nothing."""
        if not full:
            self._since = None
            return
        if self._since is None:
            self._since, self._bytes = now, 0
            return
        self._bytes += size_bytes
        passed_s = now - self._since
        if passed_s >= PERIOD_S:
            self._step(self._bytes / passed_s)
            self._since, self._bytes = now, 0

    def complained(self, retry_after_s: float, now: float) -> None:
        """The origin was too busy or did not answer in time: half as many, and none before it wants any."""
        if not self.paused(now):  # those of one burst count once
            self.leases = max(self.leases // 2, 1)
        self._paused_until = max(self._paused_until, now + min(max(retry_after_s, PERIOD_S), MAX_PAUSE_S))
        self._raised, self._hold, self._since = False, HOLD_PERIODS, None

    def _step(self, rate: float) -> None:
        if self._raised and rate < self._rate_before * GAIN:
            self.leases = max(self.leases - STEP_LEASES, 1)
            self._raised, self._hold = False, HOLD_PERIODS
        elif self._hold:
            self._hold -= 1
        else:
            self._raised = self.leases < MAX_LEASES
            self.leases = min(self.leases + STEP_LEASES, MAX_LEASES)
        self._rate_before = rate
