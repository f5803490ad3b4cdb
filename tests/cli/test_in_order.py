"""Lines in order, as early as can be."""

from __future__ import annotations

import itertools

import pytest

from p2pstore.cli.in_order import InOrder


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_every_order_of_knowing_is_told_in_one(order: tuple[int, ...]) -> None:
    told: list[str] = []
    lines = InOrder(told.append)
    for count, number in enumerate(order, 1):
        lines.know(number, None if number == 2 else str(number))
        known = set(order[:count])
        first_unknown = next(at for at in range(5) if at not in known)
        assert told == [str(at) for at in range(first_unknown) if at != 2]
    assert told == ["0", "1", "3"]
