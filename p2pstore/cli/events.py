"""`p2pstore events`: what the agent does, as it happens."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final

import click

from p2pstore.cli.embedded import connect
from p2pstore.cli.main import Globals
from p2pstore.cli.quantities import show_size

NOT_SHOWN: Final = frozenset({"event", "url", "key", "at"})


@click.command(short_help="Show what the agent does, as it happens.")
@click.option(
    "-k",
    "--kind",
    "kinds",
    multiple=True,
    metavar="KIND",
    help="Only this kind; may be given more than once.",
)
@click.option("-n", "--count", type=click.IntRange(1), help="End after this many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(given: Globals, kinds: tuple[str, ...], count: int | None, as_json: bool) -> int:
    """Show events as they happen, until Ctrl-C.

    Kinds: queued, started, progress, verified, ready, failed, revalidated, evicted, removed, quarantined.

    \b
    Examples:
      p2pstore events
      p2pstore events --json -k ready -k failed
    """
    with connect(given) as client:
        for number, event in enumerate(client.events(kinds), 1):
            # One write a line: whoever reads the other end of a pipe is to see it now.
            click.echo(json.dumps(event) if as_json else line_of(event))
            if count is not None and number >= count:
                break
    return 0


def line_of(event: Mapping[str, Any]) -> str:
    """`12:00:00  ready  URL  size 4.0 GiB`."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.get("at", 0)))
    more = [
        f"{name} {_shown(name, value)}"
        for name, value in event.items()
        if name not in NOT_SHOWN and value is not None
    ]
    return "  ".join([clock, f"{event.get('event'):<12}", str(event.get("url", "")), *more])


def _shown(name: str, value: Any) -> str:
    if name in {"size", "bytes", "total", "rate"} and isinstance(value, int | float):
        return show_size(value)
    if isinstance(value, Mapping):
        return str(value.get("message") or value)
    return str(value)
