"""`p2pstore put`: keep a result under a name, durably."""

from __future__ import annotations

import os

import click

from p2pstore.cli.embedded import connect
from p2pstore.cli.main import Globals
from p2pstore.cli.quantities import show_rate, show_seconds, show_size
from p2pstore.cli.report import clip, print_json


@click.command(short_help="Store a result under a name, durably.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True))
@click.argument("name", default="", metavar="[NAME]")
@click.option("--replace", is_flag=True, help="Take the place of a result of that name.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Only the name.")
@click.pass_obj
def command(given: Globals, file: str, name: str, replace: bool, as_json: bool, quiet: bool) -> int:
    """Store FILE as put:NAME (the file's own name if none is given). When this returns, it is on disk to stay.

    Stored results are never evicted, and everybody who may use the agent can read them; `p2pstore rm put:NAME` removes one.

    \b
    Examples:
      p2pstore put run7.h5 results/run7.h5
      p2pstore get put:results/run7.h5 -o copy.h5
    """
    with connect(given, quiet=quiet) as client:
        stored = client.put(name.removeprefix("put:") or os.path.basename(file), file, replace=replace)
    url = f"put:{stored['name']}"
    if as_json:
        print_json({"url": url, **stored})
        return 0
    click.echo(url)
    if not quiet:
        size, seconds = stored["size"], stored["seconds"]
        click.echo(
            f"{clip(url)}  {show_size(size)}  stored  {show_rate(size, seconds)}  {show_seconds(seconds)}",
            err=True,
        )
    return 0
