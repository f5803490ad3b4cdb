"""Descriptors opened ahead: while one job takes its descriptor of a much wanted file, the next one's is opened.

Each is handed out once, because jobs that shared one would share its read position. Few are kept, none for long, and none of a
file that went: an open descriptor holds its blocks.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from p2pstore.errors import P2PStoreError
from p2pstore.types import Entry, Key

MAX_SPARES: Final = 16
"""Descriptors open ahead at once."""


class Spares:
    """At most one descriptor an entry; `open_object` makes one, owned by whoever gets it."""

    def __init__(self, open_object: Callable[[Entry], int]) -> None:
        self._open_object = open_object
        self._spares: OrderedDict[Key, tuple[Entry, int]] = OrderedDict()
        self._last: Entry | None = None
        self._coming: Entry | None = None
        self._is_idle = True

    def __len__(self) -> int:
        return len(self._spares)

    def take(self, entry: Entry) -> int:
        """A descriptor of this very entry, the caller's; -1 when there is none. What is taken twice running is opened ahead."""
        found = self._spares.pop(entry.key, None)
        if entry is not self._last:
            self._last = entry
        elif self._coming is None:
            self._coming = entry
            asyncio.get_running_loop().call_soon(self._open)
        if found is None:
            return -1
        if found[0] is entry:
            return found[1]
        os.close(found[1])
        return -1

    def forget(self, key: Key) -> None:
        """The file of this key went."""
        found = self._spares.pop(key, None)
        if found is not None:
            os.close(found[1])

    def tidy(self) -> None:
        """Close all when nothing was opened ahead since the last call; called now and then."""
        if self._is_idle:
            self.close()
        self._is_idle = True

    def close(self) -> None:
        """Close all, and open none ahead until something is taken twice again."""
        self._last = self._coming = None
        while self._spares:
            self.forget(next(iter(self._spares)))

    def _open(self) -> None:
        entry, self._coming = self._coming, None
        if entry is None or entry.key in self._spares:
            return
        try:
            self._spares[entry.key] = entry, self._open_object(entry)
        except P2PStoreError:
            return  # whoever asks next hears why
        self._is_idle = False
        if len(self._spares) > MAX_SPARES:
            self.forget(next(iter(self._spares)))
