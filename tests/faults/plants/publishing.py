"""Planted bugs: told before it is done, and nothing cleaned up afterwards."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

DELAY_S: Final = 0.05
_under_way: set[asyncio.Task[Any]] = set()


def acknowledge_early() -> None:
    """A result is acknowledged, and stored a little later."""
    from p2pstore.storage.store import Store
    from p2pstore.types import Draft, Entry, Root

    real = Store.import_put

    async def import_put(self: Store, draft: Draft, source_fd: int, *, replace: bool) -> Entry:
        kept = os.dup(source_fd)

        async def later() -> None:
            await asyncio.sleep(DELAY_S)
            try:
                await real(self, draft, kept, replace=replace)
            finally:
                os.close(kept)

        task = asyncio.create_task(later())
        _under_way.add(task)
        task.add_done_callback(_under_way.discard)
        return draft.entry(Root("0" * 64), os.fstat(source_fd).st_size, 1 << 18)

    Store.import_put = import_put  # type: ignore[method-assign]


def no_clean_up() -> None:
    """What a killed agent left in the middle of something stays."""
    from p2pstore.storage import leftovers

    leftovers.empty_folder = lambda files, path: None
