"""`p2pstore get`: the file of a URL, to a path, to stdout, or as the path in the cache.

On the way of every job: imports the light client and nothing of the agent.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from p2pstore.cli.embedded import connect
from p2pstore.cli.in_order import InOrder
from p2pstore.cli.main import Globals
from p2pstore.cli.progress import KINDS, Silent, shower
from p2pstore.cli.report import SOURCES, error_fields, exit_code, got_fields, got_line, print_json, shown
from p2pstore.cli.wishes import Wanted, Wish, asking_options, read_urls, read_wish, remote_name
from p2pstore.errors import BadRequest, P2PStoreError

if TYPE_CHECKING:
    from p2pstore.client.got import Got
    from p2pstore.client.sync import Client

LINKS: Final = ("auto", "reflink", "hard", "symlink", "copy")
STDOUT: Final = "-"


@dataclass(frozen=True)
class Target:
    """Where the bytes of one URL go: a path, `-` for stdout, or empty to leave them in the cache."""

    wanted: Wanted
    path: str
    name: str
    """What people are told."""
    number: int = 0
    """Its place on the command line."""


@dataclass
class Told:
    """How results are told, and what is counted for the summary."""

    json: bool
    quiet: bool
    verbose: bool
    show: Silent
    urls: int
    paths: InOrder = field(default_factory=lambda: InOrder(click.echo))
    ok: int = 0
    size_bytes: int = 0
    sources: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))
    errors: list[P2PStoreError] = field(default_factory=list)


@click.command(short_help="Get the file of a URL.")
@asking_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Write to FILE (- is stdout); without it the path in the cache is printed.",
)
@click.option(
    "-O",
    "--remote-name",
    "use_remote_name",
    is_flag=True,
    help="Write to a file named like the URL's last part.",
)
@click.option(
    "-d",
    "--dir",
    "directory",
    metavar="DIR",
    help="Write there, creating it; names as with -O unless -o is given.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="URLs asked for at once.",
)
@click.option(
    "--offline", is_flag=True, help="Only what the cache holds, whatever its age; never ask the origin."
)
@click.option(
    "--refresh", is_flag=True, help="Ask the origin whether the copy is still right, however fresh it is."
)
@click.option(
    "--link",
    type=click.Choice(LINKS),
    default="auto",
    show_default=True,
    help="How FILE comes to be; auto shares blocks where the file system can, else copies.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each URL, then a summary.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors, and the path if it is asked for.")
@click.option("-v", "--verbose", is_flag=True, help="Also tell why: freshness, version, digests, warnings.")
@click.option(
    "--progress",
    type=click.Choice(KINDS),
    default="auto",
    show_default=True,
    help="How to show progress, on stderr.",
)
@click.pass_obj
def command(given: Globals, /, **flags: Any) -> int:
    """Get the file of each URL: from the cache, else from its origin, verified.

    Every file is told on stderr, as soon as it is there, with the place its bytes came from. Without -o the path in the cache
    is printed, in the order of the URLs; it is only to be read, and stays for ten minutes. -o gives a file of your own.

    \b
    Examples:
      p2pstore get --digest sha256:9f2c... https://example.org/big.bin -o big.bin
      p2pstore get -d data https://example.org/a.nc https://example.org/b.nc
      tar xzf "$(p2pstore get -q https://example.org/src.tar.gz)"
      p2pstore get -H @token.txt --json -i urls.txt -d data
    """
    targets = plan(read_urls(flags["urls"], flags["input_file"]), flags)
    wish = read_wish(flags, len(targets))
    show = shower(flags["progress"], quiet=flags["quiet"])
    told = Told(flags["as_json"], flags["quiet"], flags["verbose"], show, len(targets))
    began = time.monotonic()
    client = connect(given, quiet=flags["quiet"])
    try:
        for target, outcome in _outcomes(client, targets, wish, flags, show):
            if isinstance(outcome, P2PStoreError):
                tell_failure(told, target, outcome)
            else:
                with outcome:
                    tell(told, target, outcome, [*wish.digests, *target.wanted.digests])
    finally:
        show.close()
        client.close()
    if told.json:
        print_json({"summary": summary(told, time.monotonic() - began)})
    return exit_code(told.errors, len(targets))


def plan(wanted: list[Wanted], flags: dict[str, Any]) -> list[Target]:
    """Where each goes, each URL once; raises UsageError when that can't be."""
    wanted = list(dict.fromkeys(wanted))
    output, directory = flags["output"], flags["directory"]
    if output is not None and flags["use_remote_name"]:
        raise click.UsageError("-o and -O contradict each other.")
    if output is not None and len(wanted) > 1:
        raise click.UsageError(f"-o names one file, and there are {len(wanted)} URLs; use -d DIR.")
    if output == STDOUT and flags["as_json"]:
        raise click.UsageError("-o - and --json both write to stdout.")
    if output is None and not flags["use_remote_name"] and directory is None:
        return [Target(one, "", remote_name(one.url) or shown(one.url), at) for at, one in enumerate(wanted)]
    if output == STDOUT:
        return [Target(wanted[0], STDOUT, remote_name(wanted[0].url) or shown(wanted[0].url))]
    targets = [_file_target(one, output, directory or "", at) for at, one in enumerate(wanted)]
    taken: dict[str, str] = {}
    for target in targets:
        other = taken.setdefault(target.path, target.wanted.url)
        if other != target.wanted.url:
            raise click.UsageError(f"{other} and {target.wanted.url} would both be written to {target.path}.")
    return targets


