"""Rates and times to go, on a clock that the test moves."""

from __future__ import annotations

import pytest

from p2pstore.agent.progress import Progress


def test_a_steady_load_tells_its_rate_and_its_end() -> None:
    progress = Progress(total=1000, cached_bytes=200)
    progress.event("origin", 10.0)
    progress.received_bytes = 100
    told = progress.event("origin", 11.0)
    assert told["bytes"] == 300
    assert told["rate"] == pytest.approx(100.0)
    assert told["eta_s"] == pytest.approx(7.0)


def test_without_a_length_there_is_no_end_in_sight() -> None:
    progress = Progress()
    progress.event("origin", 1.0)
    progress.received_bytes = 5
    told = progress.event("origin", 2.0)
    assert told["total"] is None
    assert told["eta_s"] is None


def test_a_rate_follows_a_change_but_not_at_once() -> None:
    progress = Progress(total=10_000)
    progress.event("origin", 1.0)
    progress.received_bytes = 100
    progress.event("origin", 2.0)
    progress.received_bytes = 400
    assert progress.event("origin", 3.0)["rate"] == pytest.approx(200.0)


def test_a_restart_forgets_the_old_version() -> None:
    progress = Progress(total=10, cached_bytes=5, received_bytes=5)
    progress.restart()
    assert progress.event("origin", 1.0)["bytes"] == 0
    assert progress.total is None
