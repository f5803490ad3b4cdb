"""Cache-Control of a response (RFC 9111 5.2.2, RFC 5861 4, RFC 8246 2). Pure.

Read so that a fault makes the response less cacheable, never more: of duplicates the stricter counts, a number that can't be read is
zero, and a directive with field names (`no-cache="set-cookie"`) counts as the one without, as RFC 9111 5.2.2.4 and 5.2.2.7 allow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from p2pstore.cache.fields import Headers, delta_s, values_of

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# An unclosed quote ends at the next comma, lest it hide a stricter directive behind it.
_DIRECTIVE: Final = re.compile(rf'({_TOKEN})(?:[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^,;\s]*)))?')
_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_CACHED_HEADERS: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Directives:
    """What a response's Cache-Control says; None means not said."""

    no_store: bool = False
    """Also false when must-understand stands beside it: every status that is stored is understood (RFC 9111 5.2.2.3)."""
    no_cache: bool = False
    private: bool = False
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    immutable: bool = False
    max_age_s: int | None = None
    s_maxage_s: int | None = None
    stale_if_error_s: int | None = None


def cache_control(headers: Headers) -> Directives:
    """The directives of a response; unknown ones are ignored (RFC 9111 5.2.3)."""
    return _parsed(",".join(values_of(headers, "cache-control")))


@lru_cache(maxsize=_CACHED_HEADERS)
def _parsed(text: str) -> Directives:
    found: dict[str, list[str | None]] = {}
    for match in _DIRECTIVE.finditer(text):
        name, quoted, plain = match.groups()
        value = _QUOTED_PAIR.sub(r"\1", quoted) if quoted is not None else plain
        found.setdefault(name.lower(), []).append(value)
    return Directives(
        no_store="no-store" in found and "must-understand" not in found,
        no_cache="no-cache" in found,
        private="private" in found,
        public="public" in found,
        must_revalidate="must-revalidate" in found,
        proxy_revalidate="proxy-revalidate" in found,
        immutable="immutable" in found,
        max_age_s=_strictest(found.get("max-age")),
        s_maxage_s=_strictest(found.get("s-maxage")),
        stale_if_error_s=_strictest(found.get("stale-if-error")),
    )


def _strictest(values: list[str | None] | None) -> int | None:
    """RFC 9111 4.2.1: of several values the most restrictive; one that is no number of seconds means stale."""
    return None if values is None else min(delta_s(value or "") or 0 for value in values)
