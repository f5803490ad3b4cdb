"""Where a request goes: a URL taken apart once, and what a redirect makes of it. No IO.

A redirect's Location is used as the origin wrote it (signatures may cover every character of it); only bytes that no URL may
hold are percent-encoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote, urljoin

from p2pstore.cache.canonical import redact
from p2pstore.errors import BadUrl, GateRefused, OriginBroken
from p2pstore.sources.slots import Origin
from p2pstore.trust.gate import judge_url_scheme

MAX_URL_CHARS: Final = 8192
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}
_PLAIN: Final = re.compile(r"[\x21-\x7e]+\Z")
_URL: Final = re.compile(
    r"(https?)://(?:[^/?#\\]*@)?([^/?#@:\[\]\\]+|\[[0-9a-f:.]+\])(?::([0-9]{0,5}))?(/[^?#]*)?(\?[^#]*)?(?:#.*)?\Z",
    re.IGNORECASE,
)
"""RFC 3986 appendix B for these two schemes; a host that resolvers and people may read differently does not match."""
_KEPT: Final = "".join(chr(code) for code in range(0x21, 0x7F))


@dataclass(frozen=True, slots=True)
class Target:
    """One http or https URL: whom to connect to and what to ask for. Userinfo and fragment are left out."""

    origin: Origin
    netloc: str
    """For the Host field: the port only when it is not the scheme's own."""
    path: str
    """With the query."""

    @property
    def url(self) -> str:
        """The URL again."""
        return f"{self.origin[0]}://{self.netloc}{self.path}"

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take a URL apart; raises BadUrl."""
        if len(url) > MAX_URL_CHARS or not _PLAIN.match(url):
            raise BadUrl("the URL is too long or has characters that must be percent-encoded")
        parts = _URL.match(url)
        if parts is None:
            raise BadUrl("the URL is not http or https, or its host can't be read")
        scheme, host, digits, path, query = parts.groups("")
        scheme, host = scheme.lower(), host.lower()
        usual = _PORTS[scheme]
        port = int(digits or usual)
        if not 0 < port < 65536:
            raise BadUrl(f"the URL has port {port}")
        netloc = host if port == usual else f"{host}:{port}"
        return cls((scheme, host.strip("[]"), port), netloc, (path or "/") + query)

    def redirected(self, location: str) -> Target:
        """Where a Location (as received, latin-1) leads from here; raises GateRefused and OriginBroken."""
        plain = quote(location.strip().encode("latin-1", "replace"), safe=_KEPT)
        try:
            url = urljoin(self.url, plain)
            why = judge_url_scheme(url.partition(":")[0], self.origin[0])
            if why is not None:
                raise GateRefused(f"a redirect to {redact(url)}: {why}", hint="ask for that URL itself")
            return Target.parse(url)
        except (BadUrl, ValueError) as exc:
            raise OriginBroken(f"the redirect's Location can't be followed: {exc}") from exc
