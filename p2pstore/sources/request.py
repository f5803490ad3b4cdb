"""The fields of a request, and who may see them: what a caller added goes to its own URL's origin and nowhere else. No IO."""

from __future__ import annotations

import base64
import re
from typing import Final, TypeAlias

from p2pstore.errors import BadRequest
from p2pstore.sources.base import Ask
from p2pstore.sources.targets import Target
from p2pstore.trust.gate import credential_goes_to

Fields: TypeAlias = list[tuple[str, str]]

OURS: Final = frozenset(
    (
        "connection content-length expect host http2-settings if-match if-modified-since if-none-match if-range"
        " if-unmodified-since keep-alive proxy-authorization proxy-connection range te trailer transfer-encoding upgrade"
    ).split()
)
"""Fields that a caller may not set: they are the connection's, or what resuming and freshness rest on."""
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*\Z")


def check_headers(headers: tuple[tuple[str, str], ...]) -> None:
    """Refuse fields that would break the request or our own use of it; raises BadRequest."""
    for name, value in headers:
        if not _NAME.match(name) or not _VALUE.match(value):
            raise BadRequest(f"the header {name[:80]!r} has characters that a header can't have")
        if name.lower() in OURS:
            raise BadRequest(f"the header {name!r} is set by p2pstore itself", hint="leave it out")


def fields_for(ask: Ask, asked: Target, target: Target, user_agent: str) -> Fields:
    """The fields for one hop, without Host and Range; `asked` is the target of `ask.url`, `target` where this hop goes.

    A caller's own Authorization wins over bearer, which wins over userinfo.
    """
    fields: Fields = []
    named: set[str] = set()
    if target is asked or credential_goes_to(asked.origin, target.origin):
        fields.extend(ask.headers)
        named = {name.lower() for name, _ in ask.headers}
        if "authorization" not in named and (value := _authorization(ask)):
            fields.append(("Authorization", value))
    if "user-agent" not in named:
        fields.append(("User-Agent", user_agent))
    if "accept" not in named:
        fields.append(("Accept", "*/*"))
    if "accept-encoding" not in named:
        fields.append(("Accept-Encoding", "identity"))
    return fields


def wire(target: Target, fields: Fields) -> bytes:
    """The request as it goes over a plain connection, without the empty line that ends it."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
    return f"GET {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n{lines}".encode()


def _authorization(ask: Ask) -> str | None:
    if ask.bearer:
        return f"Bearer {ask.bearer}"
    if ask.userinfo is not None:
        return "Basic " + base64.b64encode(":".join(ask.userinfo).encode()).decode()
    return None
