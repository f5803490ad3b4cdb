"""Blame: liars are banned for a time, the honest never, and what is in doubt costs nobody anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.swarm import blame as blame_module
from p2pstore.swarm.blame import (
    BAN_S,
    MAX_DISPUTES,
    QUARANTINE_S,
    SHUN_S,
    STRIKE_WINDOW_S,
    Blame,
    Pins,
    Verdict,
)
from p2pstore.types import NodeId, Version

V, W, X = (Version(letter * 32) for letter in "abc")
A, B, C, D = (NodeId(name) for name in ("aa", "bb", "cc", "dd"))


def test_one_wrong_piece_is_an_accident_two_are_not() -> None:
    blame = Blame()
    assert not blame.wrong(V, A, 10.0)
    assert blame.wrong(V, A, 20.0)
    assert blame.barred(V, A, 20.0 + BAN_S - 0.1)
    assert not blame.barred(V, A, 20.0 + BAN_S)
    assert not blame.barred(W, A, 20.0), "another version"
    assert not blame.barred(V, B, 20.0), "another peer"


def test_accidents_far_apart_do_not_add_up() -> None:
    blame = Blame()
    assert not blame.wrong(V, A, 10.0)
    assert not blame.wrong(V, A, 10.0 + STRIKE_WINDOW_S)


def test_wrong_pieces_of_several_versions_are_a_quarantine() -> None:
    blame = Blame()
    for ver in (V, W):
        assert not blame.wrong(ver, A, 10.0)
    assert blame.wrong(X, A, 11.0)
    assert blame.barred(V, A, 11.0) and blame.barred(Version("d" * 32), A, 11.0)
    assert blame.quarantined(12.0) == [A]
    assert not blame.barred(X, A, 11.0 + QUARANTINE_S)
    assert blame.quarantined(11.0 + QUARANTINE_S) == []


def test_whoever_lies_after_a_ban_begins_anew() -> None:
    blame = Blame()
    blame.wrong(V, A, 0.0)
    blame.wrong(V, A, 0.0)
    assert not blame.barred(V, A, BAN_S)
    blame.wrong(V, A, BAN_S)
    assert blame.barred(V, A, BAN_S), "three in ten minutes"


def test_the_silent_are_left_alone_for_a_moment_without_a_strike() -> None:
    blame = Blame()
    blame.silent(V, A, 10.0)
    assert blame.barred(V, A, 10.0 + SHUN_S - 0.1)
    assert not blame.barred(W, A, 10.0)
    assert not blame.wrong(V, A, 10.0 + SHUN_S)
    assert blame.wrong(V, A, 11.0 + SHUN_S)
    blame.silent(V, A, 12.0 + SHUN_S)
    assert blame.barred_until(V, A) == 11.0 + SHUN_S + BAN_S, "no ban is shortened"


def test_the_tables_are_bounded_and_the_latest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame_module, "MAX_SUSPECTS", 4)
    blame = Blame()
    for number in range(20):
        blame.wrong(V, NodeId(f"{number:02x}"), 1.0)
        blame.wrong(V, NodeId(f"{number:02x}"), 1.0)
        blame.check()
    assert blame.barred(V, NodeId("13"), 1.0)
    assert not blame.barred(V, NodeId("00"), 1.0)


@given(st.lists(st.tuples(st.sampled_from([V, W]), st.sampled_from([A, B]), st.floats(0, 100)), max_size=30))
def test_who_sent_nothing_wrong_is_never_barred(events: list[tuple[Version, NodeId, float]]) -> None:
    blame, now = Blame(), 0.0
    strikes = dict.fromkeys([(ver, peer) for ver in (V, W) for peer in (A, B, C)], 0)
    for ver, peer, passed_s in events:
        now += passed_s
        strikes[ver, peer] += 1
        blame.wrong(ver, peer, now)
        blame.check()
        for (each, one), count in strikes.items():
            if blame.barred(each, one, now):
                assert count >= 2 or strikes[V, one] + strikes[W, one] >= 3


def test_the_first_claim_is_pinned() -> None:
    pins = Pins(4)
    assert pins.judge(0, b"x") is Verdict.DISPUTED
    assert pins.claim(0, b"x", A)
    assert pins.claim(0, b"x", B)
    assert pins.judge(0, b"x") is Verdict.RIGHT
    assert pins.judge(0, b"y") is Verdict.WRONG
    with pytest.raises(IndexError):
        pins.claim(4, b"x", A)


def test_two_claims_are_a_dispute_that_a_third_member_ends() -> None:
    pins = Pins(4)
    pins.claim(0, b"lie", A)
    assert not pins.claim(0, b"truth", B)
    assert not pins.claim(0, b"other", C)
    assert pins.disputes == (0,)
    assert set(pins.parties(0)) == {A, B}
    assert pins.judge(0, b"lie") is pins.judge(0, b"truth") is Verdict.DISPUTED
    pins.check()
    assert pins.settle(0, b"truth", D) == (A,)
    assert pins.judge(0, b"truth") is Verdict.RIGHT
    assert pins.judge(0, b"lie") is Verdict.WRONG
    assert len(pins.disputes) == len(pins.parties(0)) == 0


def test_a_member_that_contradicts_itself_is_found_out() -> None:
    pins = Pins(4)
    pins.claim(0, b"lie", A)
    pins.claim(0, b"truth", A)
    assert pins.judge(0, b"truth") is Verdict.DISPUTED
    assert pins.settle(0, b"truth", B) == (A,)


def test_what_a_liar_vouched_for_is_fetched_again() -> None:
    pins = Pins(8)
    pins.claim(0, b"x", A)
    pins.claim(1, b"x", B)
    pins.claim(2, b"x", A)
    pins.claim(2, b"y", B)
    pins.claim(1, b"z", A)
    assert pins.purge(A) == 0b101
    assert pins.judge(0, b"x") is Verdict.DISPUTED, "nobody vouches for it now"
    assert pins.judge(2, b"y") is Verdict.RIGHT, "the other side of the dispute stays"
    assert pins.judge(1, b"x") is Verdict.RIGHT
    assert pins.disputes == ()
    pins.check()


def test_disputes_are_bounded() -> None:
    pins = Pins(2 * MAX_DISPUTES)
    for index in range(2 * MAX_DISPUTES):
        pins.claim(index, b"x", A)
        pins.claim(index, b"y", B)
        pins.check()
    assert len(pins.disputes) == MAX_DISPUTES
    assert pins.judge(2 * MAX_DISPUTES - 1, b"x") is Verdict.RIGHT


CLAIMS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([b"truth", b"lie"]), st.sampled_from([A, B, C, D]))
)


@given(CLAIMS)
def test_who_sends_what_it_vouches_for_is_never_to_blame(claims: list[tuple[int, bytes, NodeId]]) -> None:
    """An honest holder claims the truth before it serves it; then its bytes are never judged wrong."""
    pins = Pins(4)
    for index, digest, fetcher in claims:
        pins.claim(index, digest, fetcher)
        pins.check()
        if digest == b"truth":
            assert pins.judge(index, b"truth") is not Verdict.WRONG


def test_blaming_the_other_side_of_a_dispute_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame_module, "MAX_DISPUTES", 0)
    with pytest.raises(AssertionError):
        test_who_sends_what_it_vouches_for_is_never_to_blame()
