"""A rebuild that takes its time, and planted bugs in what replaces a lost index."""

from __future__ import annotations

import time
from collections.abc import Iterator

STEPS = 12
STEP_S = 0.01


def slow_rebuild() -> None:
    """No bug: the rebuild begins late, so that lookups come before it."""
    from p2pstore.storage import reconcile
    from p2pstore.storage.disk import Disk

    real = reconcile.scan

    def scan(disk: Disk) -> Iterator[int]:
        for _ in range(STEPS):
            time.sleep(STEP_S)
            yield 0
        yield from real(disk)

    reconcile.scan = scan


def no_rebuild() -> None:
    """A new index stays empty."""
    from p2pstore.storage import reconcile
    from p2pstore.storage.disk import Disk

    def scan(disk: Disk) -> Iterator[int]:
        disk.rebuilding = False
        return iter(())

    reconcile.scan = scan


def no_direct_lookup() -> None:
    """What is not in the index is not there."""
    from p2pstore.storage import finding

    finding.by_path = lambda disk, key, ver: None
