"""Planted bug: the agent reads what it hands out."""

from __future__ import annotations

import os
from typing import Any


def reads_what_it_hands_out() -> None:
    """Each file that is opened for a caller is read first."""
    from p2pstore.storage.store import Store

    real = Store.open_object

    def open_object(self: Store, *args: Any) -> int:
        fd = real(self, *args)
        os.pread(fd, 1 << 20, 0)
        return fd

    Store.open_object = open_object  # type: ignore[method-assign, assignment]
