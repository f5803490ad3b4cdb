"""Planted bugs at the job socket: what comes is believed, kept, or waited for."""

from __future__ import annotations

import time
from typing import Any

WAIT_S = 0.0004


def no_checks() -> None:
    """Arguments are taken as they come."""
    from p2pstore.api.jobs import connection, verbs

    def checked(verb: str, args: dict[str, Any], fd: int) -> None:
        return

    for module in (connection, verbs):
        if hasattr(module, "checked"):
            module.checked = checked


def keeps_descriptors() -> None:
    """Descriptors that nobody announced stay open."""
    from p2pstore.api.jobs.connection import Connection

    def close_received(self: Connection, keep: int = 0) -> None:
        self._received.clear()

    Connection._close_received = close_received  # type: ignore[method-assign]


def waits_for_the_rest() -> None:
    """Whoever sends half a frame is waited for, and everybody else with it."""
    from p2pstore.wire.frames import Decoder

    real = Decoder.feed

    def feed(self: Decoder, *args: Any, **more: Any) -> Any:
        payloads = real(self, *args, **more)
        if not payloads:
            time.sleep(WAIT_S)
        return payloads

    Decoder.feed = feed  # type: ignore[method-assign]
