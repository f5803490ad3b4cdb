"""Planted bugs: a cache directory is taken from whoever owns it, in whatever format it is."""

from __future__ import annotations

import fcntl


def no_lock() -> None:
    """Every lock is granted."""
    fcntl.flock = lambda fd, operation: None


def any_format() -> None:
    """The format of the future is taken for ours."""
    from p2pstore.storage import layout

    layout.FORMAT_VERSION = 2  # type: ignore[misc]
