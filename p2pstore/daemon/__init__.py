"""The composition root: the one place that knows all floors below and puts them together; `run_agent` runs one agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from p2pstore.config import Config

if TYPE_CHECKING:
    from p2pstore.daemon.assembly import Running


async def run_agent(config: Config, *, ready: Callable[[Running], None] | None = None) -> None:
    """Run one agent until it is told to stop; see `p2pstore.daemon.assembly.run_agent`."""
    from p2pstore.daemon import assembly

    await assembly.run_agent(config, ready=ready)
