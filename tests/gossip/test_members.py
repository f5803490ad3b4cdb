"""The merge: order, loss and repetition do not matter; and what the table counts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.gossip import members as members_module
from p2pstore.gossip import timing
from p2pstore.gossip.members import Accusation, Alive, Entry, Member, Stamp, State, Table, rank
from tests.gossip.samples import accusation, alive, entries, ident

ABOUT_ONE = entries(st.just(1))


def held(told: list[Entry]) -> tuple[Alive | None, Accusation | None, State]:
    member = Member(ident(1), 0.0)
    for entry in told:
        member.join(entry, 0.0)
    return member.said, member.accused, member.state


@given(st.lists(ABOUT_ONE, min_size=1, max_size=8), st.randoms())
def test_the_merge_is_commutative_associative_and_idempotent(told: list[Entry], rng: object) -> None:
    shuffled = list(told) + list(told)
    getattr(rng, "shuffle")(shuffled)  # noqa: B009
    assert held(shuffled) == held(told)


@given(st.lists(ABOUT_ONE, min_size=2, max_size=4))
def test_in_every_order(told: list[Entry]) -> None:
    assert len({repr(held(list(order))) for order in itertools.permutations(told)}) == 1


def test_the_order_test_catches_a_merge_that_believes_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Entry] = [
        accusation(1, State.SUSPECT, accusers=[2]),
        accusation(1, State.SUSPECT, accusers=[3]),
    ]
    assert held(told) == held(told[::-1])
    monkeypatch.setattr(members_module, "joint_accusation", lambda one, other: other)
    assert held(told) != held(told[::-1])


@given(st.lists(ABOUT_ONE, max_size=12))
def test_what_is_held_never_goes_back(told: list[Entry]) -> None:
    member, before = Member(ident(1), 0.0), (Stamp(0, 0), State.ALIVE)
    for entry in told:
        member.join(entry, 0.0)
        assert member.rank >= before and member.rank >= rank(entry)
        before = member.rank


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ([alive(1)], State.ALIVE),
        ([alive(1), accusation(1, State.SUSPECT)], State.SUSPECT),
        ([alive(1), accusation(1, State.DEAD), accusation(1, State.SUSPECT)], State.DEAD),
        ([alive(1), accusation(1, State.DEAD), alive(1, inc=1)], State.ALIVE),
        ([alive(1, gen=2), accusation(1, State.DEAD, inc=9)], State.ALIVE),
        ([alive(1), accusation(1, State.LEFT), accusation(1, State.DEAD)], State.LEFT),
        ([accusation(1, State.SUSPECT)], State.SUSPECT),
    ],
)
def test_states(told: list[Entry], state: State) -> None:
    assert held(told)[2] == state


def test_an_accusation_of_somebody_unknown_is_kept_but_does_not_count() -> None:
    table = Table()
    table.apply(accusation(1, State.SUSPECT, gen=5), 0.0)
    assert table.live() == () and len(table) == 1
    table.apply(alive(1, gen=5), 1.0)
    member = table.get(ident(1))
    assert member is not None and member.live and member.state == State.SUSPECT
    table.check()


@given(st.lists(entries(st.integers(1, 5)), max_size=30))
def test_the_table_counts_right(told: list[Entry]) -> None:
    table = Table()
    for at, entry in enumerate(told):
        table.apply(entry, float(at))
        table.check()


@given(st.lists(entries(st.integers(1, 4)), max_size=15), st.randoms())
def test_equal_news_make_equal_fingerprints(told: list[Entry], rng: object) -> None:
    shuffled = list(told)
    getattr(rng, "shuffle")(shuffled)  # noqa: B009
    one, other = Table(), Table()
    for entry, another in zip(told, shuffled, strict=True):
        one.apply(entry, 0.0)
        other.apply(another, 0.0)
    assert one.fingerprint == other.fingerprint


def test_suspicion_does_not_change_the_fingerprint_and_death_does() -> None:
    table = Table()
    table.apply(alive(1), 0.0)
    table.apply(alive(2), 0.0)
    seen = [table.fingerprint]
    for state in (State.SUSPECT, State.DEAD):
        table.apply(accusation(1, state), 0.0)
        seen.append(table.fingerprint)
    assert seen[0] == seen[1] != seen[2]


def test_the_dead_are_forgotten_after_a_day_and_beyond_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MIN_DEAD_KEPT", 3)
    table = Table()
    for number in range(1, 6):
        table.apply(accusation(number, State.DEAD), float(number))
    table.prune(10.0)
    assert [member.node for member in table.gone()] == [ident(3), ident(4), ident(5)]
    table.prune(timing.MEMORY_S + 4.5)
    assert [member.node for member in table.gone()] == [ident(5)]
    table.check()


def test_a_full_table_forgets_the_dead_first_and_then_takes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MAX_MEMBERS", 2)
    table = Table()
    table.apply(alive(1), 0.0)
    table.apply(accusation(2, State.DEAD), 0.0)
    assert table.apply(alive(3), 0.0) is not None
    assert table.get(ident(2)) is None
    assert table.apply(alive(4), 0.0) is None
    assert table.live() == (ident(1), ident(3))
    table.check()
