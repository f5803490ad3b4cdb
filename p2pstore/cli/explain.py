"""`p2pstore explain`: what a URL is called here, and whether another one is the same."""

from __future__ import annotations

import click

from p2pstore.cli.embedded import answers, find_door
from p2pstore.cli.main import Globals


@click.command(short_help="Say why two URLs are one key or not.")
@click.argument("url")
@click.argument("other", required=False)
@click.option(
    "--ignore-query",
    multiple=True,
    metavar="NAME",
    help="A query parameter that makes no difference to the file.",
)
@click.pass_obj
def command(given: Globals, url: str, other: str | None, ignore_query: tuple[str, ...]) -> int:
    """Say how URL is named in the cache and why, or why URL and OTHER are one key or two.

    \b
    Examples:
      p2pstore explain HTTP://Example.org:80/a/../b
      p2pstore explain 'https://host/x?a=1&b=2' 'https://host/x?b=2&a=1'
    """
    if other is not None:
        from p2pstore.cache.explain import explain

        click.echo("\n".join(explain(url, other)))
        return 0
    click.echo("\n".join(describe(url, ignore_query)))
    door = find_door(given)
    if answers(door.socket):
        from p2pstore.client.sync import Client

        with Client(door.socket) as client:
            found = client.stat(url, ignore_query=list(ignore_query) or None)
        click.echo(f"in the cache: {found['why'] if found['cached'] else 'no'}")
    return 0


def describe(url: str, ignore_query: tuple[str, ...] = ()) -> list[str]:
    """The lines about one URL; no secret is in them. Raises BadUrl."""
    from p2pstore.cache.canonical import canonical
    from p2pstore.cache.keys import key_of
    from p2pstore.types import PUBLIC

    one = canonical(url, ignore_query)
    lines = [f"canonical: {one.text}"]
    lines += [f"  {note}" for note in one.notes]
    if one.signer or one.userinfo:
        why = f"signed for {one.signer}" if one.signer else "user and password in it"
        lines.append(f"private: {why}; kept for the asking user alone")
    else:
        lines.append(f"key: {key_of(one.text, PUBLIC)}, unless a request carries credentials")
    return lines
