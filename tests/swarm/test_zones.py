"""Peer lists and pullers: shares, bounds, and the same answer everywhere."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from p2pstore.swarm.zones import RANK_WAIT_S, Pullers, pick_peers
from p2pstore.types import NodeId, Version

NODES = [NodeId(f"{number:03x}") for number in range(200)]
VER = Version("v")


def members(near: int, far: int, ahead: int = 0) -> dict[NodeId, tuple[str, int]]:
    """The first `ahead` of each zone have more pieces than the asker, who has 5."""
    zones = [("here", rank) for rank in range(near)] + [("there", rank) for rank in range(far)]
    return {node: (zone, 9 if rank < ahead else 1) for node, (zone, rank) in zip(NODES, zones, strict=False)}


def ask(others: dict[NodeId, tuple[str, int]], count: int = 24, seed: int = 0) -> tuple[NodeId, ...]:
    return pick_peers(NodeId("me"), "here", 5, others, count, random.Random(seed))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 30), st.integers(0, 24), st.integers(0, 99))
def test_a_list_is_full_distinct_and_bounded(near: int, far: int, ahead: int, count: int, seed: int) -> None:
    others = members(near, far, ahead) | {NodeId("me"): ("here", 5)}
    peers = ask(others, count, seed)
    assert len(peers) == min(count, near + far)
    assert len(set(peers)) == len(peers)
    assert NodeId("me") not in peers and set(peers) <= others.keys()


def test_three_quarters_are_from_the_own_zone() -> None:
    others = members(60, 60)
    assert Counter(others[peer][0] for peer in ask(others)) == {"here": 18, "there": 6}


def test_a_small_zone_is_filled_up_from_elsewhere() -> None:
    others = members(3, 60)
    assert Counter(others[peer][0] for peer in ask(others)) == {"here": 3, "there": 21}


def test_half_of_them_are_further_ahead() -> None:
    others = members(60, 0, ahead=30)
    ahead = Counter(others[peer][1] > 5 for peer in ask(others))
    assert ahead[True] >= 9


def test_every_piece_has_one_puller_and_all_agree() -> None:
    zone = NODES[:5]
    pullers = Pullers(VER, zone)
    again = Pullers(VER, reversed(zone))
    load: Counter[NodeId] = Counter()
    for piece in range(1000):
        ranks = {node: pullers.rank(piece, node) for node in zone}
        assert sorted(ranks.values()) == [0, 1, 2, 3, 4]
        assert ranks == {node: again.rank(piece, node) for node in zone}
        load.update(node for node, rank in ranks.items() if rank == 0)
    assert min(load.values()) > 130, "the load of a zone is shared"


def test_another_may_pull_when_the_puller_does_not() -> None:
    pullers = Pullers(VER, NODES[:2])
    first, second = sorted(NODES[:2], key=lambda node: pullers.rank(7, node))
    assert pullers.may_pull(7, first, 0.0)
    assert not pullers.may_pull(7, second, RANK_WAIT_S * 0.9)
    assert pullers.may_pull(7, second, RANK_WAIT_S)
    assert pullers.rank(7, NODES[9]) == 2, "a stranger comes last"


def test_the_death_of_a_member_moves_only_its_own_pieces() -> None:
    before, after = Pullers(VER, NODES[:5]), Pullers(VER, NODES[:4])
    for piece in range(200):
        puller = min(NODES[:5], key=lambda node: before.rank(piece, node))
        if puller != NODES[4]:
            assert after.rank(piece, puller) == 0
