"""`p2pstore prefetch`: have files brought before they are needed."""

from __future__ import annotations

from typing import Any

import click

from p2pstore.cli.embedded import connect
from p2pstore.cli.main import Globals
from p2pstore.cli.report import print_json
from p2pstore.cli.wishes import asking_options, by_digest, read_urls, read_wish


@click.command(short_help="Have files brought before they are needed.")
@asking_options
@click.option("--refresh", is_flag=True, help="Ask the origin whether cached copies are still right.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
@click.pass_obj
def command(given: Globals, /, **flags: Any) -> int:
    """Ask the agent to bring each URL into the cache, and return at once; `p2pstore wait` waits for them.

    \b
    Examples:
      p2pstore prefetch https://example.org/a.nc https://example.org/b.nc
      p2pstore prefetch -i urls.txt && p2pstore wait -i urls.txt
    """
    wanted = read_urls(flags["urls"], flags["input_file"])
    wish = read_wish(flags, len(wanted))
    accepted = cached = 0
    with connect(given, quiet=flags["quiet"]) as client:
        for urls, arguments in by_digest(wanted, wish):
            answer = client.prefetch(urls, **arguments)
            accepted, cached = accepted + answer["accepted"], cached + answer["cached"]
    if flags["as_json"]:
        print_json({"accepted": accepted, "cached": cached})
    elif not flags["quiet"]:
        click.echo(f"{accepted} to come, {cached} in the cache already", err=True)
    return 0
