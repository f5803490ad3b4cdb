"""Decisions are values: they can be kept, compared and used as keys, and not changed."""

from __future__ import annotations

import dataclasses

import pytest

from p2pstore.gossip.decisions import (
    Decision,
    Departed,
    Isolation,
    MemberChanged,
    Raised,
    Send,
    Stalled,
    TwinSeen,
)
from p2pstore.gossip.members import State
from tests.gossip.samples import address, ident

DECISIONS: list[Decision] = [
    Send(ident(1), address(1), b"x"),
    Send(None, address(1), b"x", reliable=True),
    MemberChanged(ident(1), None, State.ALIVE, 1, "itself"),
    Raised(1, 2),
    TwinSeen(address(1), yields=True),
    Isolation(True),
    Stalled(1.5),
    Departed(),
]


@pytest.mark.parametrize("decision", DECISIONS, ids=repr)
def test_values(decision: Decision) -> None:
    assert dataclasses.replace(decision) == decision
    assert len({decision, dataclasses.replace(decision)}) == 1
    for one in dataclasses.fields(decision):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(decision, one.name, None)


def test_a_send_is_a_datagram_unless_said() -> None:
    assert not Send(None, address(1), b"").reliable
