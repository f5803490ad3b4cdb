"""The part of a command line that says what is wanted and how to ask for it: URLs, headers, credentials, digests, limits."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

import click

from p2pstore.cli.quantities import parse_size, parse_wait

MAX_LIST_BYTES: Final = 256 << 20
"""A longer list of URLs is a mistake."""
MAX_HEADER_FILE_BYTES: Final = 1 << 20

F = TypeVar("F", bound=Callable[..., Any])


def quantity(
    parse: Callable[[str], float],
) -> Callable[[click.Context, click.Parameter, str | None], float | None]:
    """A callback that reads a size, a rate or a duration, or says in a usage error how to write it."""

    def read(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
        try:
            return None if value is None else parse(value)
        except ValueError as wrong:
            raise click.BadParameter(str(wrong)) from None

    return read


@dataclass(frozen=True)
class Wanted:
    """One URL with the digests that were written beside it."""

    url: str
    digests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """How every URL of this command is asked for; the names are those of the client's arguments."""

    digests: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    auth: tuple[str, str] | str | None = None
    """User and password, or a bearer token."""
    netrc: bool = False
    refresh: bool = False
    offline: bool = False
    limit_rate: int = 0
    timeout_s: float | None = None
    ignore_query: tuple[str, ...] = field(default=())

    def arguments(self, one: Wanted) -> dict[str, Any]:
        """The client's arguments for one URL."""
        return {
            "digest": [*self.digests, *one.digests] or None,
            "headers": list(self.headers) or None,
            "auth": self.auth,
            "netrc": self.netrc,
            "refresh": self.refresh,
            "offline": self.offline,
            "limit_rate": self.limit_rate or None,
            "timeout_s": self.timeout_s,
            "ignore_query": list(self.ignore_query) or None,
        }


def asking_options(function: F) -> F:
    """The options that `get`, `prefetch` and `wait` share."""
    for decorate in reversed(_ASKING):
        function = decorate(function)
    return function


_ASKING: Final = (
    click.argument("urls", nargs=-1, metavar="[URL]..."),
    click.option(
        "-i",
        "--input-file",
        metavar="FILE",
        help="Read URLs from FILE (- is stdin), one a line, each with its digest after a space if it has one.",
    ),
    click.option(
        "--digest",
        "--checksum",
        "digests",
        multiple=True,
        metavar="ALG:HEX",
        help="What the contents must be, for one URL: sha256:, sha512:, blake3: or md5:.",
    ),
    click.option(
        "-H",
        "--header",
        "headers",
        multiple=True,
        metavar="LINE|@FILE",
        help="A request header, or a file of them, which keeps secrets out of the process list.",
    ),
    click.option(
        "-u",
        "--user",
        metavar="USER[:PASSWORD]",
        help="Basic authentication; asks for a password that is left out.",
    ),
    click.option("-n", "--netrc", is_flag=True, help="Take user and password from ~/.netrc."),
    click.option(
        "--netrc-file",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="Take them from this file.",
    ),
    click.option("--oauth2-bearer", "bearer", metavar="TOKEN", help="A bearer token."),
    click.option(
        "--ignore-query",
        multiple=True,
        metavar="NAME",
        help="A query parameter that makes no difference to the file.",
    ),
    click.option(
        "--limit-rate", callback=quantity(parse_size), metavar="RATE", help="Bytes a second, for example 50M."
    ),
    click.option(
        "-m",
        "--max-time",
        callback=quantity(parse_wait),
        metavar="DURATION",
        help="Give up after this long; what has come is kept.",
    ),
)


def read_wish(flags: dict[str, Any], urls: int = 1) -> Wish:
    """The wish in the flags of a command for so many URLs; raises UsageError. Asks for a password that is missing."""
    digests = tuple(flags["digests"])
    if digests and urls > 1:
        raise click.UsageError(
            "--digest is that of one file; for several, write each beside its URL in a list (-i)."
        )
    if flags.get("refresh") and flags.get("offline"):
        raise click.UsageError("--refresh and --offline contradict each other.")
    if flags["netrc_file"] is not None:
        # The client reads the file that this variable names, as other programs do.
        os.environ["NETRC"] = flags["netrc_file"]
    return Wish(
        digests=digests,
        headers=tuple(_headers(flags["headers"])),
        auth=_auth(flags["user"], flags["bearer"]),
        netrc=flags["netrc"] or flags["netrc_file"] is not None,
        refresh=bool(flags.get("refresh")),
        offline=bool(flags.get("offline")),
        limit_rate=int(flags["limit_rate"] or 0),
        timeout_s=flags["max_time"],
        ignore_query=tuple(flags["ignore_query"]),
    )


def _auth(user: str | None, bearer: str | None) -> tuple[str, str] | str | None:
    if user is not None and bearer is not None:
        raise click.UsageError("--user and --oauth2-bearer contradict each other.")
    if user is None:
        return bearer
    name, colon, password = user.partition(":")
    if not colon:
        password = click.prompt(f"Password for {name}", hide_input=True, err=True)
    return name, password


def _headers(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        if line.startswith("@"):
            yield from (
                _header(one) for one in _text_of(line[1:], MAX_HEADER_FILE_BYTES).splitlines() if one.strip()
            )
        else:
            yield _header(line)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        # The line may hold a secret: it is not repeated.
        raise click.UsageError("A header is written as 'Name: value', or as @FILE.")
    return name.strip(), value.strip()


def read_urls(urls: Iterable[str], input_file: str | None) -> list[Wanted]:
    """What is wanted, in order, from the arguments and the file; raises UsageError when that is nothing."""
    wanted = [Wanted(url) for url in urls]
    if input_file is not None:
        for line in _text_of(input_file, MAX_LIST_BYTES).splitlines():
            words = line.split()
            if words and not words[0].startswith("#"):
                wanted.append(Wanted(words[0], tuple(words[1:])))
    if not wanted:
        raise click.UsageError("Missing argument 'URL': give one or more, or a file of them with -i.")
    return wanted


def by_digest(wanted: list[Wanted], wish: Wish) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """URLs that can be asked for together, with the client's arguments: digests hold for a whole request."""
    for digests, group in itertools.groupby(wanted, lambda one: one.digests):
        urls = [one.url for one in group]
        if digests:
            # A digest is that of one file.
            yield from (([url], wish.arguments(Wanted(url, digests))) for url in urls)
        else:
            yield urls, wish.arguments(Wanted(""))


def _text_of(path: str, limit: int) -> str:
    if path == "-":
        data = sys.stdin.buffer.read(limit + 1)
    else:
        try:
            with open(path, "rb") as stream:
                data = stream.read(limit + 1)
        except OSError as error:
            raise click.UsageError(f"can't read {path}: {error.strerror}") from None
    if len(data) > limit:
        raise click.UsageError(f"{path} is larger than {limit >> 20} MiB.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"{path} is not UTF-8 text.") from None


def remote_name(url: str) -> str:
    """The file name that a URL ends with, percent-decoded; empty when it has none that is fit for a file."""
    try:
        path = url.partition(":")[2] if url.startswith("put:") else urlsplit(url).path
    except ValueError:
        return ""  # the agent says what is wrong with the URL
    name = os.fsdecode(unquote_to_bytes(path.rpartition("/")[2]))
    unfit = name in {"", ".", ".."} or "/" in name or any(ord(char) < 32 for char in name)
    return "" if unfit or len(os.fsencode(name)) > 255 else name
