"""How a URL is spelt: RFC 3986 syntax and normalisation, host names and ports. Pure; ValueError says what is wrong.

Only spellings that RFC 3986 calls equivalent become one. What an origin may tell apart (order of the query, a trailing dot of
the host, doubled slashes) stays as it is.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

import idna

MAX_HOST_CHARS: Final = 253
"""Longest DNS name in text form (RFC 1035 3.1)."""
MAX_LABEL_CHARS: Final = 63
MAX_HOST_INPUT_CHARS: Final = 1024
"""A longer host is refused before IDNA looks at it."""

# RFC 3986 appendix B, with the characters of a scheme spelt out.
_PARTS: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.\-]*):(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?\Z", re.DOTALL
)
_UNRESERVED: Final = r"A-Za-z0-9\-._~"
# Square brackets are not allowed there by the RFC, but clients send them as they are, and they are no spelling of %5B.
_PATH_ODD: Final = re.compile(rf"%[0-9A-Fa-f]{{2}}|[^{_UNRESERVED}!$&'()*+,;=:@/\[\]]")
_QUERY_ODD: Final = re.compile(rf"%[0-9A-Fa-f]{{2}}|[^{_UNRESERVED}!$&'()*+,;=:@/\[\]?]")
_QUERY_UNSENDABLE: Final = re.compile(rf"%(?![0-9A-Fa-f]{{2}})|[^{_UNRESERVED}!$&'()*+,;=:@/\[\]?%]")
_IS_UNRESERVED: Final = re.compile(rf"[{_UNRESERVED}]\Z")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPES: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]*[a-z0-9_])?\Z")
_NUMBER: Final = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z")
_PORT: Final = re.compile(r"[0-9]*\Z")


class Parts(NamedTuple):
    """A URL taken apart, nothing changed but the scheme's case; None means that the part and its mark are not there."""

    scheme: str
    authority: str | None
    path: str
    query: str | None
    fragment: str | None


def split(url: str) -> Parts:
    """Take a URL apart (RFC 3986 3). Raises ValueError when it has no scheme."""
    found = _PARTS.match(url)
    if found is None:
        raise ValueError("it has no scheme")
    scheme, authority, path, query, fragment = found.groups()
    return Parts(scheme.lower(), authority, path, query, fragment)


def split_authority(authority: str) -> tuple[str | None, str, str]:
    """User information (None when there is no `@`), host and port as written (RFC 3986 3.2).

    Raises ValueError where two readers might see two hosts: a backslash, a second `@`, an unclosed bracket.
    """
    if "\\" in authority:
        raise ValueError("a backslash before the path")
    userinfo, at, place = authority.rpartition("@")
    if "@" in userinfo:
        raise ValueError("more than one @ before the path; write %40 inside a user name or password")
    if place.startswith("["):
        host, bracket, rest = place.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("a broken IPv6 address")
        return (userinfo if at else None), host + bracket, rest[1:]
    host, _, port = place.partition(":")
    return (userinfo if at else None), host, port


def normal_host(host: str) -> str:
    """The host in its one spelling: lower case, IDNA 2008 with UTS 46 mapping, IPv6 as RFC 5952 says.

    IPv4 is four decimal numbers; other notations of it (`0x7f.1`, `2130706433`) are refused, because resolvers read them
    in different ways. An ASCII name is taken as it is, also where IDNA would object: DNS does not mind underscores.
    """
    if len(host) > MAX_HOST_INPUT_CHARS:
        raise ValueError("the host is too long")
    if host.startswith("["):
        return f"[{_normal_ipv6(host[1:-1])}]"
    if _BAD_ESCAPE.search(host):
        raise ValueError("a broken percent escape in the host")
    name = decoded(host).lower()
    if not name:
        raise ValueError("it names no host")
    if not name.isascii():
        name = _to_ascii(name)
    return _checked_name(name)


def normal_port(port: str, default: int) -> int:
    """The port as a number; empty means the default (RFC 3986 6.2.3)."""
    digits = port.lstrip("0")
    if not _PORT.match(port) or len(digits) > 5 or (port and not 0 < int(digits or 0) < 65536):
        raise ValueError("the port is not a number from 1 to 65535")
    return int(digits) if digits else default


def normal_path(path: str) -> str:
    """Percent-encoding normalised, dot segments removed, never empty (RFC 3986 6.2.2.2, 6.2.2.3, 6.2.3)."""
    return without_dot_segments(_PATH_ODD.sub(_respell, path)) or "/"


def normal_query(query: str) -> str:
    """Percent-encoding normalised; order, duplicates and empty parameters stay (RFC 3986 6.2.2.2)."""
    return _QUERY_ODD.sub(_respell, query)


def sendable_query(query: str) -> str:
    """The query in its own spelling, apart from characters that can't stand in a request; signers may sign the spelling."""
    return _QUERY_UNSENDABLE.sub(_respell, query)


def without_dot_segments(path: str) -> str:
    """RFC 3986 5.2.4 for a path that begins with a slash or is empty."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "".join("/" + segment for segment in kept)


def decoded(text: str) -> str:
    """The text with its percent escapes decoded as UTF-8. Raises ValueError when they are not UTF-8; others stay."""
    return _ESCAPES.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8"), text)


def _respell(found: re.Match[str]) -> str:
    text = found[0]
    if len(text) == 3:
        character = chr(int(text[1:], 16))
        return character if _IS_UNRESERVED.match(character) else text.upper()
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8"))


def _to_ascii(name: str) -> str:
    try:
        return idna.encode(name, uts46=True).decode("ascii").lower()
    except idna.IDNAError as error:
        raise ValueError(f"not a host name by IDNA 2008: {error}") from None


def _checked_name(name: str) -> str:
    labels = name.removesuffix(".").split(".")
    if len(name.removesuffix(".")) > MAX_HOST_CHARS or any(len(label) > MAX_LABEL_CHARS for label in labels):
        raise ValueError("the host is too long")
    if _NUMBER.match(labels[-1]):
        return _normal_ipv4(name)
    if not all(_LABEL.match(label) for label in labels):
        raise ValueError("the host has characters that a host name can't have")
    return name


def _normal_ipv4(name: str) -> str:
    try:
        return str(ipaddress.IPv4Address(name))
    except ValueError:
        raise ValueError("an IPv4 address is four decimal numbers") from None


def _normal_ipv6(literal: str) -> str:
    try:
        address = ipaddress.IPv6Address(literal)
    except ValueError:
        raise ValueError("a broken IPv6 address") from None
    if address.scope_id is not None:
        raise ValueError("an IPv6 address with a zone means something on one machine only")
    # Python 3.13 changed how it writes mapped addresses; RFC 5952 5 recommends this form.
    return f"::ffff:{address.ipv4_mapped}" if address.ipv4_mapped else address.compressed
