"""Whether what a request brings may be shared on the node: only what anybody could have asked for. Pure.

It fails closed: a request is public only if nothing in it could have told the origin who asks. How the answer was
marked is judged elsewhere; both must say public.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

HARMLESS_HEADERS: Final = frozenset({"accept", "accept-encoding", "user-agent", "range"})
"""Request fields that leave a request public, in lower case; so do those that begin with HARMLESS_PREFIX."""
HARMLESS_PREFIX: Final = "if-"


@dataclass(frozen=True, slots=True)
class Asked:
    """How a request is classed.

    `credential` is a canonical text of everything that spoke for the asker, empty when nothing did. It is secret: keep
    its hash only.
    """

    private: bool
    credential: str = field(default="", repr=False)
    why: str = ""
    """For people: what made it private, without any value."""


def classify_request(
    headers: Iterable[tuple[str, str]],
    *,
    userinfo: tuple[str, str] | None = None,
    signer: str | None = None,
    signer_credential: str = "",
    host_is_private: bool = False,
) -> Asked:
    """Class a request by its fields and its URL; `host_is_private` is the operator's word on hosts that admit by address.

    The same credential gives the same text however it came: user information of the URL is the Basic credential that it
    is sent as (RFC 7617), and the order of fields does not count.
    """
    spoken: set[tuple[str, str]] = set()
    reasons: list[str] = []
    for name, value in headers:
        lower = name.strip().lower()
        if lower not in HARMLESS_HEADERS and not lower.startswith(HARMLESS_PREFIX):
            spoken.add((lower, _canonical_value(lower, value)))
            reasons.append(f"the request carries {lower}")
    if userinfo is not None:
        pair = b64encode(f"{userinfo[0]}:{userinfo[1]}".encode()).decode("ascii")
        spoken.add(("authorization", f"basic {pair}"))
        reasons.append("the URL carries user information")
    if signer is not None:
        spoken.add((f"signed {signer}", signer_credential))
        reasons.append(f"the URL is signed ({signer})")
    if host_is_private:
        reasons.append("the host is listed in [origin] private_hosts")
    return Asked(bool(reasons), _text_of(spoken), "; ".join(dict.fromkeys(reasons)))


def _canonical_value(name: str, value: str) -> str:
    value = value.strip()
    if name not in ("authorization", "proxy-authorization"):
        return value
    # RFC 9110 11.1: the scheme's case does not count, the credential's does.
    scheme, _, rest = value.partition(" ")
    return f"{scheme.lower()} {rest.strip()}".rstrip()


def _text_of(spoken: set[tuple[str, str]]) -> str:
    """Pairs in one text that no other pairs share: every part is led by its length."""
    return "".join(f"{len(part)}:{part}" for pair in sorted(spoken) for part in pair)
