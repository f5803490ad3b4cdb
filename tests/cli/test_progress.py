"""How a transfer is shown while it runs."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from p2pstore.cli import progress
from p2pstore.cli.progress import Bar, Json, Plain, Silent, progress_line, shower

EVENT: dict[str, Any] = {
    "event": "progress",
    "bytes": 1 << 30,
    "total": 4 << 30,
    "rate": 310 * (1 << 20),
    "eta_s": 9.9,
    "source": "origin",
}


class Clock:
    """A clock that a test winds."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_tells_how_far_it_is() -> None:
    assert progress_line("big.bin", EVENT) == "big.bin  1.0 GiB of 4.0 GiB  310 MiB/s  9.90 s left"
    unknown = EVENT | {"total": None, "eta_s": None}
    assert progress_line("big.bin", unknown) == "big.bin  1.0 GiB  310 MiB/s"


def test_lines_come_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    plain = Plain(clock)
    plain.update("x", EVENT)
    clock.now += progress.PLAIN_INTERVAL_S
    plain.update("x", EVENT)
    plain.update("x", EVENT)
    plain.update("x", {"event": "verified"})
    plain.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


def test_json_passes_every_event_on(capsys: pytest.CaptureFixture[str]) -> None:
    Json().update("x", EVENT)
    assert json.loads(capsys.readouterr().err) == {"name": "x", **EVENT}


def test_what_is_soon_over_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(progress, "_rich_bars", lambda: drawn.append("bar"))
    bar = Bar(Clock())
    bar.update("x", EVENT)
    bar.close()
    assert drawn == []


def test_a_longer_wait_gets_one(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    bar = Bar(clock)
    clock.now += progress.BAR_AFTER_S
    bar.update("x", {"event": "verified"})
    for done in (1, 2):
        bar.update("big[/].bin", EVENT | {"bytes": done << 30})
    bar.line("[a line] that stays")
    bar.close()
    bar.line("after it")
    out, err = capsys.readouterr()
    assert out == ""
    assert "[a line] that stays\n" in err
    assert err.endswith("after it\n")


@pytest.mark.parametrize(
    ("kind", "terminal", "quiet", "cls"),
    [
        ("auto", True, False, Bar),
        ("auto", True, True, Silent),
        ("auto", False, False, Silent),
        ("bar", False, False, Bar),
        ("plain", True, False, Plain),
        ("json", True, False, Json),
        ("none", True, False, Silent),
    ],
)
def test_bars_are_for_terminals(
    monkeypatch: pytest.MonkeyPatch, kind: str, terminal: bool, quiet: bool, cls: type[Silent]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert type(shower(kind, quiet=quiet)) is cls
