"""`p2pstore wait`: until files that were asked for are there; the signal that a precondition is met."""

from __future__ import annotations

from typing import Any

import click

from p2pstore.cli.embedded import connect
from p2pstore.cli.main import Globals
from p2pstore.cli.report import error_fields, exit_code, print_json, shown
from p2pstore.cli.wishes import asking_options, by_digest, read_urls, read_wish
from p2pstore.errors import P2PStoreError


@click.command(short_help="Wait until files are in the cache.")
@asking_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each URL, then a summary.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
@click.pass_obj
def command(given: Globals, /, **flags: Any) -> int:
    """Wait until each URL is in the cache, or its download has failed. Waiting asks for nothing by itself.

    \b
    Examples:
      p2pstore wait -m 10m https://example.org/a.nc && ./job a.nc
      p2pstore wait --json -i urls.txt
    """
    wanted = read_urls(flags["urls"], flags["input_file"])
    wish = read_wish(flags, len(wanted))
    errors: list[P2PStoreError] = []
    with connect(given, quiet=flags["quiet"]) as client:
        for urls, arguments in by_digest(wanted, wish):
            for outcome in client.wait(urls, **arguments):
                error = outcome["error"]
                if error is not None:
                    errors.append(error)
                    click.echo(f"p2pstore: {error}", err=True)
                elif not flags["quiet"]:
                    click.echo(f"{shown(outcome['url'])}  ready", err=True)
                if flags["as_json"]:
                    found = error_fields(error) if error is not None else {}
                    print_json({"url": outcome["url"], "ok": outcome["ok"], **found})
    if flags["as_json"]:
        print_json({"summary": {"ok": len(wanted) - len(errors), "failed": len(errors)}})
    return exit_code(errors, len(wanted))
