"""The members: soft state, expiry, and words that overtake each other."""

from __future__ import annotations

import random

import pytest

from p2pstore.swarm import members as members_module
from p2pstore.swarm.members import BLOCK_S, EXPIRY_S, LAST_RESORT_S, Members
from p2pstore.swarm.messages import MAX_PEERS, Join
from p2pstore.swarm.terms import NO_TERM
from p2pstore.types import NodeId, Version

A, B = NodeId("a"), NodeId("b")
V, W = Version("v"), Version("w")


def join(number: int, have: int = 0, ver: Version | None = V, origin: bool = True) -> Join:
    return Join(number=number, ver=ver, have=have, origin=origin, term=NO_TERM)


def test_what_members_have_is_counted_by_version() -> None:
    members = Members()
    members.join(A, join(1, 0b011), 0.0)
    members.join(B, join(1, 0b110, ver=W), 0.0)
    assert members.union(V) == 0b011
    assert members.have(B, V) == 0
    assert members.have(B, W) == 0b110


def test_an_overtaken_word_adds_but_takes_nothing_back() -> None:
    members = Members()
    members.join(A, join(5, 0b100), 0.0)
    assert members.join(A, join(4, 0b001), 0.0) == (True, False)
    assert members.have(A, V) == 0b101
    assert members.join(A, join(6, 0b001), 0.0) == (True, True)
    assert members.have(A, V) == 0b001


def test_a_member_that_changes_its_version_has_the_old_pieces_no_more() -> None:
    members = Members()
    members.join(A, join(1, 0b111), 0.0)
    assert members.got(A, 2, W, 0b1, 0.0)
    assert (members.have(A, V), members.have(A, W)) == (0, 1)
    assert members.join(A, join(3, 0, ver=None), 0.0) == (True, True)


def test_silence_ends_a_membership_and_any_word_keeps_it() -> None:
    members = Members()
    members.join(A, join(1), 0.0)
    members.join(B, join(1), 0.0)
    members.heard(B, 1.0)
    assert members.expired(EXPIRY_S) == [A]
    assert members.drop(A) and not members.drop(A)
    assert A not in members and len(members) == 1


def test_a_failure_bars_a_node_from_the_origin_for_a_while() -> None:
    members = Members()
    members.join(A, join(1), 0.0)
    members.join(B, join(1, origin=False), 0.0)
    assert members.may_ask_origin(A, 0.0) and not members.may_ask_origin(B, 0.0)
    members.block(A, 0.0)
    assert not members.may_ask_origin(A, BLOCK_S - 1)
    members.join(A, join(2), 1.0)
    assert not members.may_ask_origin(A, BLOCK_S - 1), "joining again does not lift it"
    assert members.may_ask_origin(A, BLOCK_S)
    assert members.may_ask_origin(A, LAST_RESORT_S, last_resort=True)
    members.block(A, 10.0)
    assert not members.may_ask_origin(A, 10.0 + LAST_RESORT_S, last_resort=True), "each failure doubles it"
    assert members.may_ask_origin(A, 10.0 + 2 * LAST_RESORT_S, last_resort=True)
    members.reached(A)
    assert members.may_ask_origin(A, 10.0)
    assert not members.may_ask_origin(NodeId("stranger"), 0.0)


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "MAX_MEMBERS", 3)
    members = Members()
    joined = [members.join(NodeId(f"{number}"), join(1), 0.0)[0] for number in range(5)]
    assert joined == [True, True, True, False, False]
    assert not members.got(NodeId("4"), 1, V, 1, 0.0)


def test_peers_are_bounded_and_the_asker_is_none_of_them() -> None:
    members = Members()
    for number in range(100):
        members.join(NodeId(f"{number}"), join(1), 0.0)
    peers = members.peers(NodeId("7"), "", V, 1000, random.Random(0))
    assert len(set(peers)) == MAX_PEERS and "7" not in peers
    assert members.peers(A, "", V, -1, random.Random(0)) == ()
