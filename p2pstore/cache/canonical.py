"""A URL's one spelling, and its harmless form for logs. Pure.

Two URLs have one spelling when RFC 3986 calls them equivalent. Whatever can't be read in exactly one way is refused with BadUrl.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from p2pstore.cache import signers, uri
from p2pstore.errors import BadUrl

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "file": 0}
"""The schemes that are served, and their ports (RFC 9110 4.2); a file has none."""
MAX_URL_CHARS: Final = 8192
"""A longer URL is refused, before and after normalisation (RFC 9110 4.1 asks recipients for at least 8000)."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class CanonicalUrl:
    """A URL in its one spelling, and apart from it what the spelling leaves out."""

    text: str
    """The identity: no fragment, no user information, no signature parameters. Safe to show."""
    fetch: str
    """What the origin is asked for: as `text`, with the whole query; a secret when `signer` is set."""
    userinfo: tuple[str, str] | None
    """User name and password, decoded; None when there are none."""
    signer: str | None
    """`s3`, `gcs`, `azure`, `cloudfront`, `hf`, `token` for a secret of no known scheme, or None."""
    credential: str
    """Whom the signature stands for, else the signature itself; empty when unsigned. Never shown, only hashed."""
    scheme: str
    host: str
    """In its one spelling; an IPv6 address without brackets; empty for a file."""
    port: int
    notes: tuple[str, ...] = ()
    """What was normalised, for `explain`."""


def canonical(url: str, ignore_query: tuple[str, ...] = ()) -> CanonicalUrl:
    """Bring a URL into its one spelling (RFC 3986 6.2.2, 6.2.3; RFC 5891); white space around it is not part of it.

    `ignore_query` names query parameters that are sent but make no difference to what comes back. Raises BadUrl.
    """
    try:
        return _canonical(url.strip(" \t\r\n"), frozenset(ignore_query))
    except ValueError as error:
        reason = "it holds characters that are not text" if isinstance(error, UnicodeError) else str(error)
        shown = redact(url)
        hint = "write it as https://HOST/PATH, with other characters as percent escapes"
        raise BadUrl(f"can't read the URL {shown!r}: {reason}", hint=hint, url=shown) from None


def redact(url: str) -> str:
    """The URL for logs and messages: without user information, fragment and secret values. Takes any text; never raises.

    At most 8192 characters; control characters and unpaired surrogates are escaped.
    """
    text = _CONTROL.sub(lambda found: f"%{ord(found[0]):02X}", url.strip(" \t\r\n")[:MAX_URL_CHARS])
    text = _without_userinfo(text.encode("utf-8", "backslashreplace").decode("utf-8"))
    place, mark, query = text.partition("#")[0].partition("?")
    if not mark:
        return place
    pieces = signers.parameters(query)
    secrets = signers.recognise(_host_in(place), pieces).names
    return place + "?" + "&".join(_masked(one) if one.name in secrets else one.text for one in pieces)


def _masked(one: signers.Parameter) -> str:
    return one.text.partition("=")[0] + "=..."


def _canonical(url: str, ignored: frozenset[str]) -> CanonicalUrl:
    if len(url) > MAX_URL_CHARS:
        raise ValueError(f"it has more than {MAX_URL_CHARS} characters")
    if _CONTROL.search(url) or " " in url:
        raise ValueError("a space or control character")
    parts = uri.split(url)
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"the scheme {parts.scheme!r} is not served, only http, https and file")
    if parts.scheme == "file":
        return _canonical_file(url, parts)
    if parts.authority is None:
        raise ValueError("it names no host")
    raw_userinfo, raw_host, raw_port = uri.split_authority(parts.authority)
    host = uri.normal_host(raw_host)
    port = uri.normal_port(raw_port, DEFAULT_PORTS[parts.scheme])
    place = f"{parts.scheme}://{host}" + ("" if port == DEFAULT_PORTS[parts.scheme] else f":{port}")
    query = _Query.read(host, parts.query, ignored)
    path = uri.normal_path(parts.path)
    text, fetch = place + path + query.identity, place + path + query.sent
    if max(len(text), len(fetch)) > MAX_URL_CHARS:
        raise ValueError(f"it has more than {MAX_URL_CHARS} characters once it is percent-encoded")
    place_notes = [f"host written as {host}"] if raw_host != host else []
    if raw_port and not place.endswith(f":{raw_port}"):
        place_notes.append("port written as a plain number, and not at all when it is the default")
    return CanonicalUrl(
        text,
        fetch,
        _userinfo(raw_userinfo),
        query.signature.signer,
        query.signature.credential,
        parts.scheme,
        host.strip("[]"),
        port,
        (*_notes(url, parts, path), *place_notes, *query.notes),
    )


