"""Planted bug: what can't be cached can't be had."""

from __future__ import annotations

from typing import Any


def no_streaming() -> None:
    """Requests that don't fit into the cache fail."""
    from p2pstore.agent.passing import Passing
    from p2pstore.errors import P2PStoreError

    async def through(self: Passing, request: Any, why: P2PStoreError, *rest: Any) -> Any:
        raise why

    Passing.through = through  # type: ignore[method-assign, assignment]
