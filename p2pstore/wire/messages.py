"""Verbs of the job socket, what their arguments may be, and the codes of answers. No IO here.

One table for the agent's door, the clients and the reference page (docs/reference/protocol.md). An argument is left out when it is
not meant; null is not an argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from p2pstore.errors import BadRequest
from p2pstore.wire.frames import MAX_FRAME_BYTES, MAX_ID

PROTOCOL: Final = 1
"""Version of everything here; the agent names it in its greeting."""

DONE: Final = 0
"""`[id, 0, result]`: the request is done."""
FAILED: Final = 1
"""`[id, 1, error]`: it failed; with id 0 the connection is broken and closes."""
EVENT: Final = 2
"""`[id, 2, event]`: something on the way."""
GREETING: Final = 3
"""`[0, 3, greeting]`: the agent's first frame."""

MAX_URL_CHARS: Final = 8192
MAX_URLS: Final = 10_000
MAX_DIGESTS: Final = 8
MAX_HEADERS: Final = 64
MAX_FIELD_CHARS: Final = 8192
MAX_NAME_BYTES: Final = 512
MAX_LISTED: Final = 1000
MAX_OFFSET: Final = (1 << 63) - 1
MAX_SECONDS: Final = 10 * 365 * 86400.0
WANTS: Final = ("fd", "path", "none")
SORTS: Final = ("url", "size", "access", "stored")

Check: TypeAlias = Callable[[str, Any], None]
"""Raises BadRequest when the value of the named argument can't be meant."""


def greeting(version: str, pid: int, uid: int) -> dict[str, Any]:
    """What the agent says first."""
    return {"p2pstore": version, "protocol": PROTOCOL, "pid": pid, "uid": uid, "max_frame": MAX_FRAME_BYTES}


def _refuse(name: str, wanted: str, value: Any) -> BadRequest:
    return BadRequest(f"argument {name!r} must be {wanted}, not {value!r:.80}")


def _flag(name: str, value: Any) -> None:
    if value is not True and value is not False:
        raise _refuse(name, "true or false", value)


def _text(most_chars: int, least_chars: int = 1) -> Check:
    def check(name: str, value: Any) -> None:
        if type(value) is not str or not least_chars <= len(value) <= most_chars:
            raise _refuse(name, f"a text of {least_chars} to {most_chars} characters", value)

    return check


def _whole(least: int, most: int) -> Check:
    def check(name: str, value: Any) -> None:
        if type(value) is not int or not least <= value <= most:
            raise _refuse(name, f"a whole number from {least} to {most}", value)

    return check


def _number(least: float, most: float) -> Check:
    def check(name: str, value: Any) -> None:
        # A NaN is refused too: it is not between anything.
        if type(value) not in {int, float} or not least <= value <= most:
            raise _refuse(name, f"a number from {least:g} to {most:g}", value)

    return check


def _one_of(words: tuple[str, ...]) -> Check:
    def check(name: str, value: Any) -> None:
        if type(value) is not str or value not in words:
            raise _refuse(name, f"one of {', '.join(words)}", value)

    return check


def _texts(most_items: int, most_chars: int) -> Check:
    one = _text(most_chars)

    def check(name: str, value: Any) -> None:
        if type(value) is not list or len(value) > most_items:
            raise _refuse(name, f"a list of at most {most_items} texts", value)
        for item in value:
            one(name, item)

    return check


_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")
"""A field name (RFC 9110 5.1)."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What a field value must not hold (RFC 9110 5.5), line ends above all: they would begin another field."""


def _headers(name: str, value: Any) -> None:
    if type(value) is not list or len(value) > MAX_HEADERS:
        raise _refuse(name, f"a list of at most {MAX_HEADERS} [name, value] pairs", value)
    for pair in value:
        if type(pair) is not list or len(pair) != 2 or not all(type(part) is str for part in pair):
            raise BadRequest("each of 'headers' must be a pair [name, value] of texts")
        if not _TOKEN.match(pair[0]):
            raise BadRequest(f"{pair[0]!r:.80} is not a header name")
        if len(pair[1]) > MAX_FIELD_CHARS or _CONTROL.search(pair[1]):
            raise BadRequest(f"the value of header {pair[0]} is too long or holds control characters")


def _auth(name: str, value: Any) -> None:
    if type(value) is not dict or set(value) not in ({"user", "password"}, {"bearer"}):
        raise BadRequest(f"argument {name!r} must be a map with 'user' and 'password', or with 'bearer'")
    for part in value.values():
        # The value is a secret: no message shows it.
        if type(part) is not str or len(part) > MAX_FIELD_CHARS or _CONTROL.search(part):
            raise BadRequest(f"the parts of {name!r} must be texts of one line")


