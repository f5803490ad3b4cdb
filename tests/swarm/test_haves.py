"""Batches of news: when, to whom, and nothing twice."""

from __future__ import annotations

from p2pstore.swarm.decisions import Have
from p2pstore.swarm.haves import BATCH_PIECES, BATCH_S, Haves
from p2pstore.swarm.neighbours import Neighbour
from p2pstore.types import NodeId

A, B, C = NodeId("aa"), NodeId("bb"), NodeId("cc")


def test_news_waits_for_its_batch() -> None:
    haves, peers = Haves(16), [Neighbour(A)]
    assert haves.timer() is None
    haves.new(3, 1.0)
    haves.new(5, 1.01)
    assert haves.timer() == 1.0 + BATCH_S
    assert haves.flush(peers, 0.5, 1e6, 1.0 + BATCH_S / 2) == []
    assert haves.flush(peers, 0.5, 1e6, 1.0 + BATCH_S) == [Have(A, 0b101000, 0, 0.5, 1e6)]
    assert haves.timer() is None
    assert haves.flush(peers, 0.5, 1e6, 9.0) == []


def test_a_full_batch_and_bad_news_do_not_wait() -> None:
    haves = Haves(16)
    for index in range(BATCH_PIECES):
        haves.new(index, 1.0)
    assert haves.timer() == 1.0
    haves = Haves(16)
    haves.dropped(0b1, 1.0)
    assert haves.timer() == 1.0


def test_not_to_the_complete_nor_what_they_have() -> None:
    haves = Haves(4)
    haves.new(0, 1.0)
    haves.new(1, 1.0)
    peers = [Neighbour(A, have=0b1111), Neighbour(B, have=0b0001), Neighbour(C, have=0b0011)]
    assert haves.flush(peers, 0.0, 0.0, 2.0) == [Have(B, 0b0010, 0, 0.0, 0.0)]


def test_the_last_word_on_a_piece_counts() -> None:
    haves = Haves(8)
    haves.new(1, 1.0)
    haves.dropped(0b10, 1.0)
    haves.dropped(0b100, 1.0)
    haves.new(2, 1.0)
    assert haves.flush([Neighbour(A)], 0.0, 0.0, 2.0) == [Have(A, 0b100, 0b10, 0.0, 0.0)]
