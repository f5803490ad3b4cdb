"""`p2pstore stat`: what is known here of a URL or a stored name; the origin is not asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from p2pstore.cli.embedded import connect
from p2pstore.cli.main import Globals
from p2pstore.cli.quantities import show_seconds, show_size
from p2pstore.cli.report import error_fields, exit_code, print_json, shown
from p2pstore.errors import NotCached, P2PStoreError


@click.command(short_help="Tell what is known here of a URL.")
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option("--ver", metavar="VERSION", help="This version instead of the current one.")
@click.option(
    "--ignore-query",
    multiple=True,
    metavar="NAME",
    help="A query parameter that makes no difference to the file.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each URL.")
@click.pass_obj
def command(
    given: Globals, urls: tuple[str, ...], ver: str | None, ignore_query: tuple[str, ...], as_json: bool
) -> int:
    """Tell what is known here of each URL, or of a stored name written as put:NAME.

    Exits with 3 when it is not in the cache.

    \b
    Examples:
      p2pstore stat https://example.org/big.bin
      p2pstore stat --json put:results/run7.h5
    """
    errors: list[P2PStoreError] = []
    with connect(given) as client:
        for url in urls:
            try:
                found = client.stat(url, ver=ver, ignore_query=ignore_query or None)
            except P2PStoreError as error:
                errors.append(error)
                print_json(error_fields(error, url=url)) if as_json else click.echo(
                    f"p2pstore: {error}", err=True
                )
                continue
            if not found["cached"]:
                errors.append(
                    NotCached(f"{shown(url)} is not in the cache", hint=f"p2pstore get {shown(url)}")
                )
            if as_json:
                print_json({**found, "url": url})
            else:
                click.echo("\n".join(describe(shown(url), found, time.time())))
    return exit_code(errors, len(urls))


def describe(url: str, found: Mapping[str, Any], now: float) -> list[str]:
    """The lines for people; `now` is wall-clock seconds."""
    loading = found.get("loading")
    lines = [url]
    if loading:
        total = f" of {show_size(loading['total'])}" if loading.get("total") else ""
        lines.append(f"  coming     {show_size(loading['bytes'])}{total}")
    if not found["cached"]:
        return lines if loading else [*lines, "  not in the cache"]
    lines.append(f"  size       {show_size(found['size'])} ({found['size']} bytes)")
    lines.append(f"  state      {_state(found)}")
    lines.append(f"  stored     {show_seconds(max(0.0, now - found['stored_at']))} ago")
    lines.append(f"  version    {found['ver']}")
    lines.append(f"  object     {found['root']}")
    lines += [f"  {name:<10} {value}" for name, value in sorted(found["digests"].items())]
    lines.append(f"  verified   by {found['verified']}{', private' if found['private'] else ''}")
    older = [one for one in found.get("versions", []) if one != found["ver"]]
    if older:
        lines.append(f"  also here  {', '.join(older)}")
    return lines


def _state(found: Mapping[str, Any]) -> str:
    if found.get("lifetime_s") is None:
        return "fresh"
    left_s = found["lifetime_s"] - found["age_s"]
    if found["fresh"]:
        return f"fresh for {show_seconds(max(0.0, left_s))}"
    return f"to be revalidated since {show_seconds(max(0.0, -left_s))}"
