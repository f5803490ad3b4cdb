"""Which neighbour is asked next, for how many pieces, and which ones it is offered. Pure rules.

The neighbour comes first: the one that will answer soonest of those that have anything that is lacked. Choosing a
piece first and then one of its holders sends many to the same one; copies of pieces are for the server to count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from p2pstore.swarm.neighbours import Neighbour
from p2pstore.swarm.requests import MAX_ANSWER, MAX_REQUESTS, MAX_REQUESTS_PER_PEER
from p2pstore.swarm.sampling import sample_any, sample_window
from p2pstore.types import NodeId

if TYPE_CHECKING:
    from random import Random

ANSWER_S: Final = 0.25
"""A request is for about so much of the neighbour's work, as if it had MAX_REQUESTS of them at a time."""
WANTS_PER_PIECE: Final = 8
"""Pieces offered for each that may be sent, up to MAX_WANT (tests/simulation: with 4, one gateway takes 4 % longer)."""
FREE_PICK_EVERY: Final = 4
"""Every so many requests offer any missing piece; the others those next to the cursor."""
MIN_PAUSE_S: Final = 0.005
MAX_PAUSE_S: Final = 0.05
"""After a refusal a neighbour is left alone for half of its wait, between these two, give or take a half."""


def askable(neighbours: Iterable[Neighbour], pieces: int, now: float) -> list[Neighbour]:
    """Those that have any of the pieces, and room for one more request, and need not be left alone.

    One that left a request unanswered has room for one only, until it brings a piece.
    """
    return [
        one
        for one in neighbours
        if one.out < (1 if one.snubs else MAX_REQUESTS_PER_PEER)
        and now >= one.busy_until
        and one.offers & pieces
    ]


def least_waiting(
    neighbours: Iterable[Neighbour],
    pieces: int,
    piece_bytes: int,
    now: float,
    rng: Random,
    *,
    but: NodeId | None = None,
) -> Neighbour | None:
    """The one that will answer soonest of those that have any of the pieces; the snubbed come last, chance breaks ties."""
    best, lowest = None, (True, float("inf"), 0, 0.0)
    for one in askable(neighbours, pieces, now):
        rank = (bool(one.snubs), one.wait_s + one.out * cost_s(one, piece_bytes), one.out, rng.random())
        if one.peer != but and (best is None or rank < lowest):
            best, lowest = one, rank
    return best


def cost_s(neighbour: Neighbour, piece_bytes: int) -> float:
    """Seconds of a neighbour's work in a request that its advertised wait does not hold yet; 0.0 for unknown."""
    return most(neighbour, piece_bytes) * piece_bytes / neighbour.rate if neighbour.rate else 0.0


def most(neighbour: Neighbour, piece_bytes: int) -> int:
    """How many pieces one request may bring: more from the fast, one from the unknown and the snubbed."""
    if neighbour.snubs:
        return 1
    return min(max(round(ANSWER_S * neighbour.rate / MAX_REQUESTS / piece_bytes), 1), MAX_ANSWER)


def pick(pool: int, count: int, start: int | None, rng: Random, first: int | None = None) -> list[int]:
    """Up to `count` pieces of the pool in random order: `first`, then those next to `start` if there are any, else any.

    So the file grows from the readers' position, and the want-lists of all nodes overlap where the fresh pieces are.
    """
    if first is not None:
        return [first, *pick(pool & ~(1 << first), count - 1, start, rng)]
    near = sample_window(pool, start, count, rng) if start is not None else []
    return near or sample_any(pool, count, rng)


def pause_s(neighbour: Neighbour, rng: Random) -> float:
    """How long a neighbour is left alone after it refused."""
    return min(max(neighbour.wait_s / 2, MIN_PAUSE_S), MAX_PAUSE_S) * (0.5 + rng.random())
