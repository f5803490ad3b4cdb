"""Rate limits: how long to wait so that a mean rate is kept. Pure; the caller sleeps."""

from __future__ import annotations


class TokenBucket:
    """Bytes may flow at `rate_bytes_per_s` on average and `burst_bytes` at once; a rate of 0 is no limit.

    Bytes are taken when they have arrived, so the bucket may go into debt: the wait pays it off. Debt is bounded by what
    callers take before they wait. `now` is monotonic seconds; a clock that goes back adds nothing and costs nothing.
    """

    def __init__(self, rate_bytes_per_s: float, burst_bytes: float, now: float) -> None:
        self.rate_bytes_per_s = max(rate_bytes_per_s, 0.0)
        self.burst_bytes = max(burst_bytes, 0.0)
        self._level_bytes = self.burst_bytes
        self._filled_at = now

    def take(self, size_bytes: int, now: float) -> float:
        """Take bytes and return for how many seconds to wait before taking more; 0.0 at once."""
        if self.rate_bytes_per_s == 0:
            return 0.0
        self._fill(now)
        self._level_bytes -= size_bytes
        return max(-self._level_bytes, 0.0) / self.rate_bytes_per_s

    def set_rate(self, rate_bytes_per_s: float, now: float) -> None:
        """Change the rate from now on; what was saved or owed stays, except that an unlimited bucket starts full."""
        if self.rate_bytes_per_s == 0:
            self._level_bytes = self.burst_bytes
            self._filled_at = now
        self._fill(now)
        self.rate_bytes_per_s = max(rate_bytes_per_s, 0.0)

    def _fill(self, now: float) -> None:
        passed_s = max(now - self._filled_at, 0.0)
        self._filled_at = now
        self._level_bytes = min(self._level_bytes + passed_s * self.rate_bytes_per_s, self.burst_bytes)
