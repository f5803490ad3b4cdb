"""Our judgement beside that of another cache, hishel's state machine without IO, for generated responses and times.

Where we differ on purpose, the case is left out by a filter of DIFFERENCES that says why; whatever no filter names must agree. A second
property needs only one filter: we are never laxer.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from types import SimpleNamespace
from unittest.mock import patch

import hishel
import pytest
from hypothesis import Phase, assume, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from p2pstore.cache import freshness
from p2pstore.cache.directives import cache_control
from p2pstore.cache.freshness import Answer, Policy, Stored, Wish, judge

T0 = 1_767_225_600
"""2026-01-01, when every response arrived."""
WEEK_S = 604_800
POLICY = Policy(heuristic_ratio=0.1, heuristic_max_s=WEEK_S, stale_if_error_s=1e9)
"""The figures that are fixed in the oracle, and no bound for stale copies."""


@dataclass(frozen=True)
class Case:
    """A stored response and the moment at which it is asked for; times are seconds after its arrival."""

    control: tuple[str, ...]
    date: int | str | None
    expires: int | str | None
    modified: int | str | None
    age: str | None
    vary: str | None
    delay_s: int
    now: float
    shared: bool
    refresh: bool

    @property
    def headers(self) -> dict[str, str]:
        fields = {
            "cache-control": ", ".join(self.control) or None,
            "date": _date(self.date),
            "expires": _date(self.expires),
            "last-modified": _date(self.modified),
            "age": self.age,
            "vary": self.vary,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def stored(self) -> Stored:
        return Stored(200, tuple(self.headers.items()), T0 - self.delay_s, T0)

    @property
    def guessed(self) -> bool:
        """Whether the lifetime is a guess, here or there."""
        directives = cache_control(self.stored.headers)
        explicit = directives.max_age_s is not None or (self.shared and directives.s_maxage_s is not None)
        unreadable = any(one.endswith("=x") for one in self.control)
        return self.expires is None and isinstance(self.modified, int) and (not explicit or unreadable)


def _date(value: int | str | None) -> str | None:
    return formatdate(T0 + value, usegmt=True) if isinstance(value, int) else value


def ours(case: Case) -> bool:
    """Whether it is used without asking the origin."""
    return (
        judge(case.stored, POLICY, Wish(refresh=case.refresh), T0 + case.now, shared=case.shared).answer
        is Answer.FRESH
    )


def oracle(case: Case, *, allow_stale: bool = False) -> bool:
    """The same from hishel, at the same moment."""
    options = hishel.CacheOptions(shared=case.shared, allow_stale=allow_stale)
    asked = hishel.Headers({"cache-control": "no-cache"} if case.refresh else {})
    entry = hishel.Entry(
        id=uuid.UUID(int=0),
        request=hishel.Request(method="GET", url="http://h/"),
        response=hishel.Response(status_code=200, headers=hishel.Headers(dict(case.headers))),
    )
    with frozen(T0 + case.now):
        state = hishel.IdleClient(options=options).next(hishel.Request("GET", "http://h/", asked), [entry])
    assert isinstance(state, (hishel.FromCache, hishel.NeedRevalidation))
    return isinstance(state, hishel.FromCache)


@contextmanager
def frozen(now: float) -> Iterator[None]:
    """hishel reads the clock itself; here it gets ours."""
    with patch("hishel._core._spec.time", SimpleNamespace(time=lambda: now)):
        yield


def upstream_age(case: Case) -> bool:
    """hishel counts neither Age nor the time that the request took; RFC 9111 4.2.3 wants both."""
    return case.age is not None or case.delay_s > 0


def no_date(case: Case) -> bool:
    """Without a Date that can be read hishel's age stays 0 for ever; RFC 9110 6.6.1 lets the time of arrival stand in for it."""
    return not isinstance(case.date, int)


def origin_clock_ahead(case: Case) -> bool:
    """hishel's age is 0 until our clock reaches a Date of the future; by RFC 9111 4.2.3 it grows from arrival on."""
    return isinstance(case.date, int) and case.date > 0


def own_clock_put_back(case: Case) -> bool:
    """When now is before the arrival hishel counts from Date; the age that a response came with is kept here."""
    return case.now < 0 and case.date != 0


def named_fields(case: Case) -> bool:
    """no-cache with field names is taken for the one without, as RFC 9111 5.2.2.4 allows; hishel only leaves the fields out."""
    return any(one.startswith("no-cache=") for one in case.control)


def unreadable_number(case: Case) -> bool:
    """A directive whose number can't be read means stale (RFC 9111 4.2.1); hishel acts as if it were not there."""
    return any(one.endswith("=x") for one in case.control)


def repeated_number(case: Case) -> bool:
    """Of several values the smallest counts here, RFC 9111 4.2.1 names the first or stale; hishel takes the last."""
    names = [one.partition("=")[0].lower() for one in case.control if "=" in one]
    return len(names) > len(set(names))


def no_store_after_all(case: Case) -> bool:
    """hishel looks at no-store when storing; an update may have brought it, so it is looked at here again."""
    return "no-store" in case.control


