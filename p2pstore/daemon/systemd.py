"""What a service manager and its service say to each other: readiness, status, watchdog.

The protocol is sd_notify(3); without a manager everything here does nothing. Sockets that it passes are the door's matter.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Tells the service manager how the service is; `address` is NOTIFY_SOCKET, empty when there is no manager."""

    def __init__(self, address: str = "") -> None:
        # A leading @ stands for the zero byte of an abstract name (unix(7)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._last_status = ""

    def ready(self, status: str) -> None:
        """The service answers now."""
        self._last_status = status
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`; sent when it changed."""
        if status != self._last_status:
            self._last_status = status
            self._send(f"STATUS={status}")

    def alive(self) -> None:
        """The watchdog's sign of life."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service goes down on purpose."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.connect(self._address)
                out.send(text.encode())
        except OSError as error:
            # The manager is told again at the next turn; serving matters more.
            log.warning("service manager not told error=%s", error)


def watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life, half of what the manager allows; None when it does not watch this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        allowed_us = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return allowed_us / 2e6 if allowed_us > 0 else None
