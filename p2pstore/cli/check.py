"""`p2pstore check`: read what is stored again and compare it with its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from p2pstore.cli.embedded import connect
from p2pstore.cli.main import Globals
from p2pstore.cli.quantities import show_size
from p2pstore.cli.report import print_json
from p2pstore.errors import IntegrityError


def _share(_ctx: click.Context, _param: click.Parameter, text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise click.BadParameter(f"{text!r} is no share: write for example 5% or 0.05")
    return share


@click.command(short_help="Read stored objects again and compare them with their digests.")
@click.argument("prefix", default="", metavar="[PREFIX]")
@click.option(
    "--subset",
    callback=_share,
    default="100%",
    metavar="SHARE",
    help="Only this share of the objects, for example 5%.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line for each bad object, then a summary."
)
@click.option("-q", "--quiet", is_flag=True, help="Only what is wrong.")
@click.pass_obj
def command(given: Globals, prefix: str, subset: float, as_json: bool, quiet: bool) -> int:
    """Read stored objects again and compare them with their digests: all, or those whose URL begins with PREFIX.

    Damaged objects are set aside and never handed out again. Exits with 5 when there were some, with 1 when some could
    not be read.

    \b
    Examples:
      p2pstore check
      p2pstore check --subset 5% https://example.org/
    """

    def told(event: Mapping[str, Any]) -> None:
        if event.get("ok"):
            return
        if as_json:
            print_json({name: value for name, value in event.items() if name != "event"})
        click.echo(f"p2pstore: {event.get('url')}: {event.get('why') or 'damaged, set aside'}", err=True)

    with connect(given, quiet=quiet) as client:
        found = client.check(subset=subset, prefix=prefix, on_checked=told)
    if as_json:
        print_json({"summary": found})
    elif not quiet:
        bad = f"{found['bad']} damaged, {found['unreadable']} unreadable"
        click.echo(f"{found['checked']} objects, {show_size(found['bytes'])} read: {bad}", err=True)
    if found["bad"]:
        return IntegrityError.exit_code
    return 1 if found["unreadable"] else 0
