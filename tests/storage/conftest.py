"""No test of storage waits for a disk: what survives a power cut is shown on simulated disks here, and on real ones by the fault tests."""

from __future__ import annotations

import os

import pytest

from p2pstore.storage import files


@pytest.fixture(autouse=True)
def no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush of a busy machine's disk may take a minute."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr(files._libc, "syncfs", lambda fd: 0)
