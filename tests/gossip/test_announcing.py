"""What a holder sends: coalesced, bounded, repeated until acknowledged, everything again when needed."""

from __future__ import annotations

import itertools
import random

import pytest

from p2pstore.gossip import announcing as announcing_module
from p2pstore.gossip.announcing import (
    AWAY_S,
    BURST_BYTES,
    CHECK_S,
    COALESCE_S,
    PROGRESS_S,
    URGENT_S,
    Announcer,
)
from p2pstore.gossip.homes import Homes
from p2pstore.gossip.links import MAX_DIRTY, MAX_RETRY_S, RETRY_S, Link
from p2pstore.gossip.row_messages import (
    ASK,
    DATAGRAM_BYTES,
    MAX_MESSAGE_BYTES,
    OK,
    RESYNC,
    Ack,
    Announce,
    Check,
    Message,
    decode,
)
from p2pstore.gossip.rows import RowState, Value
from p2pstore.types import NodeId

ME, HOME, OTHER = (NodeId(letter * 64) for letter in "abc")


def name(number: int) -> bytes:
    return random.Random(number).randbytes(48)


def complete(size: int = 1000) -> Value:
    return Value(0, RowState.COMPLETE, size, size, 0)


class Talk:
    """An announcer and what it said, each message acknowledged unless told otherwise."""

    def __init__(self, *homes: NodeId, rate: float = 1e9) -> None:
        self.now = 0.0
        self.core = Announcer(
            ME, 5, homes=Homes([ME]), rate_bytes_per_s=rate, rng=random.Random(1), now=self.now
        )
        self.see(*homes)

    def see(self, *homes: NodeId, gen: int = 1) -> None:
        self.core.set_homes(Homes([ME, *homes]), dict.fromkeys(homes, gen), self.now)

    def hear(self, until: float, *, ack: bool = True) -> list[tuple[NodeId, Message]]:
        """Everything that is sent up to a moment."""
        said: list[tuple[NodeId, Message]] = []
        for _ in range(5000):
            at = self.core.deadline()
            self.core.check()
            if at is None or at > until:
                self.now = until
                return said
            self.now = max(self.now, at)
            for send in self.core.poll(self.now):
                message = decode(send.data)
                assert isinstance(message, Announce | Check)
                assert len(send.data) <= MAX_MESSAGE_BYTES
                said.append((send.to, message))
                if ack:
                    self.ack(send.to, message)
        raise AssertionError("it never comes to rest")

    def ack(self, home: NodeId, message: Announce | Check, result: int = OK, gen: int = 1) -> None:
        self.core.acked(home, Ack(gen, 5, message.batch, result), self.now)


def told(said: list[tuple[NodeId, Message]]) -> list[bytes]:
    return [row.name for _, message in said if isinstance(message, Announce) for row in message.rows]


def checks(said: list[tuple[NodeId, Message]]) -> list[Check]:
    return [message for _, message in said if isinstance(message, Check)]


def quiet(*homes: NodeId) -> Talk:
    talk = Talk(*homes)
    talk.hear(1.0)
    return talk


def test_news_waits_for_company_and_goes_to_every_home_once() -> None:
    talk = quiet(HOME, OTHER)
    for number in range(3):
        talk.core.hold(name(number), complete(), talk.now)
    assert talk.core.deadline() == pytest.approx(talk.now + COALESCE_S)
    said = talk.hear(10.0)
    assert sorted(home for home, _ in said) == [HOME, OTHER]
    assert told(said) == 2 * [name(0), name(1), name(2)]


def test_a_version_that_begins_to_come_in_is_told_sooner() -> None:
    talk = quiet(HOME)
    talk.core.hold(name(1), complete(), talk.now)
    talk.core.hold(name(2), Value(0, RowState.LOADING, 1000, 0, 0), talk.now)
    assert talk.core.deadline() == pytest.approx(talk.now + URGENT_S)


def test_progress_is_told_by_quarters_and_not_too_often() -> None:
    talk = quiet(HOME)
    talk.core.hold(name(1), Value(0, RowState.LOADING, 1000, 0, 0), talk.now)
    said = []
    for step in range(1, 100):
        said += talk.hear(talk.now + 0.1)
        talk.core.hold(name(1), Value(0, RowState.LOADING, 1000, 10 * step, 0), talk.now)
    talk.core.hold(name(1), complete(), talk.now)
    said += talk.hear(talk.now + 1)
    rows = [row.have_bytes for _, message in said if isinstance(message, Announce) for row in message.rows]
    assert rows[0] == 0
    assert rows[-1] == 1000
    assert 3 <= len(rows) <= 2 + 10 / PROGRESS_S


def test_the_same_again_is_no_news() -> None:
    talk = quiet(HOME)
    talk.core.hold(name(1), complete(), talk.now)
    talk.hear(5.0)
    talk.core.hold(name(1), complete(), talk.now)
    talk.core.drop(name(2), talk.now)
    assert not talk.core.waiting(HOME)


