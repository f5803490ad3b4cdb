"""What must be done now and then: make room before it is needed, and tell of what went."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from p2pstore.errors import P2PStoreError
from p2pstore.types import Entry

if TYPE_CHECKING:
    from p2pstore.agent.agent import Agent

logger = logging.getLogger(__name__)

ROUND_S: Final = 1.0
"""Between two looks at the marks; publishing makes its own room when this is too slow."""


class Janitor:
    """Evicts in the background between the high and the low mark, and tells subscribers how loads go."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin the rounds."""
        self._agent.store.on_event = self._told
        self._task = asyncio.create_task(self._rounds(), name="janitor")

    async def aclose(self) -> None:
        """End the rounds."""
        self._agent.store.on_event = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._agent.hits.spares.close()

    async def _rounds(self) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            self._tell_progress()
            self._agent.hits.spares.tidy()
            try:
                await self._agent.store.evict()
            except P2PStoreError as error:
                logger.warning("eviction failed error=%s", error)

    def _tell_progress(self) -> None:
        bus, now = self._agent.bus, self._agent.clock()
        if not bus.wanted("progress"):
            return
        for load in self._agent.loads:
            told = load.progress.event("origin", now) | {"state": load.state}
            del told["event"]
            request = load.request
            bus.emit("progress", url=request.url.text, key=request.key, scope=request.scope, **told)

    def _told(self, kind: str, entry: Entry) -> None:
        self._agent.hits.spares.forget(entry.key)
        stats = self._agent.stats
        stats.evicted += kind == "evicted"
        stats.quarantined += kind == "quarantined"
        self._agent.bus.emit(
            kind, url=entry.url, key=entry.key, scope=entry.scope, size=entry.size_bytes, ver=entry.ver
        )
