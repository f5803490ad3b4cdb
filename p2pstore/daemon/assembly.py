"""One agent from its parts: made in order, told to the service manager, run until it is told to stop, taken apart in reverse.

Stopping is for manners only: an agent that is killed loses nothing that it acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from p2pstore.agent.agent import Agent
from p2pstore.api.jobs.listening import inherited, listen
from p2pstore.api.jobs.server import JobServer
from p2pstore.config import GIB, Config
from p2pstore.daemon import process
from p2pstore.daemon.places import filled
from p2pstore.daemon.systemd import Notifier, watchdog_interval_s
from p2pstore.sources.origin import OriginClient
from p2pstore.storage.store import Store

STATUS_INTERVAL_S: Final = 10.0
"""Time between two looks at what the service manager is told."""
IDLE_CHECKS: Final = 10
"""The idle limit is checked this many times within itself, and at least once a second."""
STOP_TIMEOUT_S: Final = 10.0
"""Time for closing in order; after it the process ends as if killed, which recovery is made for."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Running:
    """What an agent that answers tells whoever started it."""

    socket: str
    cache_dir: str
    quota_bytes: int


async def run_agent(config: Config, *, ready: Callable[[Running], None] | None = None) -> None:
    """Run one agent until SIGTERM, SIGINT, its idle limit or its longest runtime.

    `ready` is called once requests are answered. Raises CacheLocked, CacheUnusable, BadConfig and OSError when it can't start.
    """
    config = filled(config)
    notifier = Notifier(os.environ.pop("NOTIFY_SOCKET", ""))
    async with AsyncExitStack() as parts:
        agent, server, store, socket = await _assemble(config, parts)
        lifetime = _Lifetime(config, notifier, agent, server, store)
        lifetime.watch_signals()
        quota = (await store.usage()).quota_bytes
        process.settle_memory()
        log.info(
            "ready socket=%s cache=%s quota_bytes=%s pid=%s",
            socket,
            config.cache.dir,
            quota,
            os.getpid(),
        )
        notifier.ready(await lifetime.describe())
        if ready is not None:
            ready(Running(socket, config.cache.dir, quota))
        why = await lifetime.run()
        log.info("stopping why=%s", why)
        notifier.stopping()
        closing = parts.pop_all()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await closing.aclose()
        except TimeoutError:
            log.error("not closed in time, ending seconds=%s", STOP_TIMEOUT_S)
            os._exit(1)


async def _assemble(config: Config, parts: AsyncExitStack) -> tuple[Agent, JobServer, Store, str]:
    """Make the parts from the ground up, and say where the socket is; `parts` closes them in reverse order."""
    listener = inherited(os.environ)
    if listener is not None:
        parts.callback(listener.close)
    store = Store.open(config.cache, config.cache.dir, boot_id=process.boot_id())
    parts.push_async_callback(store.aclose)
    await store.start()
    origin = OriginClient(config.origin)
    parts.push_async_callback(origin.aclose)
    agent = Agent(config, store, origin, rng=random.Random())
    parts.push_async_callback(agent.aclose)
    await agent.start()
    if listener is None:
        # Root's agent serves the node; anybody else's serves them alone.
        listener = listen(config.socket, everybody=os.geteuid() == 0)
        parts.callback(listener.close)
    server = JobServer(agent, config.jobs, listener)
    parts.push_async_callback(server.aclose)
    await server.start()
    return agent, server, store, listener.path


class _Lifetime:
    """When to stop, and what to say meanwhile."""

    def __init__(
        self, config: Config, notifier: Notifier, agent: Agent, server: JobServer, store: Store
    ) -> None:
        self._config = config
        self._notifier = notifier
        self._agent = agent
        self._server = server
        self._store = store
        self._stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def watch_signals(self) -> None:
        """SIGTERM and SIGINT stop in order; the second one at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: signal.Signals) -> None:
        if self._stop.done():
            os._exit(128 + number)
        self._end(number.name)

    def _end(self, why: str) -> None:
        if not self._stop.done():
            self._stop.set_result(why)

    async def run(self) -> str:
        """Until something ends it; why."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._tell_status())]
            alive_s = watchdog_interval_s(os.environ)
            if alive_s is not None:
                tasks.append(group.create_task(self._tell_alive(alive_s)))
            if self._config.idle_exit_s > 0:
                tasks.append(group.create_task(self._end_when_idle(self._config.idle_exit_s)))
            if self._config.max_runtime_s > 0:
                tasks.append(group.create_task(self._end_after(self._config.max_runtime_s)))
            why = await self._stop
            for task in tasks:
                task.cancel()
        return why

    async def _tell_alive(self, interval_s: float) -> None:
        """From the loop, so that a loop that is stuck falls silent and the manager restarts the service."""
        while True:
            self._notifier.alive()
            await asyncio.sleep(interval_s)

    async def _tell_status(self) -> None:
        while True:
            await asyncio.sleep(STATUS_INTERVAL_S)
            self._notifier.status(await self.describe())

    async def describe(self) -> str:
        """One line for `systemctl status`."""
        usage = await self._store.usage()
        degraded = f", degraded: {usage.degraded}" if usage.degraded else ""
        return (
            f"{usage.used_bytes / GIB:.1f} of {usage.quota_bytes / GIB:.1f} GiB used, {usage.entries} entries, "
            f"{self._server.connections} connections{degraded}"
        )

    async def _end_when_idle(self, limit_s: float) -> None:
        while True:
            await asyncio.sleep(min(1.0, limit_s / IDLE_CHECKS))
            loads, doors = self._agent.idle_since(), self._server.idle_since
            if loads is not None and doors is not None and time.monotonic() - max(loads, doors) >= limit_s:
                self._end("idle")

    async def _end_after(self, limit_s: float) -> None:
        await asyncio.sleep(limit_s)
        self._end("max_runtime")
