"""Shapes: what may be cut, and into what."""

from __future__ import annotations

import pytest

from p2pstore.swarm.shape import STRIPE_PIECES, Shape
from p2pstore.types import ByteRange

PIECE = 256 << 10


def shape(length: int | None = 10 * PIECE, ranges: bool = True, validator: str = "v") -> Shape:
    return Shape(length=length, ranges=ranges, validator=validator)


def test_a_stripe_of_the_smallest_pieces_is_a_mebibyte() -> None:
    assert shape().piece_bytes * STRIPE_PIECES == 1 << 20


@pytest.mark.parametrize(
    ("one", "whole"),
    [
        (shape(), False),
        (shape(ranges=False), True),
        (shape(validator=""), True),
        (shape(length=None), True),
    ],
)
def test_only_what_can_be_cut_and_tied_together_is_cut(one: Shape, whole: bool) -> None:
    assert one.whole is whole


def test_an_unknown_length_is_never_all_there() -> None:
    assert shape(length=None).all & ~((1 << 1000) - 1) != 0
    assert shape(length=3 * PIECE + 1).all == 0b1111
    assert shape(length=0).all == 0


def test_a_streams_pieces_stay_as_they_are_when_its_end_comes() -> None:
    ended = shape(length=None).ended((4 << 20) + 1)
    assert (ended.piece_bytes, ended.all) == (4 << 20, 0b11)
    assert shape(length=(4 << 20) + 1).all == (1 << 17) - 1


def test_a_span_ends_with_the_file() -> None:
    assert shape(length=5 * PIECE + 7).span(4, 2) == ByteRange(4 * PIECE, 5 * PIECE + 7)
    assert shape(ranges=False).span(0, 4) is None
    assert shape(length=0).span(0, 0) is None


def test_one_piece_is_small() -> None:
    assert shape(length=PIECE).small
    assert not shape(length=PIECE + 1).small
    assert not shape(length=None).small
