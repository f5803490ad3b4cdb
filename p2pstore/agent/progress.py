"""How far a load is, how fast it goes, and when it will end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

RATE_WINDOW_S: Final = 0.5
"""A rate is measured over at least this long, then averaged with the one before."""


@dataclass(slots=True)
class Progress:
    """Bytes there, of how many if known; `now` is monotonic seconds."""

    total: int | None = None
    cached_bytes: int = 0
    """There when the load began: an earlier, interrupted load brought them."""
    received_bytes: int = 0
    """Brought by this load."""
    rate_bytes_per_s: float = 0.0
    _marked_at: float = field(default=0.0, repr=False)
    _marked_bytes: int = field(default=0, repr=False)

    def restart(self) -> None:
        """Forget everything: another version is loaded now."""
        self.total, self.cached_bytes, self.received_bytes = None, 0, 0
        self._marked_bytes = 0

    def event(self, source: str, now: float) -> dict[str, Any]:
        """The progress event: `bytes`, `total` or None, `rate` in bytes per second, `eta_s` or None, `source`."""
        self._measure(now)
        done = self.cached_bytes + self.received_bytes
        left = None if self.total is None else self.total - done
        eta_s = None if left is None or self.rate_bytes_per_s <= 0 else left / self.rate_bytes_per_s
        return {
            "event": "progress",
            "bytes": done,
            "total": self.total,
            "rate": self.rate_bytes_per_s,
            "eta_s": eta_s,
            "source": source,
        }

    def _measure(self, now: float) -> None:
        if not self._marked_at:
            self._marked_at, self._marked_bytes = now, self.received_bytes
            return
        passed = now - self._marked_at
        if passed >= RATE_WINDOW_S or (not self.rate_bytes_per_s and passed > 0):
            rate = (self.received_bytes - self._marked_bytes) / passed
            self.rate_bytes_per_s = rate if not self.rate_bytes_per_s else (self.rate_bytes_per_s + rate) / 2
            self._marked_at, self._marked_bytes = now, self.received_bytes