@dataclass(frozen=True, slots=True)
class _Query:
    """A query's two forms, each with its `?` or empty."""

    identity: str
    sent: str
    signature: signers.Signature
    notes: tuple[str, ...]

    @classmethod
    def read(cls, host: str, query: str | None, ignored: frozenset[str]) -> _Query:
        if query is None:
            return cls("", "", signers.Signature(None, "", frozenset()), ())
        pieces = signers.parameters(query)
        signature = signers.recognise(host, pieces)
        kept = [one for one in pieces if one.name not in signature.names and not _is_ignored(one, ignored)]
        identity = uri.normal_query("&".join(one.text for one in kept))
        sent = "?" + (uri.sendable_query(query) if signature.signer else uri.normal_query(query))
        notes = []
        if signature.signer:
            left_out = ", ".join(sorted(signature.names))
            notes.append(f"signature parameters ({signature.signer}) left out: {left_out}")
        if dropped := sorted({one.name for one in pieces if _is_ignored(one, ignored)}):
            notes.append(f"query parameters ignored as configured: {', '.join(dropped)}")
        if identity != "&".join(one.text for one in kept):
            notes.append("percent-encoding of the query normalised")
        everything_left_out = not identity and len(kept) < len(pieces)
        return cls("" if everything_left_out else "?" + identity, sent, signature, tuple(notes))


def _is_ignored(one: signers.Parameter, ignored: frozenset[str]) -> bool:
    return unquote(one.text.partition("=")[0]) in ignored


def _canonical_file(url: str, parts: uri.Parts) -> CanonicalUrl:
    """RFC 8089: no host or localhost, an absolute path, and nothing after it."""
    if (parts.authority or "").lower() not in ("", "localhost"):
        raise ValueError("a file URL names no other host")
    if not parts.path.startswith("/"):
        raise ValueError("a file URL has an absolute path")
    if parts.query is not None:
        raise ValueError("a file URL has no query; write a ? in a file name as %3F")
    path = uri.normal_path(parts.path)
    if "%00" in path:
        raise ValueError("no file name has a zero byte")
    if len(path) > MAX_URL_CHARS - len("file://"):
        raise ValueError(f"it has more than {MAX_URL_CHARS} characters once it is percent-encoded")
    notes = _notes(url, parts, path)
    return CanonicalUrl(f"file://{path}", f"file://{path}", None, None, "", "file", "", 0, notes)


def _userinfo(raw: str | None) -> tuple[str, str] | None:
    if raw is None or raw in ("", ":"):
        return None
    user, _, password = raw.partition(":")
    pair = uri.decoded(user), uri.decoded(password)
    if any(_CONTROL.search(one) for one in pair):
        raise ValueError("a control character in the user name or password")
    return pair


def _notes(url: str, parts: uri.Parts, path: str) -> tuple[str, ...]:
    found = []
    if not url.startswith(parts.scheme):
        found.append("scheme in lower case")
    if "@" in (parts.authority or ""):
        found.append("user information left out")
    if path != parts.path:
        found.append("path normalised: percent-encoding, dot segments or the empty path")
    if parts.fragment is not None:
        found.append("fragment left out")
    return tuple(found)


def _without_userinfo(text: str) -> str:
    """Cut what may be a user name and password, also where the URL is too broken to be read."""
    start = re.match(r"(?:[A-Za-z][A-Za-z0-9+.\-]*:)?[/\\]+", text)
    head, rest = (text[: start.end()], text[start.end() :]) if start else ("", text)
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if "@" in authority:
        return head + rest[authority.rfind("@") + 1 :]
    host, colon, port = authority.rpartition(":")
    if colon and "@" in rest and not host.startswith("[") and not port.isdigit():
        # A password with an unescaped slash or question mark: better to show too little.
        return head + rest[rest.rfind("@") + 1 :]
    return text


def _host_in(place: str) -> str:
    return re.split(r"[:/]", place.partition("://")[2], maxsplit=1)[0].lower()
