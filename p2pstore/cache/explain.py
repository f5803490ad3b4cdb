"""Why two URLs are one key or not, in words for people. Pure."""

from __future__ import annotations

from p2pstore.cache import signers
from p2pstore.cache.canonical import CanonicalUrl, canonical
from p2pstore.cache.uri import split


def explain(one: str, other: str) -> list[str]:
    """The lines that say why two URLs are one key or not, the verdict first; no secret is in them. Raises BadUrl."""
    first, second = canonical(one), canonical(other)
    reasons = [*_differences(first, second), *_credentials(first, second)]
    verdict = f"one key: {first.text}" if not reasons else "two keys:"
    lines = [verdict, *reasons]
    for name, url in (("first", first), ("second", second)):
        if reasons:
            lines.append(f"{name}: {url.text}")
        lines.extend(f"{name}: {note}" for note in url.notes)
        if url.signer or url.userinfo:
            lines.append(f"{name}: private to the user who asks, because it carries a credential")
    return lines


def _differences(first: CanonicalUrl, second: CanonicalUrl) -> list[str]:
    if first.text == second.text:
        return []
    left, right = split(first.text), split(second.text)
    lines = []
    for what, one, other in (
        ("scheme", first.scheme, second.scheme),
        ("host", first.host, second.host),
        ("port", first.port, second.port),
        ("path", left.path, right.path),
    ):
        if one != other:
            lines.append(f"{what}: {one} is not {other}")
    if left.query != right.query:
        lines.append(_query_difference(left.query, right.query))
    return lines


def _query_difference(one: str | None, other: str | None) -> str:
    if one is None or other is None:
        return f"query: only the {'second' if one is None else 'first'} has one"
    mine = [part.text for part in signers.parameters(one)]
    theirs = [part.text for part in signers.parameters(other)]
    if sorted(mine) == sorted(theirs):
        return "query: the same parameters in another order, which an origin may tell apart"
    changed = sorted(set(mine) ^ set(theirs))
    return f"query: differs in {', '.join(changed) or 'how often a parameter is repeated'}"


def _credentials(first: CanonicalUrl, second: CanonicalUrl) -> list[str]:
    """What a user's private copies are kept apart by, beyond the URL."""
    lines = []
    if first.userinfo != second.userinfo:
        lines.append("credentials: the user names or passwords in the URLs differ")
    if (first.signer, first.credential) != (second.signer, second.credential):
        lines.append("credentials: the URLs are not signed by the same signer")
    return lines
