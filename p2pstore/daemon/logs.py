"""Log lines on stderr: one line an event, `key=value` pairs, priorities for a journal that reads them."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Final, TextIO

PRIORITIES: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""Log levels as the priorities of syslog, which a journal takes from a `<N>` before the line (sd-daemon(3))."""


class LineFormat(logging.Formatter):
    """`2026-01-31T12:00:00.123Z info agent.loads load ended url=...`; a trace follows on lines of its own, indented."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """The record as text without a newline at its end."""
        name = record.name.removeprefix("p2pstore.")
        message = record.getMessage().replace("\n", "\\n")
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            message += "\n  " + trace.replace("\n", "\n  ")
        if self._journal:
            priority = PRIORITIES.get(record.levelno, 6)
            return "\n".join(f"<{priority}>{line}" for line in f"{name} {message}".split("\n"))
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z {record.levelname.lower()} {name} {message}"


def goes_to_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether this stream is the journal's: JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def log_to_stderr(level: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send what the package and asyncio log to stderr from now on; `level` is a name of the configuration."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormat(journal=goes_to_journal(sys.stderr, environ)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("p2pstore").setLevel(level.upper())
    logging.captureWarnings(True)
