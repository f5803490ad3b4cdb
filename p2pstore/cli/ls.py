"""`p2pstore ls`: what the cache holds, in any order, a page at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import click

from p2pstore.cli.embedded import connect
from p2pstore.cli.main import Globals
from p2pstore.cli.quantities import show_seconds, show_size
from p2pstore.cli.report import print_json

SORTS: Final = ("url", "size", "access", "stored")


@click.command(short_help="List what the cache holds.")
@click.argument("prefix", default="", metavar="[PREFIX]")
@click.option(
    "-s",
    "--sort",
    type=click.Choice(SORTS),
    default="url",
    show_default=True,
    help="Order; access is the order of last use.",
)
@click.option("-r", "--reverse", is_flag=True, help="Largest, or latest, first.")
@click.option("-n", "--limit", type=click.IntRange(1), help="At most this many.")
@click.option("--versions", is_flag=True, help="Also versions that are no longer current.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line for each entry, then a summary."
)
@click.pass_obj
def command(
    given: Globals, prefix: str, sort: str, reverse: bool, limit: int | None, versions: bool, as_json: bool
) -> int:
    """List what the cache holds: all of it, or what begins with PREFIX. Others' private entries are not shown.

    \b
    Examples:
      p2pstore ls -s size -r -n 20
      p2pstore ls https://example.org/data/
      p2pstore ls --json put:
    """
    shown = size = 0
    with connect(given) as client:
        for entry in client.ls(prefix, sort=sort, descending=reverse, limit=limit, versions=versions):
            shown, size = shown + 1, size + entry["size"]
            print_json(entry) if as_json else click.echo(row(entry, time.time()))
    if as_json:
        print_json({"summary": {"entries": shown, "size": size}})
    else:
        click.echo(f"{shown} entries, {show_size(size)}", err=True)
    return 0


def row(entry: Mapping[str, Any], now: float) -> str:
    """`4.0 GiB  5 h 02 min ago  private  URL`, with an old version's name."""
    age = show_seconds(max(0.0, now - entry["stored_at"])) + " ago"
    marks = "p" if entry["private"] else "-"
    old = "" if entry["current"] else f"  (version {entry['ver']})"
    return f"{show_size(entry['size']):>10}  {age:>16}  {marks}  {entry['url']}{old}"