def _file_target(one: Wanted, output: str | None, directory: str, number: int) -> Target:
    name = output if output is not None else remote_name(one.url)
    if not name:
        raise click.UsageError(f"{shown(one.url)} ends with no file name; use -o FILE.")
    if directory:
        os.makedirs(directory, exist_ok=True)
    return Target(one, os.path.join(directory, name), os.path.basename(name), number)


def _outcomes(
    client: Client, targets: list[Target], wish: Wish, flags: dict[str, Any], show: Silent
) -> Iterator[tuple[Target, Got | P2PStoreError]]:
    """Each target with what became of it, in the order in which they end."""
    if len(targets) == 1:
        yield (
            targets[0],
            _fetched(
                client, targets[0], wish, flags["link"], lambda event: show.update(targets[0].name, event)
            ),
        )
    elif any(target.wanted.digests for target in targets):
        yield from _by_threads(client, targets, wish, flags["link"], flags["jobs"])
    else:
        by_url = {target.wanted.url: target for target in targets}
        output = (lambda url: by_url[url].path) if targets[0].path else None
        arguments = wish.arguments(Wanted("")) | {"lease": output is None}
        for outcome in client.get_many(
            list(by_url), flags["jobs"], output=output, link=flags["link"], **arguments
        ):
            url = outcome.details.get("url", "") if isinstance(outcome, P2PStoreError) else outcome.asked
            yield by_url[url], outcome


def _fetched(
    client: Client,
    target: Target,
    wish: Wish,
    link: str,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> Got | P2PStoreError:
    output = sys.stdout.fileno() if target.path == STDOUT else target.path or None
    arguments = wish.arguments(target.wanted) | {"lease": output is None}
    try:
        return client.fetch(target.wanted.url, output=output, link=link, progress=progress, **arguments)
    except P2PStoreError as error:
        return error


def _by_threads(
    client: Client, targets: list[Target], wish: Wish, link: str, jobs: int
) -> Iterator[tuple[Target, Got | P2PStoreError]]:
    """As many at a time as threads: each URL has a digest of its own, which the pipelined way has not."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    with ThreadPoolExecutor(min(jobs, len(targets))) as pool:
        try:
            waiting = {pool.submit(_fetched, client, target, wish, link): target for target in targets}
            for one in as_completed(waiting):
                yield waiting[one], one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            client.close()
            raise


def tell(told: Told, target: Target, got: Got, digests: list[str]) -> None:
    """Tell of one file that is there."""
    told.ok += 1
    told.size_bytes += got.size
    for source in SOURCES:
        told.sources[source] += got.bytes.get(source, 0)
    path = target.path or got.path
    if told.json:
        print_json(got_fields(target.wanted.url, got, path))
    elif not target.path:
        if not path:
            private = BadRequest(f"{target.wanted.url} has no path that you may read", hint="use -o FILE")
            return tell_failure(told, target, private)
        told.paths.know(target.number, path)
    told.show.files(told.ok + len(told.errors), told.urls, told.size_bytes)
    if told.quiet:
        return None
    told.show.line(got_line(target.name, target.wanted.url, got, digests))
    for warning in got.warnings:
        told.show.line(f"p2pstore: {warning}")
    if got.stale or told.verbose:
        told.show.line(f"  {got.why}")
    if told.verbose:
        told.show.line(f"  version {got.ver}  object {got.root}  verified by {got.verified}")
    return None


def tell_failure(told: Told, target: Target, error: P2PStoreError) -> None:
    """Tell of one that is not."""
    told.errors.append(error)
    told.paths.know(target.number, None)
    if told.json:
        print_json(error_fields(error, url=target.wanted.url))
    told.show.line(f"p2pstore: {error}")


def summary(told: Told, seconds: float) -> dict[str, Any]:
    """What the last line of `--json` says."""
    return {
        "ok": told.ok,
        "failed": len(told.errors),
        "size": told.size_bytes,
        "bytes": told.sources,
        "seconds": round(seconds, 6),
    }
