"""How a transfer is shown while it runs: a bar on a terminal, lines, JSON, or nothing; always on stderr.

`rich` is imported only once a bar is drawn, and a bar is drawn only when the wait is long enough to be seen.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from p2pstore.cli.quantities import show_rate, show_seconds, show_size
from p2pstore.cli.report import clip

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

KINDS: Final = ("auto", "bar", "plain", "json", "none")
BAR_AFTER_S: Final = 0.3
"""No bar for what is over sooner."""
PLAIN_INTERVAL_S: Final = 5.0


class Silent:
    """Shows nothing but the lines; the base of the others."""

    def update(self, name: str, event: Mapping[str, Any]) -> None:
        """An event of the agent about the file `name`: `event`, and for progress `bytes`, `total`, `rate`, `eta_s`."""

    def files(self, done: int, total: int, size_bytes: int) -> None:
        """So many of several files have ended, with so many bytes in all."""

    def line(self, text: str) -> None:
        """A line for people that stays."""
        click.echo(text, err=True)

    def close(self) -> None:
        """Nothing more comes."""


class Json(Silent):
    """Each event as an object on a line of stderr."""

    def update(self, name: str, event: Mapping[str, Any]) -> None:
        click.echo(json.dumps({"name": name, **event}), err=True)

    def files(self, done: int, total: int, size_bytes: int) -> None:
        if total > 1:
            click.echo(
                json.dumps({"event": "files", "done": done, "total": total, "bytes": size_bytes}), err=True
            )


class Plain(Silent):
    """A line every few seconds, for logs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() + PLAIN_INTERVAL_S

    def update(self, name: str, event: Mapping[str, Any]) -> None:
        if event.get("event") == "progress" and self._clock() >= self._next:
            self._next = self._clock() + PLAIN_INTERVAL_S
            self.line(progress_line(name, event))

    def files(self, done: int, total: int, size_bytes: int) -> None:
        if total > 1 and self._clock() >= self._next:
            self._next = self._clock() + PLAIN_INTERVAL_S
            self.line(files_line(done, total, size_bytes))


class Bar(Silent):
    """One bar, of one file's bytes or of many files, drawn by rich."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._after = clock() + BAR_AFTER_S
        self._bars: Progress | None = None
        self._task: TaskID

    def update(self, name: str, event: Mapping[str, Any]) -> None:
        if event.get("event") == "progress":
            done, total = event.get("bytes", 0), event.get("total")
            self._draw(f"{clip(name, 30)}  {how_far(event)}", done, total)

    def files(self, done: int, total: int, size_bytes: int) -> None:
        if total > 1:
            self._draw(files_line(done, total, size_bytes), done, total)

    def _draw(self, text: str, done: int, total: int | None) -> None:
        if self._bars is None:
            if self._clock() < self._after:
                return
            self._bars = _rich_bars()
            self._task = self._bars.add_task(text, total=total)
            self._bars.start()
        self._bars.update(self._task, description=text, completed=done, total=total)

    def line(self, text: str) -> None:
        if self._bars is None:
            super().line(text)
        else:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def progress_line(name: str, event: Mapping[str, Any]) -> str:
    """`big.bin  1.2 GiB of 4.0 GiB  310 MiB/s  9.10 s left`."""
    return f"{clip(name)}  {how_far(event)}"


def how_far(event: Mapping[str, Any]) -> str:
    """`1.2 GiB of 4.0 GiB  310 MiB/s  9.10 s left`, without what is not known."""
    done, total = event.get("bytes", 0), event.get("total")
    parts = [f"{show_size(done)} of {show_size(total)}" if total else show_size(done)]
    parts.append(show_rate(event.get("rate") or 0, 1))
    if event.get("eta_s") is not None:
        parts.append(f"{show_seconds(event['eta_s'])} left")
    return "  ".join(parts)


def shower(kind: str, *, quiet: bool = False) -> Silent:
    """How to show progress for `--progress KIND`; `auto` is a bar on a terminal and nothing elsewhere."""
    if kind == "auto":
        kind = "bar" if sys.stderr.isatty() and not quiet else "none"
    kinds: dict[str, type[Silent]] = {"bar": Bar, "plain": Plain, "json": Json, "none": Silent}
    return kinds[kind]()


def files_line(done: int, total: int, size_bytes: int) -> str:
    """`12 of 100 files  1.2 GiB`."""
    return f"{done} of {total} files  {show_size(size_bytes)}"


def _rich_bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    text = TextColumn("{task.description}", markup=False)
    return Progress(BarColumn(bar_width=30), text, console=Console(stderr=True), transient=True)
