"""What commands print: JSON lines for scripts on stdout, lines for people on stderr. The spelling here is what scripts count on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from p2pstore.cli.quantities import show_rate, show_seconds, show_size
from p2pstore.errors import EXIT_SOME_FAILED, P2PStoreError

if TYPE_CHECKING:
    from p2pstore.client.got import Got

SOURCES: Final = ("cache", "peers", "origin")
"""Where bytes can come from, in the order of `bytes`."""
MAX_NAME_CHARS: Final = 60


def print_json(fields: Mapping[str, Any]) -> None:
    """One object on a line of stdout."""
    click.echo(json.dumps(fields, ensure_ascii=False, separators=(", ", ": ")))


def got_fields(url: str, got: Got, path: str) -> dict[str, Any]:
    """The object that `get --json` prints for a URL; `url` and `path` as the caller knows them."""
    return {
        "url": url,
        "path": path,
        "size": got.size,
        "root": got.root,
        "seconds": round(got.seconds, 6),
        "stale": got.stale,
        "version": got.ver,
        "ver": got.ver,
        "bytes": {source: int(got.bytes.get(source, 0)) for source in SOURCES},
        "verified": got.verified,
        "private": got.private,
        "warnings": list(got.warnings),
    }


def error_fields(error: P2PStoreError, **subject: Any) -> dict[str, Any]:
    """The object for something that failed: what it was about, then `error` with its `code` for scripts."""
    return {
        **subject,
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "retryable": error.retryable,
            "exit_code": error.exit_code,
        },
    }


def got_line(name: str, url: str, got: Got, digests: Iterable[str] = ()) -> str:
    """`big.bin  4.0 GiB  origin host  310 MiB/s  13.0 s`: where the bytes came from, for people."""
    parts = [clip(name), show_size(got.size), _whence(url, got)]
    moved = got.size - got.bytes.get("cache", 0)
    if moved > 0:
        parts.append(show_rate(moved, got.seconds))
    parts.append(show_seconds(got.seconds))
    parts += [f"{shorten(digest)} ok" for digest in digests]
    if got.stale:
        parts.append("STALE")
    return "  ".join(parts)


def _whence(url: str, got: Got) -> str:
    """`cache`, `origin host`, or both with their sizes."""
    words = {"cache": "cache", "peers": "peers", "origin": f"origin {host_of(url)}".rstrip()}
    sizes = {source: got.bytes.get(source, 0) for source in SOURCES if got.bytes.get(source, 0)}
    if len(sizes) > 1:
        return " + ".join(f"{words[source]} {show_size(size)}" for source, size in sizes.items())
    return words[next(iter(sizes), "cache")]


def host_of(url: str) -> str:
    """The host of a URL with its port, without credentials; `file` for a local one, empty when it has none."""
    if url.startswith("file:"):
        return "file"
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def shorten(digest: str) -> str:
    """`sha256:9f2c1a...`: enough to compare by eye."""
    algorithm, _, hexadecimal = digest.partition(":")
    return f"{algorithm}:{hexadecimal[:8]}…" if len(hexadecimal) > 12 else digest


def clip(text: str, most: int = MAX_NAME_CHARS) -> str:
    """A name that leaves room on the line, without control characters; its end is kept, which differs most."""
    plain = "".join(char if char.isprintable() else "?" for char in text)
    return plain if len(plain) <= most else "…" + plain[-(most - 1) :]


def paint(text: str, colour: str) -> str:
    """Coloured on a terminal unless NO_COLOR is set (no-color.org)."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return click.style(text, fg=colour)


def exit_code(errors: Iterable[P2PStoreError], total: int) -> int:
    """0 when nothing failed, the failure's own code when all failed alike, 9 when some of several did."""
    codes = [error.exit_code for error in errors]
    if not codes:
        return 0
    return codes[0] if len(codes) == total and len(set(codes)) == 1 else EXIT_SOME_FAILED


def shown(url: str) -> str:
    """A URL as it was typed, without what must not end in a job's log: passwords and signatures."""
    if "@" not in url and "?" not in url:
        return url
    from p2pstore.cache.canonical import redact

    return redact(url)
