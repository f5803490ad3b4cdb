"""Planted bug: there is always room."""

from __future__ import annotations


def no_eviction() -> None:
    """No usage calls for eviction."""
    from p2pstore.cache import eviction

    eviction.goal = lambda *args, **more: None
