"""sd_notify, against a real datagram socket in place of the manager."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pstore.daemon.systemd import Notifier, watchdog_interval_s


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        if request.param == "path":
            name = str(tmp_path / "notify")
            heard.bind(name)
        else:
            heard.bind("")
            name = "@" + heard.getsockname()[1:].decode()
        heard.settimeout(5)
        yield name, heard


def test_the_manager_hears_of_the_life_of_the_service(manager: tuple[str, socket.socket]) -> None:
    name, heard = manager
    notifier = Notifier(name)
    notifier.ready("3 entries")
    assert heard.recv(4096).decode().split("\n") == ["READY=1", f"MAINPID={os.getpid()}", "STATUS=3 entries"]
    notifier.status("3 entries")
    notifier.status("4 entries")
    assert heard.recv(4096) == b"STATUS=4 entries"
    notifier.alive()
    assert heard.recv(4096) == b"WATCHDOG=1"
    notifier.stopping()
    assert heard.recv(4096).startswith(b"STOPPING=1")


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    Notifier("").ready("x")
    Notifier(str(tmp_path / "gone")).ready("x")


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "x"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_told_twice_in_its_time(environ: dict[str, str], interval_s: float | None) -> None:
    assert watchdog_interval_s(environ) == interval_s
