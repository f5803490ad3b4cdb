"""At most so many in a second: the caps on what a node sends and takes. Pure; the caller drops or waits."""

from __future__ import annotations


class Pace:
    """Admits at most `per_s` in any second: half of them at once, half spread. A clock that goes back admits nothing more."""

    __slots__ = ("_at", "_left", "per_s")

    def __init__(self, per_s: int, now: float) -> None:
        self.per_s = per_s
        self._left = per_s / 2
        self._at = now

    def admit(self, now: float, cost: int = 1) -> bool:
        """Whether `cost` more are within the cap; they count when they are. What would never be is taken for half the cap."""
        passed_s = max(now - self._at, 0.0)
        self._at = now
        self._left = min(self._left + passed_s * self.per_s / 2, self.per_s / 2)
        wanted = min(float(cost), self.per_s / 2)
        if self._left < wanted:
            return False
        self._left -= wanted
        return True
