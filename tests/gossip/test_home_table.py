"""A home takes a holder's own word, the higher number, the newer generation; and forgets in small portions."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.gossip import home_table as home_table_module
from p2pstore.gossip.home_table import FOREIGN_S, GONE_S, HomeTable
from p2pstore.gossip.homes import Homes
from p2pstore.gossip.row_messages import ASK, OK, RESYNC, Ack, Announce, AnnouncedRow, Check, decode
from p2pstore.gossip.rows import RowState, fingerprint, key_of
from p2pstore.gossip.writers import ASK_S, HIDDEN_S, WARM_S, Writers
from p2pstore.types import NodeId

ME, A, B = (NodeId(letter * 64) for letter in "abc")
NAMES = [random.Random(n).randbytes(48) for n in range(6)]


def made(*members: NodeId, gen: int = 1, **bounds: int) -> HomeTable:
    table = HomeTable(ME, 7, homes=Homes([ME]), **bounds)
    see(table, *members, gen=gen)
    return table


def see(table: HomeTable, *members: NodeId, gen: int = 1, now: float = 0.0) -> None:
    table.set_members(Homes([ME, *members]), dict.fromkeys(members, (gen, False)), now)


def row(name: bytes, rver: int, have: int = 5) -> AnnouncedRow:
    return AnnouncedRow(name, rver, RowState.COMPLETE, 5, have, 3)


def say(
    table: HomeTable, *rows: AnnouncedRow, holder: NodeId = A, gen: int = 1, now: float = 0.0
) -> Ack | None:
    ack = table.announced(holder, Announce(gen, 9, rows, ()), now)
    table.check()
    return ack


def unsay(table: HomeTable, name: bytes, rver: int, now: float = 0.0) -> None:
    table.announced(A, Announce(1, 9, (), ((name, rver),)), now)
    table.check()


def check_of(*rows: AnnouncedRow, gen: int = 1, rver: int = 100, copies: int = 0) -> Check:
    total = 0
    for one in rows:
        total ^= fingerprint(one.name, one.rver)
    return Check(gen, 9, rver, len(rows), total, copies)


def known(table: HomeTable) -> dict[bytes, int]:
    return {identity[:48]: one.rver for identity, one in table.rows_behind(b"")}


def settle(table: HomeTable, now: float) -> None:
    """Poll at every deadline up to a moment."""
    while (at := table.deadline()) is not None and at <= now:
        table.poll(at)
        table.check()
    table.poll(now)


def test_a_row_is_taken_acknowledged_and_told() -> None:
    table = made(A)
    assert say(table, row(NAMES[0], 4), now=100.0) == Ack(7, 1, 9, OK)
    (found,) = table.rows_of(key_of(NAMES[0]))
    assert (found.holder, found.gen, found.rver, found.state) == (A, 1, 4, RowState.COMPLETE)
    assert (found.size_bytes, found.have_bytes, found.validated_at, found.heard_at) == (5, 5, 97, 100.0)


def test_strangers_are_not_heard() -> None:
    table = made(A)
    assert say(table, row(NAMES[0], 1), holder=B) is None
    assert table.checked(B, check_of(), 0.0) is None
    assert known(table) == {}


news = st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=12)


@given(news, st.randoms(use_true_random=False))
def test_order_loss_of_order_and_repetition_do_not_matter(
    script: list[tuple[bytes, bool]], rng: random.Random
) -> None:
    truth: dict[bytes, int] = {}
    messages = []
    for rver, (name, gone) in enumerate(script, 1):
        truth.pop(name, None)
        if not gone:
            truth[name] = rver
        rows, removals = ((), ((name, rver),)) if gone else ((row(name, rver),), ())
        messages.append(Announce(1, rver, rows, removals))
    mixed = messages + rng.choices(messages, k=5) if messages else []
    rng.shuffle(mixed)
    table = made(A)
    for message in mixed:
        table.announced(A, message, 0.0)
        table.check()
    assert known(table) == truth
    checked = table.checked(A, check_of(*(row(name, rver) for name, rver in truth.items())), 0.0)
    assert checked == Ack(7, 1, 9, OK)


@pytest.mark.parametrize("planted", [False, True])
def test_a_newer_generation_erases_the_older_one(planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if planted:
        monkeypatch.setattr(Writers, "counts", lambda self, writer: True)
    table = made(A)
    say(table, row(NAMES[0], 4))
    table.announced(A, Announce(2, 1, (row(NAMES[1], 1),), ()), 1.0)
    assert (known(table) == {NAMES[1]: 1}) is not planted
    if not planted:
        say(table, row(NAMES[2], 9), gen=1)
        settle(table, 10.0)
        assert (known(table), table.table.count) == ({NAMES[1]: 1}, 1)


def test_rows_of_the_dead_are_hidden_kept_and_dropped() -> None:
    table = made(A)
    say(table, row(NAMES[0], 4))
    see(table, now=10.0)
    assert known(table) == {}
    see(table, A, now=20.0)
    assert known(table) == {NAMES[0]: 4}
    see(table, now=30.0)
    settle(table, 31.0 + HIDDEN_S)
    assert table.table.count == 0
    see(table, A, now=40.0 + HIDDEN_S)
    assert known(table) == {}


def test_late_news_does_not_bring_a_removed_row_back() -> None:
    table = made(A)
    say(table, row(NAMES[0], 4))
    unsay(table, NAMES[0], 5)
    say(table, row(NAMES[0], 4), now=GONE_S - 1)
    assert known(table) == {}
    settle(table, 2 * GONE_S + 2)
    assert table.table.count == 0


def test_a_check_that_agrees_confirms() -> None:
    table = made(A)
    say(table, row(NAMES[0], 4), row(NAMES[1], 5))
    assert not table.is_warm(1.0)
    assert table.checked(A, check_of(row(NAMES[0], 4), row(NAMES[1], 5)), 1.0) == Ack(7, 1, 9, OK)
    assert table.is_warm(1.0)


@pytest.mark.parametrize("planted", [False, True])
def test_a_check_that_disagrees_forgets_and_asks_for_everything(
    planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if planted:
        monkeypatch.setattr(HomeTable, "_has_room_for", lambda self, writer, count: False)
    table = made(A)
    say(table, row(NAMES[0], 4), row(NAMES[1], 5))
    ack = table.checked(A, check_of(row(NAMES[0], 4)), 50.0)
    assert (ack == Ack(7, 1, 9, RESYNC)) is not planted
    assert (known(table) == {}) is not planted
    if not planted:
        assert not table.is_warm(50.0)
        say(table, row(NAMES[0], 4))
        assert known(table) == {NAMES[0]: 4}


def test_a_check_from_before_newer_rows_settles_nothing() -> None:
    table = made(A)
    say(table, row(NAMES[0], 4))
    assert table.checked(A, check_of(rver=3), 0.0) is None
    assert known(table) == {NAMES[0]: 4}


def test_absence_means_nothing_before_everybody_had_the_time_to_announce() -> None:
    table = made(A)
    assert not table.is_warm(WARM_S - 0.1)
    assert table.is_warm(WARM_S)
    assert HomeTable(ME, 7, homes=Homes([ME])).is_warm(0.0)
    assert table.is_home_of(key_of(NAMES[0]))


@pytest.mark.parametrize("bounds", [{"max_rows": 3}, {"max_rows_per_holder": 3}])
def test_a_full_table_refuses_counts_and_is_not_sure(bounds: dict[str, int]) -> None:
    table = made(A, **bounds)
    rows = [row(name, n) for n, name in enumerate(NAMES, 1)]
    assert say(table, *rows) == Ack(7, 1, 9, OK)
    unsay(table, NAMES[5], 99)
    assert (len(known(table)), table.refused) == (3, 3)
    assert not table.is_warm(WARM_S)
    assert table.checked(A, check_of(*rows), 1.0) == Ack(7, 1, 9, OK)
    say(table, row(NAMES[0], 50))
    assert known(table)[NAMES[0]] == 50


def test_who_announces_to_few_homes_says_nothing_to_the_others() -> None:
    members = [NodeId(random.Random(n).randbytes(32).hex()) for n in range(5)]
    table = HomeTable(ME, 7, homes=Homes([ME]))
    see(table, *members)
    keys = [key_of(random.Random(f"n{n}").randbytes(48)) for n in range(50)]
    assert table.reach(0.0) == 0
    assert not any(table.is_within(0, key) for key in keys)
    for copies, holder in enumerate(members):
        table.checked(holder, check_of(copies=0 if copies < 2 else copies), 0.0)
    assert table.reach(0.0) == 2
    homes = Homes([ME, *members])
    assert [table.is_within(2, key) for key in keys] == [ME in homes.of(key)[:2] for key in keys]
    see(table, *members[:2], now=1.0)
    assert table.reach(1.0) == 3
    assert all(table.is_within(3, key) for key in keys)


def test_members_that_say_nothing_are_asked() -> None:
    table = made(A, B)
    say(table, row(NAMES[0], 4))
    table.checked(A, check_of(row(NAMES[0], 4)), 0.0)
    at = table.deadline()
    assert at == ASK_S
    (send,) = table.poll(at)
    assert (send.to, decode(send.data)) == (B, Ack(7, 0, 0, ASK))


def test_sweeps_go_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home_table_module, "SWEEP_ROWS", 2)
    table = made(A)
    say(table, *(row(name, n) for n, name in enumerate(NAMES, 1)))
    see(table, A, gen=2, now=1.0)
    counts = []
    while table.table.count:
        at = table.deadline()
        assert at is not None
        table.poll(at)
        table.check()
        counts.append(table.table.count)
    assert counts == [4, 2, 0]


def test_slots_of_others_are_kept_for_a_while_and_then_dropped() -> None:
    members = [NodeId(random.Random(n).randbytes(32).hex()) for n in range(60)]
    table = HomeTable(ME, 7, homes=Homes([ME]))
    see(table, members[0])
    names = [random.Random(f"n{n}").randbytes(48) for n in range(200)]
    say(table, *(row(name, n) for n, name in enumerate(names, 1)), holder=members[0])
    see(table, *members, now=100.0)
    assert len(known(table)) == 200
    settle(table, 100.0 + FOREIGN_S + 5)
    homes = Homes([ME, *members])
    assert set(known(table)) == {name for name in names if homes.is_home(ME, name[0] << 8 | name[1])}
    assert 0 < len(known(table)) < 60
