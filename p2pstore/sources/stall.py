"""Whether a transfer is below the minimum rate, by comparing byte counters now and then; no timer per chunk. No IO."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Stall:
    """A window that begins anew whenever enough bytes for a whole window have come.

    So a transfer that stops is noticed `timeout_s` after its last good window, and one that drips below the rate is too. Time
    during which the receiver itself paused does not count.
    """

    timeout_s: float
    min_rate_bytes_per_s: int
    _since: float = 0.0
    _bytes: int = 0

    @property
    def message(self) -> str:
        """What to say when it stalled."""
        return f"less than {self.min_rate_bytes_per_s} bytes/s for {self.timeout_s:g} s"

    def start(self, now: float, received: int) -> None:
        """Begin a window; `received` is any counter that only grows."""
        self._since, self._bytes = now, received

    def stalled(self, now: float, received: int, paused: bool) -> bool:
        """Look at the counter; True once a whole window brought too little."""
        enough = max(1, int(self.min_rate_bytes_per_s * self.timeout_s))
        if paused or received - self._bytes >= enough:
            self.start(now, received)
            return False
        return now - self._since >= self.timeout_s


def tick_s(*timeouts_s: float) -> float:
    """How often to look, so that no timeout is overdrawn by more than a quarter of itself."""
    return min(0.25, *(timeout / 4 for timeout in timeouts_s))
