"""May a stored response be used now? RFC 9111, and RFC 5861 and RFC 8246 beside it. Pure: `now` is the wall clock, given by the caller.

Where the RFC leaves a choice or a response breaks it, the answer is the one that asks the origin again. The wall clock may jump: ages
are never negative, and nothing here waits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from p2pstore.cache.directives import Directives, cache_control
from p2pstore.cache.fields import Headers, date_of, delta_s, http_date, members, values_of
from p2pstore.cache.validators import (
    Stored,
    conditional,
    refreshed,
    retry_after_s,
    same_representation,
    strong_validator,
)

__all__ = [
    "Answer",
    "Judgement",
    "Policy",
    "Stored",
    "Wish",
    "age_s",
    "conditional",
    "judge",
    "lifetime_s",
    "refreshed",
    "response_is_private",
    "retry_after_s",
    "same_representation",
    "storable",
    "strong_validator",
    "vary_key",
    "vary_names",
]

_ONE_RANGE: Final = re.compile(r"bytes [0-9]{1,19}-[0-9]{1,19}/[0-9]{1,19}\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the RFC leaves to the cache; see the table `[freshness]` of the configuration."""

    heuristic_ratio: float
    heuristic_max_s: float
    stale_if_error_s: float
    """How long past its lifetime a copy may stand in for an origin that can't be reached; a response's own word goes before."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller wants, as request directives would say it (RFC 9111 5.2.1)."""

    refresh: bool = False
    """Ask the origin in any case (no-cache)."""
    offline: bool = False
    """Never ask the origin, take what is there at any age (only-if-cached with max-stale); goes before `refresh`."""
    max_age_s: float | None = None
    """Ask the origin when the copy is older than this (max-age)."""


class Answer(StrEnum):
    """What to do with a stored response."""

    FRESH = "fresh"
    """Use it."""
    REVALIDATE = "revalidate"
    """Ask the origin first; `stale_on_error_s` says whether it may be used when there is no answer."""
    STALE_OFFLINE = "stale-offline"
    """Use it, because the caller wants no origin asked, and say that it is stale."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer and what it rests on."""

    answer: Answer
    age_s: float
    lifetime_s: float
    stale: bool
    """Past its lifetime, or of a kind that may not be used without asking."""
    stale_on_error_s: float
    """For how much longer it may be used when the origin can't be reached; 0 = not at all."""
    why: str
    """One line with the section that decided."""


def judge(stored: Stored, policy: Policy, wish: Wish, now: float, *, shared: bool = True) -> Judgement:
    """Decide whether a stored response may be used (RFC 9111 4). `shared` is false for one user's private copies."""
    directives = cache_control(stored.headers)
    age = age_s(stored, now)
    lifetime, source = _lifetime(stored, policy, directives, shared)
    barred = _barred(stored, directives)
    stale = barred is not None or age >= lifetime
    reusable_s = _reusable_s(directives, policy, shared)
    on_error = 0.0 if barred else max(lifetime + reusable_s - age, 0.0)
    times = f"age {age:.0f} s, lifetime {lifetime:.0f} s from {source}"
    if wish.offline:
        answer = Answer.STALE_OFFLINE if stale else Answer.FRESH
        why = f"{times}; the origin is not to be asked (RFC 9111 5.2.1.7)"
    elif wish.refresh:
        answer, why = Answer.REVALIDATE, "a refresh was asked for (RFC 9111 5.2.1.4)"
    elif barred is not None:
        answer, why = Answer.REVALIDATE, barred
    elif stale:
        answer, why = Answer.REVALIDATE, f"stale: {times} (RFC 9111 4.2)"
    elif wish.max_age_s is not None and age > wish.max_age_s and not directives.immutable:
        answer, why = Answer.REVALIDATE, f"older than the {wish.max_age_s:g} s asked for (RFC 9111 5.2.1.1)"
    else:
        answer, why = Answer.FRESH, _why_fresh(directives, times, wish)
    return Judgement(answer, age, lifetime, stale, on_error, why)


def age_s(stored: Stored, now: float) -> float:
    """Time since the origin made or confirmed the response (RFC 9111 4.2.3), never negative.

    Of several Age values the first counts (5.1). A missing Date is the time of arrival (RFC 9110 6.6.1). Each difference of our own
    clock is bounded from below by 0, so that a clock that was put back makes nothing younger than it came.
    """
    ages = values_of(stored.headers, "age")
    age_value = delta_s(ages[0].partition(",")[0].strip(" \t")) if ages else None
    date = date_of(stored.headers, "date", stored.response_at)
    apparent_s = max(stored.response_at - date, 0.0) if date is not None else 0.0
    response_delay_s = max(stored.response_at - stored.request_at, 0.0)
    corrected_s = (age_value or 0) + response_delay_s
    return max(apparent_s, corrected_s) + max(now - stored.response_at, 0.0)


def lifetime_s(stored: Stored, policy: Policy, shared: bool) -> float:
    """How long the response is fresh, counted in its age (RFC 9111 4.2.1, 4.2.2); 0 when it never was."""
    return _lifetime(stored, policy, cache_control(stored.headers), shared)[0]


