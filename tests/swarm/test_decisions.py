"""Decisions are values: equal when they say the same, and nobody changes them afterwards."""

from __future__ import annotations

import dataclasses

import pytest

from p2pstore.swarm import decisions
from p2pstore.types import NodeId

KINDS = [
    kind for kind in vars(decisions).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)
]


def test_all_are_frozen_and_hashable() -> None:
    assert len(KINDS) == 8
    for kind in KINDS:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(object.__new__(kind), "peer", NodeId("aa"))  # noqa: B010
        assert kind.__hash__ is not None


def test_equal_when_they_say_the_same() -> None:
    want = decisions.Want(NodeId("aa"), 1, (3, 4), 2)
    assert want == decisions.Want(NodeId("aa"), 1, (3, 4), 2, first=False)
    assert want != decisions.Want(NodeId("aa"), 1, (4, 3), 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        want.rid = 2  # type: ignore[misc]
