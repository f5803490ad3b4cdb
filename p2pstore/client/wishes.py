"""From what a caller writes to the arguments of a request; the same for both clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, TypedDict

from p2pstore.client.netrc import Netrc
from p2pstore.errors import BadRequest, BadUrl, NotFound, P2PStoreError, from_wire

Digests: TypeAlias = str | Iterable[str]
"""`sha256:HEX`, or several."""
Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
Auth: TypeAlias = tuple[str, str] | str
"""(user, password), or a bearer token."""

Output: TypeAlias = str | os.PathLike[str]
"""Where to deliver a file to."""
Progress: TypeAlias = Callable[[dict[str, Any]], object]
"""Called with each progress event: `bytes`, `total` or None, `rate`, `eta_s`, `source`."""

BATCH_URLS: Final = 1000
"""URLs named in one request; more go in several."""
BATCH_CHARS: Final = 256 * 1024
PAGE: Final = 1000
"""Entries listed in one request."""

_netrc = Netrc()


class Wish(TypedDict, total=False):
    """How a URL is asked for; the same names for every function that takes one."""

    digest: Digests | None
    """Checked before the file is handed out."""
    headers: Headers | None
    """Sent to the origin; what they bring is for this user alone unless they are harmless."""
    auth: Auth | None
    netrc: bool
    """Look for credentials in the user's netrc file; on by default."""
    refresh: bool
    """Ask the origin whether the copy still holds, however fresh it is."""
    offline: bool
    """Never ask the origin."""
    max_age_s: float | None
    """Take no copy older than this without asking the origin."""
    ignore_query: Iterable[str] | None
    """Names of query parameters that don't belong to the file's identity."""
    limit_rate: int | None
    """Bytes per second from the origin."""
    timeout_s: float | None
    """Seconds after which to give up; the download goes on for others."""
    lease: bool
    """Only the path is wanted, no descriptor: the file stays there for ten minutes."""


_NAMES: Final = frozenset(Wish.__annotations__)


def arguments(url: str | None, wish: Wish) -> dict[str, Any]:
    """The arguments of a request for `url`, or those that several URLs share; raises BadRequest, BadConfig."""
    args: dict[str, Any] = {} if url is None else {"url": url}
    if wish:
        unknown = wish.keys() - _NAMES
        if unknown:
            raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
        _add_request(args, wish)
        _add_limits(args, wish)
    if url is not None and "auth" not in args and wish.get("netrc", True):
        found = _netrc.credentials(url)
        if found is not None and not any(
            name.lower() == "authorization" for name, _ in args.get("headers", ())
        ):
            args["auth"] = found
    return args


def _add_request(args: dict[str, Any], wish: Wish) -> None:
    digest, headers, auth = wish.get("digest"), wish.get("headers"), wish.get("auth")
    if digest is not None:
        args["digests"] = [digest] if isinstance(digest, str) else list(digest)
    if headers:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        args["headers"] = [[name, value] for name, value in pairs]
    if auth is not None:
        args["auth"] = (
            {"bearer": auth} if isinstance(auth, str) else dict(zip(("user", "password"), auth, strict=True))
        )
    ignore = wish.get("ignore_query")
    if ignore:
        args["ignore_query"] = list(ignore)


def _add_limits(args: dict[str, Any], wish: Wish) -> None:
    for name in ("refresh", "offline"):
        if wish.get(name):
            args[name] = True
    if wish.get("lease"):
        args["want"] = "path"
    for name, argument in (
        ("max_age_s", "max_age_s"),
        ("limit_rate", "limit_rate"),
        ("timeout_s", "deadline_s"),
    ):
        value = wish.get(name)
        if value is not None:
            args[argument] = value


def whose(url_or_name: str, wish: Wish) -> dict[str, Any]:
    """The arguments that name an entry: a URL with what decides whose it is, or `put:NAME`."""
    if url_or_name.startswith("put:"):
        return {"name": url_or_name.removeprefix("put:")}
    return arguments(url_or_name, wish)


def looking(url_or_name: str, ver: str | None, wish: Wish) -> dict[str, Any]:
    """The arguments of `stat`."""
    args = whose(url_or_name, wish)
    if ver is not None:
        args["ver"] = ver
    return args


def removal(url_or_name: str | None, prefix: str | None, versions: bool, wish: Wish) -> dict[str, Any]:
    """The arguments of `rm`."""
    args = {} if url_or_name is None else whose(url_or_name, wish)
    if prefix is not None:
        args["prefix"] = prefix
    if versions:
        args["versions"] = True
    return args


def storing(name: str, replace: bool) -> dict[str, Any]:
    """The arguments of `put`."""
    args: dict[str, Any] = {"name": name, "fd": True}
    if replace:
        args["replace"] = True
    return args


def open_local(url: str) -> int:
    """A descriptor of the file that a `file:` URL names, opened as this user; -1 for other URLs. Raises BadUrl, NotFound."""
    if not url.startswith("file:"):
        return -1
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise BadUrl(f"{url}: a file URL names a file of this node", hint="write file:///absolute/path")
    path = unquote(parts.path)
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as error:
        raise BadUrl(f"{url}: {error}") from error
    except OSError as error:
        raise NotFound(f"{url}: {error.strerror}", url=url) from error


def source_fd(source: str | os.PathLike[str] | int) -> int:
    """A descriptor of our own of what is to be stored: a path, or an open descriptor; raises NotFound."""
    if isinstance(source, int):
        return os.dup(source)
    try:
        # A FIFO must not be waited for; the agent refuses it.
        return os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise NotFound(f"{os.fspath(source)}: {error.strerror}") from error


def batches(urls: Iterable[str]) -> Iterator[list[str]]:
    """The URLs in portions that fit into a frame, and their outcomes too."""
    batch: list[str] = []
    chars = 0
    for url in urls:
        if batch and (len(batch) == BATCH_URLS or chars + len(url) > BATCH_CHARS):
            yield batch
            batch, chars = [], 0
        batch.append(url)
        chars += len(url)
    if batch:
        yield batch


def told(progress: Progress | None) -> Callable[[dict[str, Any], int], None] | None:
    """A taker of events that tells `progress` of them and keeps no descriptor."""
    if progress is None:
        return None

    def on_event(event: dict[str, Any], fd: int) -> None:
        if fd >= 0:
            os.close(fd)
        progress(event)

    return on_event


class Outcome(TypedDict):
    """How the wait for one URL ended."""

    url: str
    ok: bool
    error: P2PStoreError | None


def outcomes(result: dict[str, Any]) -> list[Outcome]:
    """The outcomes in a result of `wait`."""
    return [
        {
            "url": str(one["url"]),
            "ok": bool(one["ok"]),
            "error": None if one["ok"] else from_wire(one.get("error") or {}),
        }
        for one in result["results"]
    ]


def must_be_local(path: str, asked: str) -> str:
    """The path, when the agent gave one; raises BadRequest otherwise."""
    if not path:
        raise BadRequest(
            f"{asked}: this user can't read it in the cache, or it is not kept there",
            hint="give output=FILE, or use open() or fetch()",
        )
    return path