def storable(status: int, headers: Headers, *, shared: bool) -> tuple[bool, str]:
    """Whether a response to GET may be stored, and why (RFC 9111 3). `shared`: for everybody on the node.

    One range of a file whose length is known may be stored too; it may be used only once the other ranges of the same version
    made it complete (RFC 9111 3.4).
    """
    fields = tuple(headers)
    directives = cache_control(fields)
    if directives.no_store:
        return False, "no-store (RFC 9111 5.2.2.5)"
    if shared and directives.private:
        return False, "private, and this copy would be for everybody (RFC 9111 5.2.2.7)"
    if status == 206:
        if _is_completable(fields):
            return True, "a part of a file of known length (RFC 9111 3.3)"
        return False, "parts that make no whole file (RFC 9111 3.3)"
    if status != 200:
        return False, f"status {status} holds no file (RFC 9111 3)"
    return True, "a complete file (RFC 9111 3)"


def response_is_private(headers: Headers) -> str | None:
    """Why a response must stay with the one who asked, or None when it is for everybody.

    RFC 9111 5.2.2.7 for `private`; the others stricter than the RFC: what a server marks as not to be kept, ties to a session or
    chooses by request fields is taken to be about the one who asked.
    """
    fields = tuple(headers)
    directives = cache_control(fields)
    if directives.private:
        return "Cache-Control: private (RFC 9111 5.2.2.7)"
    if directives.no_store:
        return "Cache-Control: no-store (RFC 9111 5.2.2.5)"
    if values_of(fields, "set-cookie"):
        return "Set-Cookie (RFC 9111 7.3)"
    beyond = [name for name in vary_names(fields) if name != "accept-encoding"]
    return f"Vary: {', '.join(beyond)} (RFC 9111 4.1)" if beyond else None


def vary_names(headers: Headers) -> tuple[str, ...]:
    """The request fields that chose the response, in lower case, sorted; `("*",)` when more than fields did (RFC 9110 12.5.5)."""
    names = frozenset(members(headers, "vary"))
    return ("*",) if "*" in names else tuple(sorted(names))


def vary_key(headers: Headers, request_headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The request fields that Vary names, with their values as sent (RFC 9111 4.1).

    Two requests match when this is equal for both: a field that was not sent has no pair, lines are joined, and white space around
    commas does not count. `*` matches nothing; `judge` never lets such a response be used without asking.
    """
    sent: dict[str, list[str]] = {}
    for name, value in request_headers:
        sent.setdefault(name.lower(), []).append(value)
    names = vary_names(headers)
    if names == ("*",):
        return (("*", ""),)
    return tuple((name, _normal_value(", ".join(sent[name]))) for name in names if name in sent)


def _normal_value(value: str) -> str:
    if '"' in value:
        return value.strip(" \t")
    return ", ".join(part.strip(" \t") for part in value.split(","))


def _lifetime(stored: Stored, policy: Policy, directives: Directives, shared: bool) -> tuple[float, str]:
    """RFC 9111 4.2.1 in its order of precedence, with the name of the source."""
    if shared and directives.s_maxage_s is not None:
        return float(directives.s_maxage_s), "s-maxage"
    if directives.max_age_s is not None:
        return float(directives.max_age_s), "max-age"
    date = date_of(stored.headers, "date", stored.response_at)
    made_at = stored.response_at if date is None else date
    expires = values_of(stored.headers, "expires")
    if expires:
        # 5.3: an invalid date, above all 0, is in the past; of several the earliest, as 4.2.1 says of conflicts.
        ends = [http_date(value, stored.response_at) for value in expires]
        return max(min(made_at if end is None else end for end in ends) - made_at, 0.0), "Expires"
    changed = date_of(stored.headers, "last-modified", stored.response_at)
    if changed is None:
        return 0.0, "nothing: no explicit lifetime and no Last-Modified"
    guess = min(max(made_at - changed, 0.0) * policy.heuristic_ratio, policy.heuristic_max_s)
    return guess, "the age of its Last-Modified (4.2.2)"


def _barred(stored: Stored, directives: Directives) -> str | None:
    """Why the response may not be used without asking, however fresh it is."""
    if directives.no_cache:
        return "Cache-Control: no-cache (RFC 9111 5.2.2.4)"
    if directives.no_store:
        return "Cache-Control: no-store came with an update (RFC 9111 5.2.2.5)"
    if vary_names(stored.headers) == ("*",):
        return "Vary: * matches no request (RFC 9111 4.1)"
    return None


def _reusable_s(directives: Directives, policy: Policy, shared: bool) -> float:
    """For how long past its lifetime it may stand in for an origin that can't be reached.

    RFC 9111 4.2.4 with 5.2.2.2, 5.2.2.8 and 5.2.2.10 forbids; else RFC 5861 4 goes before our own bound.
    """
    if directives.must_revalidate:
        return 0.0
    if shared and (directives.proxy_revalidate or directives.s_maxage_s is not None):
        return 0.0
    own = directives.stale_if_error_s
    return policy.stale_if_error_s if own is None else float(own)


def _why_fresh(directives: Directives, times: str, wish: Wish) -> str:
    if directives.immutable and wish.max_age_s is not None:
        return f"immutable: {times} (RFC 8246 2)"
    return f"fresh: {times} (RFC 9111 4.2)"


def _is_completable(headers: Headers) -> bool:
    values = values_of(headers, "content-range")
    return len(values) == 1 and _ONE_RANGE.match(values[0].strip(" \t")) is not None