def growing_guess(case: Case) -> bool:
    """hishel guesses a tenth of the time from Last-Modified to now, in whole seconds, so that the lifetime grows while the copy ages.

    Here it is a tenth of the time to Date, fixed when the response came. Only cases where the two guesses fall on the same
    side of the age agree.
    """
    if not case.guessed or not isinstance(case.modified, int):
        return False
    made_at = case.date if isinstance(case.date, int) else 0
    mine = min(max(made_at - case.modified, 0) * 0.1, WEEK_S)
    theirs = min(int((case.now - case.modified) * 0.1), WEEK_S)
    ages = (freshness.age_s(case.stored, T0 + case.now), max(case.now - made_at, 0))
    return min(mine, theirs) - 1 <= max(ages) and min(ages) <= max(mine, theirs) + 1


DIFFERENCES: list[Callable[[Case], bool]] = [
    upstream_age,
    no_date,
    origin_clock_ahead,
    own_clock_put_back,
    named_fields,
    unreadable_number,
    repeated_number,
    no_store_after_all,
    growing_guess,
]

SPANS = st.sampled_from([0, 1, 5, 59, 60, 61, 3600, 86_400, WEEK_S, 10 * WEEK_S])
DIRECTIVES = st.one_of(
    st.sampled_from(
        [
            "no-cache",
            "must-revalidate",
            "proxy-revalidate",
            "public",
            "immutable",
            "stale-if-error=60",
            "no-transform",
        ]
    ),
    st.builds("{}={}".format, st.sampled_from(["max-age", "s-maxage"]), SPANS),
    st.builds('max-age="{}"'.format, SPANS),
    st.sampled_from(["max-age=x", "s-maxage=x", 'no-cache="set-cookie"', "no-store", "MAX-AGE=60"]),
)
AROUND = st.one_of(SPANS, SPANS.map(lambda span: -span), st.integers(-WEEK_S, WEEK_S))
CASES = st.builds(
    Case,
    control=st.lists(DIRECTIVES, max_size=3).map(tuple),
    date=st.one_of(st.just(0), st.just(0), st.sampled_from([-30, -3600, 30, None, "rubbish"])),
    expires=st.one_of(st.none(), AROUND, st.sampled_from(["0", "rubbish"])),
    modified=st.one_of(st.none(), AROUND, st.just("rubbish")),
    age=st.sampled_from([None, None, None, "0", "30", "30, 1", "-1"]),
    vary=st.sampled_from([None, None, "accept", "*"]),
    delay_s=st.sampled_from([0, 0, 0, 7]),
    now=st.one_of(
        AROUND,
        st.builds(lambda span, shift: span + shift, SPANS, st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])),
    ),
    shared=st.booleans(),
    refresh=st.sampled_from([False, False, False, True]),
)
PLAIN = CASES.map(lambda case: replace(case, date=0, age=None, delay_s=0))
"""Few of these are filtered out, so that the agreement is searched well."""

SEARCH = settings(max_examples=50_000, derandomize=True, database=None, phases=[Phase.generate])
"""For cases that must be there: many tries, the first find is enough."""


def agreeable(case: Case) -> bool:
    return not any(differs(case) for differs in DIFFERENCES)


@settings(max_examples=500)
@given(st.one_of(CASES, PLAIN))
def test_the_verdicts_agree_but_for_the_listed_differences(case: Case) -> None:
    assume(agreeable(case))
    assert ours(case) == oracle(case)


@settings(max_examples=500)
@given(CASES)
def test_never_laxer(case: Case) -> None:
    """The other differences make us ask the origin more often, not less."""
    assume(not growing_guess(case))
    assert oracle(case) or not ours(case)


@settings(max_examples=300)
@given(CASES)
def test_what_may_stand_in_for_a_silent_origin_may_do_so_there(case: Case) -> None:
    """hishel knows fewer reasons against stale copies, so this holds in one direction only."""
    assume(not case.refresh and case.vary != "*" and not growing_guess(case))
    found = judge(case.stored, POLICY, Wish(), T0 + case.now, shared=case.shared)
    assert found.stale_on_error_s == 0 or oracle(case, allow_stale=True)


@pytest.mark.parametrize("differs", DIFFERENCES, ids=lambda differs: differs.__name__)
def test_every_listed_difference_is_one(differs: Callable[[Case], bool]) -> None:
    """A filter that hides no disagreement has no place in the list."""
    others = [one for one in DIFFERENCES if one is not differs]

    def is_the_only_reason(case: Case) -> bool:
        return differs(case) and not any(one(case) for one in others) and ours(case) != oracle(case)

    assert differs.__doc__
    find(CASES, is_the_only_reason, settings=SEARCH)


PLANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "age forgotten": lambda patched: patched.setattr(freshness, "age_s", lambda stored, now: 0.0),
    "no-cache forgotten": lambda patched: patched.setattr(
        freshness, "_barred", lambda stored, directives: None
    ),
    "s-maxage for private copies": lambda patched: _plant_shared(patched),
}


def _plant_shared(patched: pytest.MonkeyPatch) -> None:
    right = freshness._lifetime
    patched.setattr(
        freshness,
        "_lifetime",
        lambda stored, policy, directives, shared: right(stored, policy, directives, True),
    )


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_fault_is_found(plant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def disagree(case: Case) -> bool:
        return agreeable(case) and ours(case) != oracle(case)

    with pytest.raises(NoSuchExample):
        find(PLAIN, disagree, settings=settings(SEARCH, max_examples=200))
    PLANTS[plant](monkeypatch)
    find(PLAIN, disagree, settings=SEARCH)
