"""How fast a node uploads, measured while it is busy. Pure."""

from __future__ import annotations

from typing import Final

WINDOW_S: Final = 0.05
"""Bytes are counted over windows of at least this length."""
RISE: Final = 0.5
FALL: Final = 0.2
"""Weights of a window that was faster, and of one that was slower, than the mean."""


class UploadRate:
    """A mean rate that forgets. It falls only by windows in which all slots were in use: a slow peer alone says nothing.

    `cap` bounds it, in bytes per second; 0.0 is no bound. It starts unknown: a first guess would be right for one network.
    """

    def __init__(self, cap: float = 0.0) -> None:
        self.cap = cap
        self._mean = 0.0
        self._since = 0.0
        self._bytes = 0
        self._full = True

    @property
    def bytes_per_s(self) -> float:
        """The rate; 0.0 while unknown."""
        return min(self._mean, self.cap) if self.cap and self._mean else self._mean

    def begin(self, now: float) -> None:
        """An upload begins after a time without any: what was counted of the last window is forgotten."""
        self._since, self._bytes, self._full = now, 0, True

    def sent(self, size_bytes: int, now: float, *, full: bool) -> None:
        """Bytes left; `full` says whether all slots were in use."""
        self._bytes += size_bytes
        self._full = self._full and full
        took_s = now - self._since
        if took_s < WINDOW_S:
            return
        rate = self._bytes / took_s
        if not self._mean:
            self._mean = rate
        elif rate > self._mean or self._full:
            self._mean += (RISE if rate > self._mean else FALL) * (rate - self._mean)
        self.begin(now)
