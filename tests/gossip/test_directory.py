"""The three roles together: announce, keep, locate, list; and nothing hostile gets further than `handle`."""

from __future__ import annotations

import random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pstore.errors import BadRequest
from p2pstore.gossip import directory as directory_module
from p2pstore.gossip.directory import MAX_LOCATED, Directory, DirectorySettings, LiveMember
from p2pstore.gossip.inventory import Missing
from p2pstore.gossip.lookups import Answer, Found
from p2pstore.gossip.row_messages import (
    ANNOUNCE,
    DATAGRAM_BYTES,
    KINDS,
    MAX_HOLDERS,
    Locate,
    Located,
    Send,
    Told,
    decode,
    encode,
)
from p2pstore.gossip.rows import Row, RowState
from p2pstore.gossip.writers import Writer, Writers
from p2pstore.types import Key, NodeId, Version

VER = Version("ab" * 16)


def key(number: int) -> Key:
    return Key(random.Random(number).randbytes(32).hex())


class Cluster:
    """Directories on a network that loses nothing and takes no time."""

    def __init__(self, count: int, settings: DirectorySettings | None = None) -> None:
        self.now = 0.0
        ids = [NodeId(random.Random(f"node {n}").randbytes(32).hex()) for n in range(count)]
        self.ids = ids
        self.cores = {
            node: Directory(node, 1, rng=random.Random(n), now=0.0, settings=settings)
            for n, node in enumerate(ids)
        }
        self.found: dict[int, tuple[Answer, ...]] = {}
        for node in ids:
            self.see(node, *ids)

    def see(self, node: NodeId, *members: NodeId, suspects: tuple[NodeId, ...] = ()) -> None:
        self.cores[node].set_members([LiveMember(one, 1, one in suspects) for one in members], self.now)

    def hold(
        self, node: NodeId, number: int, state: RowState = RowState.COMPLETE, ver: Version = VER
    ) -> None:
        self.cores[node].hold(
            key(number), ver, state, size_bytes=100, have_bytes=100, validated_at=self.now, now=self.now
        )

    def run(self, for_s: float, *, without: tuple[NodeId, ...] = ()) -> None:
        until = self.now + for_s
        live = {node: core for node, core in self.cores.items() if node not in without}
        while True:
            due = [(at, node) for node, core in live.items() if (at := core.deadline()) is not None]
            if not due or min(due)[0] > until:
                self.now = until
                return
            at, node = min(due)
            self.now = max(self.now, at)
            self.do(node, live[node].poll(self.now), without)

    def do(self, node: NodeId, decisions: list[Send | Found], without: tuple[NodeId, ...] = ()) -> None:
        self.cores[node].check()
        for decision in decisions:
            if isinstance(decision, Found):
                self.found[decision.lookup] = decision.answers
            elif decision.to not in without:
                self.do(decision.to, self.cores[decision.to].handle(node, decision.data, self.now), without)

    def locate(
        self, node: NodeId, *numbers: int, without: tuple[NodeId, ...] = ()
    ) -> tuple[Answer, ...] | None:
        number, decisions = self.cores[node].locate([key(n) for n in numbers], self.now)
        self.do(node, decisions, without)
        return self.found.get(number)

    def holders(self, node: NodeId, number: int) -> set[NodeId]:
        (answer,) = self.locate(node, number) or (Answer(key(number)),)
        return {row.holder for row in answer.rows}


LARGE = DirectorySettings(copies=3, full_up_to=3)


def test_a_small_cluster_answers_from_its_own_table() -> None:
    cluster = Cluster(5)
    a, b, c, *_ = cluster.ids
    cluster.hold(a, 1)
    cluster.hold(b, 1, RowState.PARTIAL)
    cluster.run(1.0)
    assert cluster.holders(c, 1) == cluster.holders(a, 1) == {a, b}
    (absent,) = cluster.locate(c, 2) or ()
    assert (absent.rows, absent.sure, absent.home) == ((), True, c)
    cluster.cores[a].drop(key(1), VER, cluster.now)
    cluster.run(1.0)
    assert cluster.holders(c, 1) == {b}