def test_a_removal_is_told_with_a_higher_number() -> None:
    talk = quiet(HOME)
    talk.core.hold(name(1), complete(), talk.now)
    talk.hear(5.0)
    talk.core.drop(name(1), talk.now)
    ((_, message),) = talk.hear(6.0)
    assert isinstance(message, Announce)
    assert message.gone == ((name(1), 2),)
    assert talk.core.fingerprint == 0


@pytest.mark.parametrize("planted", [False, True])
def test_a_lost_batch_is_said_again_as_things_are_then(
    planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if planted:
        monkeypatch.setattr(announcing_module, "take_back", lambda link, batches: None)
    talk = quiet(HOME)
    talk.core.hold(name(1), complete(), talk.now)
    talk.hear(talk.now + COALESCE_S + 0.01, ack=False)
    talk.core.drop(name(1), talk.now)
    talk.core.hold(name(2), complete(), talk.now)
    said = talk.hear(talk.now + 2.0)
    gone = {one[0] for _, message in said if isinstance(message, Announce) for one in message.gone}
    assert (gone, set(told(said))) == ({name(1)}, {name(2)})
    talk.core.hold(name(3), complete(), talk.now)
    assert told(talk.hear(talk.now + COALESCE_S + 0.01, ack=False)) == [name(3)]
    assert (name(3) in told(talk.hear(talk.now + 2.0))) is not planted


def test_pauses_grow_up_to_a_limit_and_never_end() -> None:
    talk = quiet(HOME)
    talk.core.hold(name(1), complete(), talk.now)
    times = []
    for _ in range(14):
        at = talk.core.deadline()
        assert at is not None
        talk.now = at
        times += [at for _ in talk.core.poll(at)]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[0] == pytest.approx(RETRY_S)
    assert gaps[-1] == pytest.approx(MAX_RETRY_S)
    assert sorted(gaps) == pytest.approx(gaps)


def test_a_new_home_gets_everything_in_large_batches_and_then_a_check() -> None:
    talk = Talk()
    for number in range(2000):
        talk.core.hold(name(number), complete(), 0.0)
    talk.see(HOME)
    said = talk.hear(30.0)
    assert sorted(told(said)) == sorted(name(number) for number in range(2000))
    assert len(said) < 20
    (check,) = checks(said)
    assert said[-1] == (HOME, check)
    assert (check.count, check.fingerprint, check.rver) == (2000, talk.core.fingerprint, 2000)


def test_few_rows_go_in_datagrams() -> None:
    talk = Talk()
    for number in range(25):
        talk.core.hold(name(number), complete(), 0.0)
    talk.see(HOME)
    sends = talk.core.poll(talk.now)
    assert len(sends) > 1
    assert all(len(send.data) <= DATAGRAM_BYTES for send in sends)


@pytest.mark.parametrize("by_ack", [True, False])
@pytest.mark.parametrize("planted", [False, True])
def test_a_restarted_home_gets_everything_again(
    by_ack: bool, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = quiet(HOME)
    talk.core.hold(name(1), complete(), talk.now)
    talk.core.hold(name(2), complete(), talk.now)
    talk.hear(5.0)
    if planted:
        monkeypatch.setattr(Link, "start_over", lambda self, gen, now, slots=None: setattr(self, "gen", gen))
    if by_ack:
        talk.core.hold(name(3), complete(), talk.now)
        ((home, message),) = talk.hear(5.15, ack=False)
        assert isinstance(message, Announce)
        talk.ack(home, message, gen=2)
    else:
        talk.see(HOME, gen=2)
    said = talk.hear(5.2, ack=False)
    assert ({name(1), name(2)} <= set(told(said))) is not planted


def test_a_home_that_disagrees_gets_everything_again_but_not_without_end() -> None:
    talk = quiet(HOME)
    talk.core.hold(name(1), complete(), talk.now)
    talk.hear(5.0)
    talk.core.acked(HOME, Ack(1, 5, 0, ASK), talk.now)
    resyncs = 0
    for _ in range(400):
        for home, message in talk.hear(talk.now + 0.5, ack=False):
            assert isinstance(message, Announce | Check)
            resyncs += isinstance(message, Check)
            talk.ack(home, message, RESYNC if isinstance(message, Check) else OK)
    assert 4 <= resyncs <= 40


def test_quiet_homes_are_checked_now_and_then_and_when_they_ask() -> None:
    talk = quiet(HOME)
    assert 8 <= len(checks(talk.hear(10 * CHECK_S))) <= 14
    talk.core.acked(HOME, Ack(1, 0, 0, ASK), talk.now)
    assert len(checks(talk.hear(talk.now + 1.0))) == 1


def test_a_home_that_was_away_gets_only_what_changed() -> None:
    talk = quiet(HOME)
    talk.core.hold(name(1), complete(), talk.now)
    talk.hear(5.0)
    talk.see()
    talk.core.hold(name(2), complete(), talk.now)
    assert talk.hear(50.0) == []
    talk.see(HOME)
    said = talk.hear(51.0)
    assert told(said) == [name(2)]
    assert len(checks(said)) == 1


def test_a_home_that_was_away_for_long_gets_everything() -> None:
    talk = quiet(HOME)
    talk.core.hold(name(1), complete(), talk.now)
    talk.hear(5.0)
    talk.see()
    talk.hear(5.0 + AWAY_S)
    talk.see(HOME)
    assert told(talk.hear(talk.now + 1)) == [name(1)]


def test_answers_that_do_not_fit_change_nothing() -> None:
    talk = quiet(HOME)
    talk.core.hold(name(1), complete(), talk.now)
    ((_, message),) = talk.hear(1.2, ack=False)
    assert isinstance(message, Announce)
    for home, ack in (
        (OTHER, Ack(1, 5, message.batch, OK)),
        (HOME, Ack(0, 5, message.batch, OK)),
        (HOME, Ack(1, 4, message.batch, OK)),
        (HOME, Ack(1, 5, message.batch + 1, RESYNC)),
    ):
        talk.core.acked(home, ack, talk.now)
    assert talk.core.waiting(HOME)
    talk.ack(HOME, message)
    assert not talk.core.waiting(HOME)


def test_too_many_changes_become_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing_module, "MAX_DIRTY", 50)
    talk = quiet(HOME)
    for number in range(200):
        talk.core.hold(name(number), complete(), talk.now)
    talk.core.check()
    assert set(told(talk.hear(5.0))) == {name(number) for number in range(200)}
    assert MAX_DIRTY > 50


def test_bytes_sent_keep_to_the_rate() -> None:
    talk = Talk(rate=100_000.0)
    for number in range(8000):
        talk.core.hold(name(number), complete(), 0.0)
    talk.see(HOME, OTHER)
    sent = 0
    while talk.core.waiting(HOME) or talk.core.waiting(OTHER):
        at = talk.core.deadline()
        assert at is not None
        talk.now = max(talk.now, at)
        for send in talk.core.poll(talk.now):
            sent += len(send.data)
            message = decode(send.data)
            assert isinstance(message, Announce | Check)
            talk.ack(send.to, message)
        assert sent <= BURST_BYTES + 100_000 * talk.now + (32 << 10)
    assert talk.now > 5


def test_in_a_large_cluster_only_homes_of_a_key_are_told() -> None:
    core = Announcer(ME, 5, homes=Homes([ME]), rate_bytes_per_s=1e9, rng=random.Random(1), now=0.0)
    members = [NodeId(random.Random(n).randbytes(32).hex()) for n in range(40)]
    homes = Homes([ME, *members])
    for number in range(100):
        core.hold(name(number), complete(), 0.0)
    core.set_homes(homes, dict.fromkeys(members, 1), 0.0)
    told_to: dict[bytes, set[NodeId]] = {}
    for _ in range(20):
        for send in core.poll(0.1):
            message = decode(send.data)
            assert isinstance(message, Announce | Check)
            core.acked(send.to, Ack(1, 5, message.batch, OK), 0.1)
            for row in message.rows if isinstance(message, Announce) else ():
                told_to.setdefault(row.name, set()).add(send.to)
    for number in range(100):
        slot = name(number)[0] << 8 | name(number)[1]
        assert told_to.get(name(number), set()) == set(homes.of_slot(slot)) - {ME}


def test_a_join_of_a_large_cluster_moves_only_the_slots_concerned() -> None:
    members = [NodeId(random.Random(n).randbytes(32).hex()) for n in range(30)]
    core = Announcer(ME, 5, homes=Homes([ME]), rate_bytes_per_s=1e9, rng=random.Random(1), now=0.0)
    for number in range(200):
        core.hold(name(number), complete(), 0.0)
    core.set_homes(Homes([ME, *members[:-1]]), dict.fromkeys(members[:-1], 1), 0.0)
    now = 0.2
    said: list[tuple[NodeId, bytes]] = []
    for joined in (False, True):
        if joined:
            said.clear()
            core.set_homes(Homes([ME, *members]), dict.fromkeys(members, 1), now)
            core.set_homes(Homes([ME, *members[1:]]), dict.fromkeys(members[1:], 1), now)
        for _ in range(20):
            now += 0.01
            for send in core.poll(now):
                message = decode(send.data)
                assert isinstance(message, Announce | Check)
                core.acked(send.to, Ack(1, 5, message.batch, OK), now)
                said += [(send.to, row.name) for row in message.rows] if isinstance(message, Announce) else []
    before, after = Homes([ME, *members[:-1]]), Homes([ME, *members[1:]])
    slots = {name(number): name(number)[0] << 8 | name(number)[1] for number in range(200)}
    wanted = {
        (node, one)
        for one, slot in slots.items()
        for node in after.of_slot(slot)
        if node != ME and not before.is_home(node, slot)
    }
    assert wanted <= set(said)
    assert len(said) < 2 * len(wanted) + 5


def test_homes_that_are_away_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing_module, "MAX_AWAY", 3)
    homes = [NodeId(random.Random(n).randbytes(32).hex()) for n in range(8)]
    talk = quiet(*homes)
    for left in range(8):
        talk.now += 1
        talk.see(*homes[left + 1 :])
        talk.core.check()
    talk.core.hold(name(1), complete(), talk.now)
    assert [talk.core.waiting(home) for home in homes] == 5 * [False] + 3 * [True]
