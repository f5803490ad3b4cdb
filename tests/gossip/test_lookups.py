"""Whom an asker asks, when it asks the next one, and that it always ends."""

from __future__ import annotations

import itertools
import random

import pytest

from p2pstore.gossip import lookups as lookups_module
from p2pstore.gossip.lookups import LIMIT_S, WAITS_S, Answer, Found, Lookups, answer_of
from p2pstore.gossip.row_messages import MAX_KEYS, Locate, Located, Send, ToldRow, decode
from p2pstore.gossip.rows import RowState
from p2pstore.types import Key, NodeId, Version

A, B, C = (NodeId(letter * 64) for letter in "abc")
K, L = Key("1" * 64), Key("2" * 64)
ROW = ToldRow(bytes.fromhex(C), 3, bytes(16), 9, RowState.PARTIAL, -1, 70, 5, 2)


class Talk:
    def __init__(self, *keys: Key, homes: tuple[NodeId, ...] = (A, B, C)) -> None:
        self.core = Lookups(random.Random(1))
        self.number = self.core.number()
        self.asked: list[tuple[float, NodeId]] = []
        self.found: Found | None = None
        self.did(*self.core.start(self.number, keys, {}, dict.fromkeys(keys, homes), 0.0), 0.0)

    def did(self, sends: list[Send], found: Found | None, now: float) -> None:
        self.core.check()
        self.asked += [(now, send.to) for send in sends]
        self.found = found or self.found

    def wait(self, until: float) -> None:
        while (at := self.core.deadline()) is not None and at <= until:
            sends, found = self.core.poll(at)
            self.did(sends, found[0] if found else None, at)

    def answer(self, home: NodeId, *answers: Answer, now: float = 0.01) -> None:
        self.did(*self.core.answered(home, Located(self.number, ()), answers, now), now)

    def homes(self) -> list[NodeId]:
        return [home for _, home in self.asked]


def test_the_first_home_is_asked_first_and_its_word_is_enough() -> None:
    talk = Talk(K)
    assert talk.homes() == [A]
    talk.answer(A, Answer(K, sure=True, home=A))
    assert talk.found == Found(talk.number, (Answer(K, sure=True, home=A),))
    assert talk.core.deadline() is None


def test_silent_homes_are_asked_in_turn_and_it_ends() -> None:
    talk = Talk(K)
    talk.wait(10.0)
    assert talk.homes() == [A, A, B, C, B, C, A]
    times = [at for at, _ in talk.asked]
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx(list(WAITS_S[:-1]))
    assert sum(WAITS_S) == pytest.approx(LIMIT_S)
    assert talk.found == Found(talk.number, (Answer(K),))


def test_who_does_not_know_is_not_asked_again() -> None:
    talk = Talk(K)
    talk.answer(A, Answer(K, home=A))
    talk.answer(B, Answer(K, home=B))
    talk.answer(C, Answer(K, home=C))
    assert talk.homes() == [A, B, C]
    assert talk.found == Found(talk.number, (Answer(K),))


def test_each_key_goes_its_own_way() -> None:
    talk = Talk(K, L)
    talk.answer(A, Answer(L, sure=True, home=A))
    assert talk.found is None
    talk.wait(10.0)
    assert talk.found == Found(talk.number, (Answer(K), Answer(L, sure=True, home=A)))


@pytest.mark.parametrize("planted", [False, True])
def test_only_who_was_asked_is_believed(planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if planted:
        monkeypatch.setattr(lookups_module, "_take_from", lambda waits, home, key: True)
    talk = Talk(K)
    talk.answer(B, Answer(K, sure=True, home=B))
    talk.answer(A, Answer(L, sure=True, home=A))
    assert (talk.found is None) is not planted


def test_answers_to_another_lookup_change_nothing() -> None:
    talk = Talk(K)
    other = Located(talk.number + 1, ())
    assert talk.core.answered(A, other, [Answer(K, sure=True)], 0.0) == ([], None)


def test_with_fewer_homes_there_are_fewer_tries() -> None:
    talk = Talk(K, homes=(A,))
    talk.wait(10.0)
    assert talk.homes() == [A, A, A]
    assert talk.found is not None


def test_keys_of_one_home_share_messages_of_bounded_size() -> None:
    keys = tuple(Key(random.Random(n).randbytes(32).hex()) for n in range(MAX_KEYS + 5))
    core = Lookups(random.Random(1))
    sends, found = core.start(core.number(), keys, {}, dict.fromkeys(keys, (A,)), 0.0)
    assert found is None
    messages = [decode(send.data) for send in sends]
    assert [len(one.keys) for one in messages if isinstance(one, Locate)] == [MAX_KEYS, 5]


@pytest.mark.parametrize(("name", "limit"), [("MAX_LOOKUPS", 1), ("MAX_KEYS", 1)])
def test_one_too_many_ends_at_once(name: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups_module, name, limit)
    talk = Talk(K)
    number = talk.core.number()
    sends, found = talk.core.start(number, (L,), {L: Answer(L, home=B)}, {L: (A,)}, 0.0)
    assert (sends, found) == ([], Found(number, (Answer(L, home=B),)))
    talk.wait(10.0)
    assert talk.core.start(number, (L,), {}, {L: (A,)}, 10.0)[1] is None


def test_nothing_to_ask_is_found_at_once() -> None:
    core = Lookups(random.Random(1))
    assert core.start(7, (K,), {K: Answer(K, sure=True)}, {}, 0.0) == (
        [],
        Found(7, (Answer(K, sure=True),)),
    )


def test_ages_become_moments() -> None:
    (row,) = answer_of(A, K, True, [ROW], 100.0).rows
    assert (row.holder, row.key, row.ver, row.size_bytes) == (C, K, Version("0" * 32), None)
    assert (row.validated_at, row.heard_at) == (95.0, 98.0)
