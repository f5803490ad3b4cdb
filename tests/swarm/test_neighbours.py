"""What neighbours say is brought into bounds, and there are not too many of them."""

from __future__ import annotations

import math

import pytest

from p2pstore.swarm.neighbours import MAX_NEIGHBOURS, MAX_RATE, MAX_WAIT_S, REFRESH_S, Neighbour, Neighbours
from p2pstore.types import NodeId

A = NodeId("aa")


@pytest.mark.parametrize(
    ("said", "wait_s", "rate"),
    [
        (1.5, 1.5, 1.5),
        (-1.0, 0.0, 0.0),
        (math.inf, MAX_WAIT_S, MAX_RATE),
        (-math.inf, 0.0, 0.0),
        (math.nan, MAX_WAIT_S, MAX_RATE),
    ],
)
def test_numbers_from_outside_are_bounded(said: float, wait_s: float, rate: float) -> None:
    neighbour = Neighbour(A)
    neighbour.said(said, said)
    assert (neighbour.wait_s, neighbour.rate) == (wait_s, rate)


def test_there_is_a_most_of_neighbours() -> None:
    neighbours = Neighbours(8)
    for number in range(MAX_NEIGHBOURS):
        assert neighbours.join(NodeId(f"{number:02x}")) is not None
    assert neighbours.join(NodeId("ffff")) is None
    assert neighbours.join(NodeId("00")) is neighbours.get(NodeId("00"))
    neighbours.leave(NodeId("00"))
    assert neighbours.join(NodeId("ffff")) is not None
    assert len(neighbours) == len(list(neighbours)) == MAX_NEIGHBOURS


def test_only_pieces_that_exist_are_real() -> None:
    assert Neighbours(4).real(0b110110) == 0b0110


def test_offers_leave_out_the_spoilt_and_the_forbidden() -> None:
    assert Neighbour(A, have=0b1111, spoilt=0b0001, allowed=0b0111).offers == 0b0110
    assert Neighbour(A, have=0b1111).offers == 0b1111


def test_a_delivery_forgives_and_measures() -> None:
    neighbour = Neighbour(A, snubs=[1.0, 2.0])
    neighbour.delivered(1000, 0.0)
    assert neighbour.snubs == []
    assert neighbour.stream_rate == 0.0
    neighbour.delivered(1000, 1.0)
    assert neighbour.stream_rate == 1000.0
    neighbour.delivered(2000, 1.0)
    assert 1000.0 < neighbour.stream_rate < 2000.0


def test_the_incomplete_are_asked_again_after_a_while() -> None:
    neighbours = Neighbours(2)
    one, whole = neighbours.join(A), neighbours.join(NodeId("bb"))
    assert one is not None and whole is not None
    whole.have = 0b11
    assert neighbours.to_refresh(5.0) == [one]
    assert neighbours.to_refresh(5.0 + REFRESH_S / 2) == []
    assert neighbours.to_refresh(5.0 + REFRESH_S) == [one]
