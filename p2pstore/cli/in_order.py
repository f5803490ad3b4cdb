"""Lines told in the order of the command line, whatever the order in which they become known."""

from __future__ import annotations

from collections.abc import Callable


class InOrder:
    """Tells each numbered line as soon as all before it are known; holds back at most one for each that is asked for."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._next = 0
        self._known: dict[int, str | None] = {}

    def know(self, number: int, line: str | None) -> None:
        """Line `number` (from 0, each once) is known; None: there is nothing to tell."""
        self._known[number] = line
        while self._next in self._known:
            ready = self._known.pop(self._next)
            self._next += 1
            if ready is not None:
                self._tell(ready)