_URL: Final = _text(MAX_URL_CHARS)
_NAME: Final = _text(MAX_NAME_BYTES)
_SECONDS: Final = _number(0, MAX_SECONDS)
_OFFSET: Final = _whole(0, MAX_OFFSET)
_WHOSE: Final[dict[str, Check]] = {"headers": _headers, "auth": _auth, "ignore_query": _texts(64, 256)}
"""What decides, besides the URL, under which key and for whom an entry is kept."""
_HOW: Final[dict[str, Check]] = {
    **_WHOSE,
    "digests": _texts(MAX_DIGESTS, 160),
    "refresh": _flag,
    "offline": _flag,
    "max_age_s": _SECONDS,
    "limit_rate": _whole(0, MAX_OFFSET),
    "deadline_s": _number(0.001, MAX_SECONDS),
}
_GET: Final[dict[str, Check]] = {
    "url": _URL,
    **_HOW,
    "progress": _flag,
    "want": _one_of(WANTS),
    "stream": _flag,
    "fd": _flag,
}

ARGUMENTS: Final[dict[str, dict[str, Check]]] = {
    "get": _GET,
    "open": _GET,
    "ready": {
        "reader": _OFFSET,
        "start": _OFFSET,
        "stop": _OFFSET,
        "deadline_s": _number(0.001, MAX_SECONDS),
    },
    "close": {"reader": _OFFSET},
    "prefetch": {"urls": _texts(MAX_URLS, MAX_URL_CHARS), **_HOW},
    "wait": {"urls": _texts(MAX_URLS, MAX_URL_CHARS), **_HOW, "progress": _flag},
    "cancel": {"id": _whole(1, MAX_ID), "url": _URL, **_WHOSE},
    "stat": {"url": _URL, "name": _NAME, "ver": _text(64), **_WHOSE},
    "ls": {
        "prefix": _text(MAX_URL_CHARS, 0),
        "sort": _one_of(SORTS),
        "descending": _flag,
        "limit": _whole(1, MAX_LISTED),
        "after": _text(MAX_FIELD_CHARS * 2),
        "versions": _flag,
    },
    "rm": {"url": _URL, "name": _NAME, "prefix": _text(MAX_URL_CHARS), "versions": _flag, **_WHOSE},
    "put": {"name": _NAME, "replace": _flag, "fd": _flag},
    "events": {"kinds": _texts(64, 64)},
    "check": {"subset": _number(0, 1), "prefix": _text(MAX_URL_CHARS, 0)},
    "status": {},
    "config": {},
}
"""Every verb with its arguments."""

REQUIRED: Final[dict[str, frozenset[str]]] = {
    "get": frozenset({"url"}),
    "open": frozenset({"url"}),
    "ready": frozenset({"reader", "start", "stop"}),
    "close": frozenset({"reader"}),
    "prefetch": frozenset({"urls"}),
    "wait": frozenset({"urls"}),
    "put": frozenset({"name", "fd"}),
}
"""Arguments that a verb can't do without."""

ONE_OF: Final[dict[str, frozenset[str]]] = {
    "stat": frozenset({"url", "name"}),
    "rm": frozenset({"url", "name", "prefix"}),
    "cancel": frozenset({"id", "url"}),
}
"""Arguments of which exactly one must be given."""

TAKES_FD: Final = frozenset({"get", "open", "put"})
"""Verbs that a descriptor may come with."""


def check_arguments(verb: str, args: Mapping[str, Any]) -> None:
    """Refuse an unknown verb, and arguments that are unknown, missing or out of range: BadRequest."""
    checks = ARGUMENTS.get(verb)
    if checks is None:
        raise BadRequest(f"no verb {verb!r:.80}; there are {', '.join(ARGUMENTS)}")
    for name, value in args.items():
        check = checks.get(name)
        if check is None:
            raise BadRequest(f"{verb} has no argument {name!r:.80}; it has {', '.join(checks) or 'none'}")
        check(name, value)
    required = REQUIRED.get(verb)
    if required is not None and not required <= args.keys():
        raise BadRequest(f"{verb} needs {', '.join(sorted(required - args.keys()))}")
    choices = ONE_OF.get(verb)
    if choices is not None and len(choices & args.keys()) != 1:
        raise BadRequest(f"{verb} needs exactly one of {', '.join(sorted(choices))}")
    if verb == "ready" and args["stop"] <= args["start"]:
        raise BadRequest(f"a range must hold a byte: start {args['start']}, stop {args['stop']}")
