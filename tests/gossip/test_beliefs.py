"""Whom this node believes: itself, those who speak for themselves, and others within limits."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.gossip import timing
from p2pstore.gossip.beliefs import Beliefs
from p2pstore.gossip.decisions import Decision, MemberChanged, Raised, TwinSeen
from p2pstore.gossip.members import MAX_NUMBER, Accusation, Entry, Stamp, State, accuser
from tests.gossip.samples import accusation, alive, entries, ident


class Node:
    """Beliefs of node 0, and what came out of them."""

    def __init__(self, *known: Entry, boot: int = 7) -> None:
        self.out: list[Decision] = []
        self.core = Beliefs(alive(0, gen=5, boot=boot), 0.0, random.Random(1), self.out)
        self.take(*known, sender=9)
        self.out.clear()

    def take(self, *told: Entry, sender: int = 9, bulk: bool = False, now: float = 1.0) -> list[Entry]:
        corrections = self.core.take(told, ident(sender), now, bulk=bulk)
        self.core.check()
        return corrections

    def state(self, number: int) -> State | None:
        member = self.core.table.get(ident(number))
        return None if member is None else member.state

    def changes(self) -> list[tuple[State | None, State, str]]:
        return [(one.before, one.after, one.by) for one in self.out if isinstance(one, MemberChanged)]


def test_news_change_the_table_and_are_passed_on_once() -> None:
    node = Node()
    assert node.take(alive(1)) == []
    assert node.take(alive(1)) == []
    assert node.changes() == [(None, State.ALIVE, "rumour")]
    assert node.state(1) == State.ALIVE


def test_a_suspicion_is_timed_and_ends_with_the_answer() -> None:
    node = Node(alive(1))
    node.take(accusation(1, State.SUSPECT, accusers=[2]))
    assert ident(1) in node.core.suspicions
    node.take(alive(1, inc=1))
    assert ident(1) not in node.core.suspicions
    assert node.changes() == [(State.ALIVE, State.SUSPECT, "rumour"), (State.SUSPECT, State.ALIVE, "rumour")]


def test_an_accusation_of_a_later_incarnation_begins_anew() -> None:
    node = Node(alive(1), alive(2), alive(3))
    node.take(accusation(1, State.SUSPECT, accusers=[2, 3]))
    first = node.core.suspicions.next_at()
    node.take(accusation(1, State.SUSPECT, inc=1, accusers=[2]))
    second = node.core.suspicions.next_at()
    assert first is not None and second is not None and second > first + 5


def test_an_accusation_of_this_node_is_answered() -> None:
    node = Node(alive(1))
    assert node.take(accusation(0, State.SUSPECT, gen=5, inc=3)) == [node.core.me]
    assert node.core.me.stamp == Stamp(5, 4)
    assert node.out == [Raised(5, 4)]
    assert node.core.health.score == 1
    assert node.core.news.pick(ident(1), 1000, 1.0, None) == [node.core.me]


def test_an_old_accusation_of_this_node_is_corrected_and_changes_nothing() -> None:
    node = Node()
    assert node.take(accusation(0, State.DEAD, gen=4, inc=9)) == [node.core.me]
    assert node.out == []


@pytest.mark.parametrize(
    ("accused", "answer"),
    [
        (Stamp(6, 2), Stamp(6, 3)),
        (Stamp(5, MAX_NUMBER), Stamp(6, 0)),
        (Stamp(MAX_NUMBER, MAX_NUMBER), Stamp(5, 0)),
    ],
)
def test_answers_at_the_limits(accused: Stamp, answer: Stamp) -> None:
    node = Node()
    node.take(Accusation(ident(0), accused, State.DEAD))
    assert node.core.me.stamp == answer


def test_another_process_under_this_id_is_outdone_but_not_in_a_storm() -> None:
    node = Node(boot=7)
    for boot, yields in ((3, False), (9, True)):
        node.out.clear()
        now = 10.0 * boot
        stamp = node.core.me.stamp
        node.take(alive(0, stamp.gen, stamp.inc + 1, boot=boot), now=now)
        node.take(alive(0, stamp.gen, stamp.inc + 9, boot=boot), now=now + 0.5)
        assert node.core.me.stamp == Stamp(stamp.gen, stamp.inc + 2)
        (twin,) = [one for one in node.out if isinstance(one, TwinSeen)]
        assert twin.yields is yields


def test_what_an_earlier_process_said_is_outdone_without_alarm() -> None:
    node = Node()
    node.take(alive(0, gen=8, inc=2, boot=1))
    assert node.out == [Raised(8, 3)]


def test_after_leaving_nothing_is_answered() -> None:
    node = Node(alive(1))
    node.core.depart(1.0)
    assert node.take(accusation(0, State.DEAD, gen=5)) == []
    assert node.out == [] and node.core.me.stamp == Stamp(5, 0)


def test_a_third_party_does_not_revive() -> None:
    for known in ((alive(1), accusation(1, State.DEAD)), (accusation(1, State.LEFT),)):
        node = Node(*known)
        assert node.take(alive(1, inc=1), sender=2) == []
        assert node.state(1) != State.ALIVE
        assert node.core.hearsay == [alive(1, inc=1)]
        node.take(alive(1, inc=1), sender=1)
        assert node.state(1) == State.ALIVE


def test_whoever_speaks_under_the_id_of_another_is_told_of_it() -> None:
    node = Node(alive(1, boot=3))
    assert node.take(alive(1, boot=4), sender=1) == [alive(1, boot=3)]
    assert node.take(alive(1, boot=3), sender=1) == [alive(1, boot=4)]
    assert node.take(alive(1, boot=4), sender=1) == []
    assert node.take(accusation(1, State.LEFT), sender=1) == []


def test_hearsay_is_bounded() -> None:
    node = Node(*(accusation(number, State.DEAD) for number in range(1, 200)))
    node.take(*(alive(number, inc=1) for number in range(1, 200)))
    assert len(node.core.hearsay) == timing.MAX_CHECKS


def test_bulk_does_not_kill_whom_this_node_holds_alive() -> None:
    node = Node(alive(1))
    node.take(accusation(1, State.DEAD), bulk=True)
    member = node.core.table.get(ident(1))
    assert member is not None and member.accused is not None
    assert (member.state, member.accused.accusers) == (State.SUSPECT, (accuser(ident(9)),))


def test_bulk_tells_of_the_dead_that_were_unknown_and_of_those_who_left() -> None:
    node = Node(alive(2))
    node.take(alive(1), accusation(3, State.DEAD), accusation(2, State.LEFT), bulk=True)
    assert [node.state(number) for number in (1, 2, 3)] == [State.ALIVE, State.LEFT, State.DEAD]


def test_a_rumour_kills() -> None:
    node = Node(alive(1))
    node.take(accusation(1, State.DEAD))
    assert node.state(1) == State.DEAD


@pytest.mark.parametrize(
    ("held", "told", "correction"),
    [
        ([alive(1, inc=2)], accusation(1, State.DEAD, inc=1), [alive(1, inc=2)]),
        ([alive(1), accusation(1, State.SUSPECT)], alive(1), [accusation(1, State.SUSPECT)]),
        ([accusation(1, State.DEAD, inc=3)], alive(1), [accusation(1, State.DEAD, inc=3)]),
        ([alive(1)], alive(1), []),
        ([alive(1)], alive(1, inc=1), []),
    ],
)
def test_whoever_tells_something_old_is_corrected(
    held: list[Entry], told: Entry, correction: list[Entry]
) -> None:
    assert Node(*held).take(told) == correction


def test_a_failed_probe_makes_a_suspect_and_a_second_accuser_is_named() -> None:
    node = Node(alive(1))
    node.core.accuse(ident(1), 1.0)
    node.take(accusation(1, State.SUSPECT, accusers=[4]))
    assert node.core.against(ident(1)) == [accusation(1, State.SUSPECT, accusers=[0, 4])]
    assert node.changes() == [(State.ALIVE, State.SUSPECT, "probe")]
    node.core.accuse(ident(7), 1.0)
    assert node.state(7) is None


def test_only_a_final_check_condemns() -> None:
    node = Node(alive(1))
    node.core.accuse(ident(1), 1.0)
    node.core.condemn(ident(1), 2.0)
    assert node.state(1) == State.SUSPECT
    node.core.suspicions.advance(100.0, isolated=False)
    node.core.suspicions.take_due(1)
    node.core.condemn(ident(1), 100.0)
    assert node.state(1) == State.DEAD


def test_a_new_id_at_the_address_of_another_ends_the_other() -> None:
    node = Node(alive(1, gen=3))
    node.take(alive(2, gen=2, at=1), sender=2)
    assert node.state(1) == State.ALIVE, "the older start has no say"
    node.take(alive(3, gen=4, at=1), sender=9)
    assert node.state(1) == State.ALIVE, "nor has a third party"
    node.take(alive(4, gen=4, at=1), sender=4)
    assert [node.state(number) for number in (1, 2, 3, 4)] == [
        State.DEAD,
        State.DEAD,
        State.ALIVE,
        State.ALIVE,
    ]


@given(st.lists(st.tuples(entries(st.integers(0, 4)), st.integers(0, 4), st.booleans()), max_size=30))
def test_whatever_is_told_this_node_lives_and_nothing_goes_back(told: list[tuple[Entry, int, bool]]) -> None:
    node, before = Node(), {number: Stamp(0, 0) for number in range(5)}
    for now, (entry, sender, bulk) in enumerate(told):
        node.take(entry, sender=sender + 1, bulk=bulk, now=float(now))
        for number in range(5):
            member = node.core.table.get(ident(number))
            if member is not None:
                assert member.stamp >= before[number]
                before[number] = member.stamp
    assert node.state(0) == State.ALIVE
