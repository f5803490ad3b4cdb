"""Patience, snubs, and which piece is asked twice."""

from __future__ import annotations

import pytest

from p2pstore.swarm.endgame import (
    MAX_PATIENCE_S,
    MIN_PATIENCE_S,
    SNUB_WINDOW_S,
    first_patience_s,
    late_at,
    latest,
    patience_s,
    piece_time_s,
    snub,
    stalled,
)
from p2pstore.swarm.neighbours import Neighbour
from p2pstore.swarm.requests import Request
from p2pstore.types import NodeId

A = NodeId("aa")
PIECE = 1000


def request(
    left: int, heard_at: float = 0.0, piece_s: float = 0.1, most: int = 8, patience: float = 1.0
) -> Request:
    return Request(1, A, most, left, left, 0.0, heard_at, patience, piece_s)


def test_a_piece_takes_what_was_measured_else_what_was_said() -> None:
    assert piece_time_s(Neighbour(A), PIECE) == 0.0
    assert piece_time_s(Neighbour(A, rate=1000.0), PIECE) == 2.0
    assert piece_time_s(Neighbour(A, rate=1000.0, stream_rate=500.0), PIECE) == 2.0
    assert piece_time_s(Neighbour(A, rate=1000.0, stream_rate=4000.0), PIECE) == 0.25


@pytest.mark.parametrize(
    ("stream_rate", "wait_s", "first", "then"),
    [
        (1e9, 0.0, MIN_PATIENCE_S, MIN_PATIENCE_S),
        (1000.0, 0.0, 4.0, 4.0),
        (1000.0, 2.0, 12.0, 4.0),
        (1.0, 60.0, MAX_PATIENCE_S, MAX_PATIENCE_S),
    ],
)
def test_patience_is_four_times_what_is_expected(
    stream_rate: float, wait_s: float, first: float, then: float
) -> None:
    neighbour = Neighbour(A, stream_rate=stream_rate, wait_s=wait_s)
    assert first_patience_s(neighbour, PIECE) == first
    assert patience_s(neighbour, PIECE) == then


def test_silence_is_counted_from_the_last_sign_of_life() -> None:
    assert not stalled(request(1, heard_at=5.0), 5.9)
    assert stalled(request(1, heard_at=5.0), 6.0)


def test_three_snubs_in_a_minute_end_it() -> None:
    neighbour = Neighbour(A)
    assert [snub(neighbour, at) for at in (0.0, 1.0, 1.0 + SNUB_WINDOW_S, 2.0 + SNUB_WINDOW_S)] == [False] * 4
    assert snub(neighbour, 3.0 + SNUB_WINDOW_S)
    assert len(neighbour.snubs) == 3


def test_nothing_is_late_while_all_goes_as_usual() -> None:
    requests = [request(0b11, heard_at=1.0), request(0b100, heard_at=1.0)]
    assert latest(requests, 0b111, 1.05, 0.1) is None
    assert latest([], 0b111, 1.05, 0.1) is None


def test_the_one_that_takes_longest_is_asked_again() -> None:
    quick, slow, slowest = request(0b1), request(0b10, piece_s=0.5), request(0b100, piece_s=0.9)
    assert latest([quick, slow, slowest], 0b111, 0.0, 0.1) == (2, slowest)
    assert latest([quick, slow, slowest], 0b011, 0.0, 0.1) == (1, slow), "asked twice already"


def test_a_long_answer_is_late_only_in_proportion() -> None:
    # Eight pieces at twice the usual time are no reason to ask again; one at four times is.
    assert latest([request(0b11111111, piece_s=0.2)], 0b11111111, 0.0, 0.1) is None
    assert latest([request(0b1, piece_s=0.4)], 0b1, 0.0, 0.1) is not None


def test_before_the_server_chose_only_what_it_may_send_counts() -> None:
    assert latest([request(0b1111, piece_s=0.1, most=1)], 0b1111, 0.35, 0.1) is not None
    assert latest([request(0b1111, piece_s=0.1, most=4)], 0b1111, 0.35, 0.1) is None


def test_the_moment_of_lateness_is_known() -> None:
    late = request(0b1, heard_at=1.0)
    at = late_at([late, request(0b10, heard_at=5.0)], 0b11, 0.1)
    assert at is not None and at == pytest.approx(1.3)
    assert latest([late], 1, at - 0.01, 0.1) is None
    assert latest([late], 1, at + 0.01, 0.1) is not None
    assert late_at([late], 0b10, 0.1) is None
