"""The queue of news: order, counts, confirmations, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.gossip import timing
from p2pstore.gossip.dissemination import Dissemination
from p2pstore.gossip.members import Entry, State
from p2pstore.gossip.messages import entry_bytes
from p2pstore.types import NodeId
from tests.gossip.samples import accusation, alive, entries, ident

OTHERS = [ident(number) for number in range(1, 5)]
LARGE = 1000


def add(
    queue: Dissemination, entry: Entry, *, live: int = 5, bulk: bool = False, knows: NodeId | None = None
) -> None:
    queue.add(entry, OTHERS, live, bulk=bulk, knows=knows)


def pick(
    queue: Dissemination, to: int, now: float = 0.0, *, room: int = 1000, nonce: bytes | None = None
) -> list[Entry]:
    return queue.pick(ident(to), room, now, nonce)


def test_those_who_are_alive_come_first_and_the_newest_of_them() -> None:
    queue = Dissemination()
    for entry in (accusation(11, State.DEAD), alive(12), alive(13), accusation(14, State.SUSPECT)):
        add(queue, entry, live=LARGE)
    expected = [alive(13), alive(12), accusation(14, State.SUSPECT), accusation(11, State.DEAD)]
    assert pick(queue, 1) == expected


def test_what_was_sent_least_comes_first() -> None:
    queue = Dissemination()
    add(queue, alive(11), live=LARGE)
    add(queue, alive(12), live=LARGE)
    room = entry_bytes(alive(11)) + 10
    assert [pick(queue, 1, room=room) for _ in range(2)] == [[alive(12)], [alive(11)]]


@pytest.mark.parametrize(("bulk", "times"), [(False, timing.transmissions(LARGE)), (True, 2)])
def test_in_large_clusters_transmissions_are_counted(bulk: bool, times: int) -> None:
    queue = Dissemination()
    add(queue, alive(11), live=LARGE, bulk=bulk)
    sent = 0
    while pick(queue, 1 + sent % 4):
        sent += 1
    assert sent == times and len(queue) == 0


def test_in_small_clusters_everybody_is_told_until_it_confirms() -> None:
    queue = Dissemination()
    add(queue, alive(1), knows=ident(2))
    assert queue.targets(OTHERS, 0.0) == [ident(3), ident(4)]
    assert pick(queue, 3, nonce=b"a") == [alive(1)]
    assert pick(queue, 3) == []
    assert pick(queue, 3, timing.TRY_GAP_S) == [alive(1)]
    queue.confirmed(b"a", ident(4))
    assert len(queue) == 1
    queue.confirmed(b"a", ident(3))
    assert queue.targets(OTHERS, 99.0) == [ident(4)]
    pick(queue, 4, nonce=b"b")
    queue.confirmed(b"b", ident(4))
    assert len(queue) == 0 and queue.next_at() is None


def test_whoever_does_not_confirm_is_left_alone_in_the_end() -> None:
    queue, now, tries = Dissemination(), 0.0, 0
    add(queue, alive(1))
    for _ in range(2000):
        now += 0.05
        tries += len(pick(queue, 2, now))
    assert tries == timing.MAX_TRIES


def test_the_accused_is_told_as_well() -> None:
    queue = Dissemination()
    add(queue, accusation(1, State.SUSPECT), knows=ident(2))
    assert ident(1) in queue.targets(OTHERS, 0.0)


def test_a_later_news_takes_the_place_of_the_earlier() -> None:
    queue = Dissemination()
    add(queue, accusation(1, State.SUSPECT))
    add(queue, accusation(1, State.DEAD))
    assert pick(queue, 2) == [accusation(1, State.DEAD)]
    add(queue, alive(1, inc=1))
    assert pick(queue, 2, 9.0) == [alive(1, inc=1)]


def test_a_confirmation_of_the_earlier_news_does_not_end_the_later() -> None:
    queue = Dissemination()
    add(queue, alive(1))
    pick(queue, 2, nonce=b"a")
    add(queue, alive(1, inc=1))
    queue.confirmed(b"a", ident(2))
    assert pick(queue, 2) == [alive(1, inc=1)]


def test_whoever_tells_it_need_not_be_told() -> None:
    queue = Dissemination()
    add(queue, alive(1))
    queue.told_by(ident(2), alive(1, inc=-1))
    assert ident(2) in queue.targets(OTHERS, 0.0)
    queue.told_by(ident(2), alive(1, inc=1))
    assert ident(2) not in queue.targets(OTHERS, 0.0)


def test_the_dead_are_owed_nothing() -> None:
    queue = Dissemination()
    add(queue, alive(1))
    queue.retain([ident(3)])
    assert queue.targets(OTHERS, 0.0) == [ident(3)]
    queue.retain([])
    assert len(queue) == 0


def test_what_is_owed_is_counted_when_the_cluster_outgrows_it() -> None:
    queue = Dissemination()
    add(queue, alive(11))
    add(queue, alive(12), live=LARGE)
    sent = 0
    while picked := pick(queue, 99):
        sent += len(picked)
    assert sent == 2 * timing.transmissions(LARGE) and len(queue) == 0


@given(st.lists(entries(st.integers(5, 30)), max_size=60), st.integers(0, 1200), st.booleans())
def test_bounds_hold_whatever_comes(told: list[Entry], room: int, small: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "MAX_QUEUED", 10)
        patch.setattr(timing, "MAX_UNCONFIRMED", 3)
        patch.setattr(timing, "MAX_ENTRIES", 7)
        queue = Dissemination()
        for number, entry in enumerate(told):
            add(queue, entry, live=5 if small else LARGE)
            picked = queue.pick(ident(1), room, number * 0.1, number.to_bytes(8, "big"), 7)
            assert len(picked) <= 7 and sum(map(entry_bytes, picked)) <= room
            queue.check()