def test_rows_name_their_version() -> None:
    cluster = Cluster(2)
    a, b = cluster.ids
    other = Version("cd" * 16)
    cluster.hold(a, 1)
    cluster.hold(a, 1, RowState.LOADING, ver=other)
    cluster.run(1.0)
    (answer,) = cluster.locate(b, 1) or ()
    assert {(row.ver, row.state) for row in answer.rows} == {
        (VER, RowState.COMPLETE),
        (other, RowState.LOADING),
    }


def test_a_large_cluster_asks_the_first_home() -> None:
    cluster = Cluster(9, LARGE)
    for number in range(60):
        cluster.hold(cluster.ids[number % 9], number)
    cluster.run(20.0)
    for asker in cluster.ids:
        answers = cluster.locate(asker, *range(70))
        assert answers is not None
        for number, answer in enumerate(answers):
            assert {row.holder for row in answer.rows} == (
                {cluster.ids[number % 9]} if number < 60 else set()
            )
            assert answer.sure
            homes = cluster.cores[asker].homes.of(answer.key)
            assert answer.home == (asker if asker in homes else homes[0])


@pytest.mark.parametrize("planted", [False, True])
def test_nodes_that_disagree_about_the_number_of_homes_still_meet(
    planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if planted:
        monkeypatch.setattr(Writers, "fewest_copies", lambda self: None)
    cluster = Cluster(8)
    for node in cluster.ids[:4]:
        cluster.cores[node] = Directory(node, 1, rng=random.Random(node), now=0.0, settings=LARGE)
        cluster.see(node, *cluster.ids)
    for number in range(40):
        cluster.hold(cluster.ids[number % 8], number)
    cluster.run(20.0)
    found = [
        {row.holder for row in answer.rows} == {cluster.ids[number % 8]}
        for asker in cluster.ids
        for number, answer in enumerate(cluster.locate(asker, *range(40)) or ())
    ]
    assert len(found) == 8 * 40
    assert all(found) is not planted


def test_when_the_first_home_is_silent_the_second_answers() -> None:
    cluster = Cluster(9, LARGE)
    cluster.hold(cluster.ids[0], 1)
    cluster.run(20.0)
    homes = cluster.cores[cluster.ids[0]].homes.of(key(1))
    asker = next(node for node in cluster.ids if node not in homes)
    assert cluster.locate(asker, 1, without=homes[:1]) is None
    cluster.run(0.2, without=homes[:1])
    ((answer,),) = cluster.found.values()
    assert (answer.home, len(answer.rows)) == (homes[1], 1)


def test_a_node_that_has_just_started_asks_others_before_it_says_nobody() -> None:
    cluster = Cluster(3)
    a, b, c = cluster.ids
    cluster.hold(a, 1)
    cluster.run(20.0)
    new = Directory(c, 2, rng=random.Random(1), now=cluster.now)
    new.set_members([LiveMember(a, 1), LiveMember(b, 1)], cluster.now)
    cluster.cores[c] = new
    assert cluster.holders(c, 1) == {a}
    (absent,) = cluster.locate(c, 2) or ()
    assert (absent.sure, absent.home in (a, b)) == (True, True)


@pytest.mark.parametrize("planted", [False, True])
def test_who_dies_while_a_lookup_goes_on_is_not_told(planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if planted:
        monkeypatch.setattr(Directory, "_judged", lambda self, found: found)
    cluster = Cluster(3)
    a, b, c = cluster.ids
    cluster.hold(a, 1)
    cluster.run(1.0)
    cluster.see(b, a, b, c, suspects=(a,))
    cluster.cores[b].table.writers.start_over(writer_of(cluster, b, c), cluster.now)
    assert cluster.locate(b, 1, 2, without=(a, c)) is None
    cluster.see(b, b, c)
    cluster.run(5.0, without=(a, c))
    ((known, absent),) = cluster.found.values()
    assert absent.rows == ()
    assert (known.rows == ()) is not planted


def writer_of(cluster: Cluster, home: NodeId, holder: NodeId) -> Writer:
    writer = cluster.cores[home].table.writers.current(holder)
    assert writer is not None
    return writer


def test_suspects_are_told_last_and_the_dead_not_at_all() -> None:
    cluster = Cluster(4)
    a, b, c, d = cluster.ids
    for node in (a, b, c):
        cluster.hold(node, 1)
    cluster.run(1.0)
    for suspect in (a, b, c):
        cluster.see(d, *cluster.ids, suspects=(suspect,))
        (answer,) = cluster.locate(d, 1) or ()
        assert answer.rows[-1].holder == suspect
    cluster.see(d, a, b)
    assert cluster.holders(d, 1) == {a, b}


@pytest.mark.parametrize("planted", [False, True])
def test_a_stale_row_costs_one_probe(planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if planted:
        monkeypatch.setattr(Directory, "_is_disproved", lambda self, row: False)
    cluster = Cluster(3)
    a, b, _ = cluster.ids
    cluster.hold(a, 1)
    cluster.run(1.0)
    (answer,) = cluster.locate(b, 1) or ()
    cluster.cores[b].disprove(answer.rows[0])
    assert (cluster.holders(b, 1) == set()) is not planted
    cluster.cores[a].drop(key(1), VER, cluster.now)
    cluster.hold(a, 1)
    cluster.run(1.0)
    assert cluster.holders(b, 1) == {a}


def test_disproved_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "MAX_DISPROVED", 2)
    core = Directory(NodeId("aa" * 32), 1, rng=random.Random(1), now=0.0)
    for number in range(5):
        core.disprove(
            Row(
                holder=core.me,
                gen=1,
                key=key(number),
                ver=VER,
                rver=1,
                state=RowState.COMPLETE,
                size_bytes=1,
                have_bytes=1,
                validated_at=0,
            )
        )
        core.check()


def test_too_many_keys_are_refused() -> None:
    core = Directory(NodeId("aa" * 32), 1, rng=random.Random(1), now=0.0)
    with pytest.raises(BadRequest):
        core.locate([key(1)] * (MAX_LOCATED + 1), 0.0)


def test_a_hot_key_is_told_as_a_sample_in_datagrams() -> None:
    cluster = Cluster(16)
    for node in cluster.ids:
        cluster.hold(node, 1)
    for number in range(2, 60):
        cluster.hold(cluster.ids[0], number)
    cluster.run(5.0)
    asked = Locate(7, tuple(bytes.fromhex(key(number)) for number in range(1, 80)))
    sends = cluster.cores[cluster.ids[0]].handle(cluster.ids[1], encode(asked), cluster.now)
    told: list[Told] = []
    for send in sends:
        assert isinstance(send, Send)
        assert len(send.data) <= DATAGRAM_BYTES
        message = decode(send.data)
        assert isinstance(message, Located)
        told += message.told
    assert [one.key for one in told] == list(asked.keys)
    assert len({row.holder for row in told[0].rows}) == MAX_HOLDERS
    assert len(cluster.holders(cluster.ids[3], 1)) == 16


def test_strangers_are_told_nothing() -> None:
    cluster = Cluster(2)
    asked = encode(Locate(7, (bytes.fromhex(key(1)),)))
    assert cluster.cores[cluster.ids[0]].handle(NodeId("ee" * 32), asked, 0.0) == []


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_pages_hold_every_row_once_and_in_order(limit: int) -> None:
    cluster = Cluster(4)
    for number in range(20):
        cluster.hold(cluster.ids[number % 4], number)
        cluster.hold(cluster.ids[0], number)
    cluster.run(2.0)
    core = cluster.cores[cluster.ids[0]]
    for node in (None, *cluster.ids):
        rows: list[Row] = []
        after: bytes | None = b""
        while after is not None:
            page = core.page(after, limit, node, cluster.now)
            assert len(page.rows) <= limit
            rows += page.rows
            after = page.after
        assert [row.key for row in rows] == sorted(row.key for row in rows)
        wanted = {(key(n), cluster.ids[m]) for n in range(20) for m in (0, n % 4)}
        named = [(row.key, row.holder) for row in rows]
        assert sorted(named) == sorted(one for one in wanted if node in (None, one[1]))


def test_a_page_looks_at_a_bounded_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "MAX_PAGE", 10)
    cluster = Cluster(2)
    a, b = cluster.ids
    for number in range(35):
        cluster.hold(a, number)
    cluster.run(1.0)
    page = cluster.cores[b].page(node=b, now=cluster.now)
    sizes = []
    while page.after is not None:
        sizes.append(len(page.rows))
        page = cluster.cores[b].page(page.after, node=b, now=cluster.now)
    assert sizes == [0, 0, 0]


def test_a_table_says_how_complete_it_is() -> None:
    cluster = Cluster(3)
    a, b, c = cluster.ids
    cluster.hold(b, 1)
    told = cluster.cores[a].completeness(0.0)
    assert (told.complete, told.answered, len(told.missing)) == (False, 1, 2)
    cluster.run(1.0, without=(c,))
    told = cluster.cores[a].completeness(cluster.now)
    assert told.missing == (Missing(c, "has announced nothing yet"),)
    cluster.run(5.0)
    told = cluster.cores[a].completeness(cluster.now + 30)
    assert (told.complete, told.members, told.answered) == (True, 3, 3)
    assert 30 <= told.oldest_age_s < 40
    cluster.see(a, a, b)
    cluster.see(a, a, b, c)
    assert cluster.cores[a].completeness(cluster.now).missing == (Missing(c, "is still announcing"),)
    writer_of(cluster, a, c).overfull = True
    assert cluster.cores[a].completeness(cluster.now).missing == (Missing(c, "has more rows than fit here"),)
    large = Cluster(5, LARGE)
    large.run(5.0)
    assert not large.cores[large.ids[0]].completeness(large.now).complete


@pytest.mark.parametrize("planted", [False, True])
def test_a_damaged_table_is_repaired_by_the_next_check(
    planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(3)
    a, b, _ = cluster.ids
    for number in range(10):
        cluster.hold(a, number)
    cluster.run(5.0)
    table = cluster.cores[b].table
    name = next(table.rows_behind(b""))[0][:48]
    cluster.cores[b].handle(a, announce_removal(name), cluster.now)
    assert len(list(table.rows_behind(b""))) == 9
    if planted:
        monkeypatch.setattr(type(table), "_is_settled", lambda self, now: False)
    cluster.run(100.0)
    assert (len(list(table.rows_behind(b""))) == 10) is not planted


def announce_removal(name: bytes) -> bytes:
    packed: bytes = msgpack.packb([ANNOUNCE, 1, 1, [], [[name, 10]]])
    return packed


anything = st.recursive(
    st.one_of(st.booleans(), st.integers(-1, 1 << 63), st.sampled_from([bytes(32), bytes(48)]), st.floats()),
    lambda inner: st.lists(inner, max_size=9),
    max_leaves=30,
)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.lists(anything, max_size=6)), max_size=6))
def test_nothing_hostile_gets_further_than_handle(script: list[tuple[int, list[object]]]) -> None:
    cluster = Cluster(3)
    core = cluster.cores[cluster.ids[0]]
    for kind, fields in script:
        core.handle(cluster.ids[1], msgpack.packb([kind, *fields]), 1.0)
        core.poll(1.0)
        core.check()


@given(st.binary(max_size=100))
def test_random_bytes_are_counted(data: bytes) -> None:
    core = Directory(NodeId("aa" * 32), 1, rng=random.Random(1), now=0.0)
    assert core.handle(NodeId("bb" * 32), b"\xc1" + data, 0.0) == []
    assert core.malformed == 1
