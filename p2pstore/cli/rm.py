"""`p2pstore rm`: take entries out of the cache."""

from __future__ import annotations

from typing import Any

import click

from p2pstore.cli.embedded import connect
from p2pstore.cli.main import Globals
from p2pstore.cli.quantities import show_size
from p2pstore.cli.report import error_fields, exit_code, print_json, shown
from p2pstore.errors import P2PStoreError


@click.command(short_help="Remove entries from the cache.")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("--prefix", metavar="PREFIX", help="Everything of yours whose URL begins like this.")
@click.option("--versions", is_flag=True, help="With --prefix: versions that are no longer current, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
@click.pass_obj
def command(
    given: Globals, urls: tuple[str, ...], prefix: str | None, versions: bool, as_json: bool, quiet: bool
) -> int:
    """Remove each URL with all its versions, or a stored name written as put:NAME. Jobs that read it are not disturbed.

    \b
    Examples:
      p2pstore rm https://example.org/big.bin put:results/run7.h5
      p2pstore rm --prefix https://example.org/old/
    """
    if not urls and prefix is None:
        raise click.UsageError("Missing argument 'URL': give one or more, or --prefix.")
    asked = [(url, dict[str, Any](url=url)) for url in urls]
    if prefix is not None:
        asked.append((f"{prefix}*", {"prefix": prefix, "versions": versions}))
    errors: list[P2PStoreError] = []
    with connect(given, quiet=quiet) as client:
        for name, what in asked:
            try:
                removed = client.rm(**what)
            except P2PStoreError as error:
                errors.append(error)
                print_json(error_fields(error, url=name)) if as_json else click.echo(
                    f"p2pstore: {error}", err=True
                )
                continue
            if as_json:
                print_json({"url": name, **removed})
            elif not quiet:
                click.echo(
                    f"{shown(name)}  {removed['removed']} removed, {show_size(removed['bytes'])}", err=True
                )
    return exit_code(errors, len(asked))
