"""Planted bugs: something is kept with every request."""

from __future__ import annotations

import os
from typing import Any

_kept: list[Any] = []


def leaks_descriptors() -> None:
    """One in ten files that are opened for a caller stays open here."""
    from p2pstore.storage.store import Store

    real = Store.open_object

    def open_object(self: Store, *args: Any) -> int:
        fd = real(self, *args)
        _kept.append(None)
        if len(_kept) % 10 == 0:
            os.dup(fd)
        return fd

    Store.open_object = open_object  # type: ignore[method-assign]


def leaks_memory() -> None:
    """64 KiB stay with every access."""
    from p2pstore.storage.store import Store

    real = Store.touch

    def touch(self: Store, *args: Any) -> None:
        _kept.append(bytearray(65536))
        real(self, *args)

    Store.touch = touch  # type: ignore[method-assign]
