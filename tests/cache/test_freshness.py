"""RFC 9111 rule by rule, RFC 5861 and RFC 8246 beside it, and clocks that jump."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.cache.freshness import (
    Answer,
    Judgement,
    Policy,
    Stored,
    Wish,
    age_s,
    judge,
    lifetime_s,
    response_is_private,
    storable,
    vary_key,
    vary_names,
)

T0 = 1_767_225_600.0
"""2026-01-01."""
DAY_S = 86400.0
POLICY = Policy(heuristic_ratio=0.1, heuristic_max_s=DAY_S, stale_if_error_s=7 * DAY_S)


def at(offset_s: float = 0.0) -> str:
    return formatdate(T0 + offset_s, usegmt=True)


def stored(*headers: tuple[str, str], delay_s: float = 0.0) -> Stored:
    """A response that came at T0, `delay_s` after it was asked for."""
    return Stored(200, headers, T0 - delay_s, T0)


def controlled(line: str) -> Stored:
    return stored(("cache-control", line), ("date", at()))


def judged(response: Stored, after_s: float, *, shared: bool = True, **wish: float) -> Judgement:
    return judge(response, POLICY, Wish(**wish), T0 + after_s, shared=shared)  # type: ignore[arg-type]


# 4.2.3
@pytest.mark.parametrize(
    ("headers", "delay_s", "after_s", "age"),
    [
        ([], 0, 0, 0),
        ([], 0, 50, 50),
        ([], 3, 50, 53),
        ([("date", at(-10))], 0, 50, 60),
        ([("date", at(10))], 0, 50, 50),
        ([("date", "rubbish")], 0, 50, 50),
        ([("age", "7")], 0, 50, 57),
        ([("age", "7")], 3, 50, 60),
        ([("age", "7"), ("date", at(-10))], 0, 50, 60),
        ([("age", "20"), ("date", at(-10))], 0, 50, 70),
        # 5.1: the first of several, and none when that one is invalid
        ([("age", "7, 900")], 0, 50, 57),
        ([("age", "7"), ("age", "900")], 0, 50, 57),
        ([("age", "-7")], 0, 50, 50),
        ([("age", "x, 7")], 0, 50, 50),
        ([("age", "")], 0, 50, 50),
        ([("age", "9" * 40)], 0, 0, 1 << 31),
    ],
)
def test_age(headers: list[tuple[str, str]], delay_s: float, after_s: float, age: float) -> None:
    assert age_s(stored(*headers, delay_s=delay_s), T0 + after_s) == age


# 4.2.1
@pytest.mark.parametrize(
    ("headers", "shared", "private"),
    [
        ([], 0, 0),
        ([("cache-control", "max-age=60")], 60, 60),
        ([("cache-control", "max-age=60, s-maxage=5")], 5, 60),
        ([("cache-control", "s-maxage=5")], 5, 0),
        ([("cache-control", "max-age=60"), ("expires", at(500))], 60, 60),
        ([("cache-control", "max-age=x"), ("expires", at(500))], 0, 0),
        ([("expires", at(500)), ("date", at())], 500, 500),
        ([("expires", at(500)), ("date", at(-100))], 600, 600),
        ([("expires", at(500))], 500, 500),
        ([("expires", at(-500)), ("date", at())], 0, 0),
        # 5.3: not a date means expired, also beside one that is
        ([("expires", "0"), ("date", at())], 0, 0),
        ([("expires", "-1"), ("last-modified", at(-5000))], 0, 0),
        ([("expires", at(500)), ("expires", "0")], 0, 0),
        ([("expires", at(500)), ("expires", at(100))], 100, 100),
        # 4.2.2: only without an explicit lifetime
        ([("last-modified", at(-5000)), ("date", at())], 500, 500),
        ([("last-modified", at(-5000))], 500, 500),
        ([("last-modified", at(-5000)), ("cache-control", "max-age=60")], 60, 60),
        ([("last-modified", at(-5000)), ("cache-control", "public")], 500, 500),
        ([("last-modified", at(-5000 * DAY_S)), ("date", at())], DAY_S, DAY_S),
        ([("last-modified", at(500)), ("date", at())], 0, 0),
        ([("last-modified", "rubbish")], 0, 0),
    ],
)
def test_lifetime(headers: list[tuple[str, str]], shared: float, private: float) -> None:
    assert lifetime_s(stored(*headers), POLICY, True) == pytest.approx(shared)
    assert lifetime_s(stored(*headers), POLICY, False) == pytest.approx(private)


# 4.2: fresh while the lifetime is greater than the age
@pytest.mark.parametrize(
    ("line", "after_s", "answer"),
    [
        ("max-age=60", 0, Answer.FRESH),
        ("max-age=60", 59.9, Answer.FRESH),
        ("max-age=60", 60, Answer.REVALIDATE),
        ("max-age=0", 0, Answer.REVALIDATE),
        ("max-age=60, must-revalidate", 59, Answer.FRESH),
        ("max-age=60, no-cache", 0, Answer.REVALIDATE),
        ('max-age=60, no-cache="x"', 0, Answer.REVALIDATE),
        ("max-age=60, no-store", 0, Answer.REVALIDATE),
        ("max-age=60, private", 0, Answer.FRESH),
        ("immutable", 0, Answer.REVALIDATE),
    ],
)
def test_answer(line: str, after_s: float, answer: Answer) -> None:
    found = judged(controlled(line), after_s)
    assert found.answer is answer
    assert found.stale == (answer is Answer.REVALIDATE)
    assert "RFC 9111" in found.why


def test_vary_star_is_never_used_without_asking() -> None:
    found = judged(stored(("cache-control", "max-age=60"), ("vary", "accept-encoding"), ("vary", "*")), 0)
    assert (found.answer, found.stale, found.stale_on_error_s) == (Answer.REVALIDATE, True, 0)


# 5.2.1
def test_wish_refresh() -> None:
    found = judged(controlled("max-age=60, immutable"), 10, refresh=True)
    assert (found.answer, found.stale, found.why) == (
        Answer.REVALIDATE,
        False,
        "a refresh was asked for (RFC 9111 5.2.1.4)",
    )


@pytest.mark.parametrize(
    ("line", "max_age", "answer"),
    [
        ("max-age=60", 30, Answer.FRESH),
        ("max-age=60", 10, Answer.FRESH),
        ("max-age=60", 9.5, Answer.REVALIDATE),
        ("max-age=60", 0, Answer.REVALIDATE),
        ("max-age=5", 30, Answer.REVALIDATE),
        # RFC 8246 2: a plain reload does not revalidate what is fresh and immutable
        ("max-age=60, immutable", 0, Answer.FRESH),
        ("max-age=5, immutable", 0, Answer.REVALIDATE),
        ("max-age=60, immutable, no-cache", 0, Answer.REVALIDATE),
    ],
)
def test_wish_max_age(line: str, max_age: float, answer: Answer) -> None:
    found = judged(controlled(line), 10, max_age_s=max_age)
    assert found.answer is answer
    assert ("8246" in found.why) == (answer is Answer.FRESH and "immutable" in line)


def test_a_max_age_wish_does_not_make_a_fresh_copy_stale() -> None:
    found = judged(controlled("max-age=60"), 10, max_age_s=0)
    assert not found.stale
    assert found.why == "older than the 0 s asked for (RFC 9111 5.2.1.1)"


@pytest.mark.parametrize(
    ("line", "after_s", "answer"),
    [
        ("max-age=60", 10, Answer.FRESH),
        ("max-age=60", 1e9, Answer.STALE_OFFLINE),
        ("no-cache, max-age=60", 10, Answer.STALE_OFFLINE),
        ("must-revalidate", 10, Answer.STALE_OFFLINE),
    ],
)
@pytest.mark.parametrize("refresh", [False, True])
def test_wish_offline_takes_what_is_there_and_says_so(
    line: str, after_s: float, answer: Answer, refresh: bool
) -> None:
    found = judged(controlled(line), after_s, offline=True, refresh=refresh, max_age_s=0)
    assert (found.answer, found.stale) == (answer, answer is Answer.STALE_OFFLINE)
    assert "5.2.1.7" in found.why


# 4.2.4, 5.2.2.2, 5.2.2.8, 5.2.2.10 and RFC 5861 4; the copy is 10 s past its lifetime of 60 s
@pytest.mark.parametrize(
    ("line", "shared_s", "private_s"),
    [
        ("max-age=60", 7 * DAY_S - 10, 7 * DAY_S - 10),
        ("max-age=60, stale-if-error=300", 290, 290),
        ("max-age=60, stale-if-error=5", 0, 0),
        ("max-age=60, stale-if-error=0", 0, 0),
        ("max-age=60, stale-if-error=x", 0, 0),
        ("max-age=60, stale-if-error=99999999", 99999989, 99999989),
        ("max-age=60, must-revalidate", 0, 0),
        ("max-age=60, must-revalidate, stale-if-error=300", 0, 0),
        ("max-age=60, no-cache, stale-if-error=300", 0, 0),
        ("max-age=60, no-store", 0, 0),
        ("max-age=60, proxy-revalidate", 0, 7 * DAY_S - 10),
        ("max-age=60, s-maxage=60", 0, 7 * DAY_S - 10),
        ("max-age=60, s-maxage=60, stale-if-error=300", 0, 290),
    ],
)
def test_stale_on_error(line: str, shared_s: float, private_s: float) -> None:
    assert judged(controlled(line), 70).stale_on_error_s == shared_s
    assert judged(controlled(line), 70, shared=False).stale_on_error_s == private_s


def test_a_fresh_copy_may_stand_in_even_when_it_must_be_revalidated_later() -> None:
    found = judged(controlled("max-age=60, must-revalidate"), 10, refresh=True)
    assert (found.answer, found.stale_on_error_s) == (Answer.REVALIDATE, 50)


def test_the_operator_may_forbid_stale_copies() -> None:
    strict = Policy(0.1, DAY_S, 0.0)
    assert judge(controlled("max-age=60"), strict, Wish(), T0 + 70).stale_on_error_s == 0


# D12
@pytest.mark.parametrize("jump_s", [-DAY_S, DAY_S, -10 * 365 * DAY_S, -T0])
def test_a_clock_that_jumps_makes_no_age_negative(jump_s: float) -> None:
    response = controlled("max-age=172800")
    found = judged(response, jump_s)
    assert found.age_s == max(jump_s, 0)
    assert found.answer is Answer.FRESH


def test_a_clock_put_back_during_the_request_makes_nothing_younger() -> None:
    assert age_s(Stored(200, (("age", "5"),), T0 + DAY_S, T0), T0 + 1) == 6


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["cache-control", "date", "age", "expires", "last-modified", "vary"]),
            st.one_of(
                st.text(max_size=20),
                st.sampled_from(["max-age=5", "no-cache", "9" * 400, at(), at(-5e8), at(3e9), "0", "*"]),
            ),
        )
    ),
    *[st.floats(-1e12, 1e12)] * 3,
    st.booleans(),
)
def test_any_response_gets_a_sound_judgement(
    headers: list[tuple[str, str]], request_at: float, response_at: float, now: float, shared: bool
) -> None:
    response = Stored(200, tuple(headers), request_at, response_at)
    found = judge(response, POLICY, Wish(), now, shared=shared)
    assert found.age_s >= 0 and found.lifetime_s >= 0 and found.stale_on_error_s >= 0
    assert found.stale == (found.answer is Answer.REVALIDATE)
    assert found.stale or found.age_s < found.lifetime_s
    later = judge(response, POLICY, Wish(), now + 1000, shared=shared)
    assert later.age_s >= found.age_s
    assert later.stale >= found.stale
    offline = judge(response, POLICY, Wish(offline=True), now, shared=shared)
    assert offline.answer is not Answer.REVALIDATE and offline.stale == found.stale


# 3
@pytest.mark.parametrize(
    ("status", "headers", "shared", "private"),
    [
        (200, [], True, True),
        (200, [("cache-control", "no-store")], False, False),
        (200, [("cache-control", "no-store, must-understand")], True, True),
        (200, [("cache-control", "private")], False, True),
        (203, [], False, False),
        (204, [], False, False),
        (304, [], False, False),
        (404, [("cache-control", "max-age=60")], False, False),
        (206, [("content-range", "bytes 0-9/10")], True, True),
        (206, [("content-range", "Bytes 3-9/100")], True, True),
        (206, [("content-range", "bytes 3-9/*")], False, False),
        (206, [("content-range", "bytes 0-9/10"), ("content-range", "bytes 3-9/10")], False, False),
        (206, [("content-type", "multipart/byteranges")], False, False),
        (206, [("content-range", "bytes 0-9/10"), ("cache-control", "no-store")], False, False),
    ],
)
def test_storable(status: int, headers: list[tuple[str, str]], shared: bool, private: bool) -> None:
    for for_all, expected in ((True, shared), (False, private)):
        found, why = storable(status, headers, shared=for_all)
        assert found is expected
        assert "RFC 9111" in why


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ([], None),
        ([("cache-control", "public, max-age=5")], None),
        ([("vary", "Accept-Encoding")], None),
        ([("vary", "")], None),
        ([("cache-control", "private")], "Cache-Control: private (RFC 9111 5.2.2.7)"),
        ([("cache-control", 'private="x"')], "Cache-Control: private (RFC 9111 5.2.2.7)"),
        ([("cache-control", "no-store")], "Cache-Control: no-store (RFC 9111 5.2.2.5)"),
        ([("set-cookie", "a=b")], "Set-Cookie (RFC 9111 7.3)"),
        ([("vary", "Accept-Encoding, Cookie"), ("vary", "Accept")], "Vary: accept, cookie (RFC 9111 4.1)"),
        ([("vary", "*")], "Vary: * (RFC 9111 4.1)"),
    ],
)
def test_private_responses(headers: list[tuple[str, str]], why: str | None) -> None:
    assert response_is_private(headers) == why


# 4.1
def test_vary_names() -> None:
    assert vary_names([]) == ()
    assert vary_names([("vary", " B , a"), ("vary", "A,,c")]) == ("a", "b", "c")
    assert vary_names([("vary", "a"), ("vary", "b, *")]) == ("*",)


def test_vary_key() -> None:
    vary = [("vary", "Accept, X-A, Missing")]
    key = vary_key(vary, [("ACCEPT", "a ,b"), ("x-other", "1"), ("accept", " c"), ("x-a", '"q,  r"')])
    assert key == (("accept", "a, b, c"), ("x-a", '"q,  r"'))
    assert vary_key(vary, [("accept", "a,b,c"), ("X-A", ' "q,  r" ')]) == key
    assert vary_key(vary, [("accept", "a,b"), ("x-a", '"q,  r"')]) != key
    assert vary_key(vary, []) == ()
    assert vary_key(vary, [("x-a", "")]) == (("x-a", ""),)
    assert vary_key([("vary", "*")], [("accept", "a")]) == (("*", ""),)
    assert vary_key([], [("accept", "a")]) == ()
