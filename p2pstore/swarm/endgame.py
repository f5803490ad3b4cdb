"""When a request has been waited for long enough, and which piece is asked for a second time. Pure rules.

A slow peer needs no rule: its advertised wait keeps it at the end of everybody's list. A silent one is closed and
snubbed; the last pieces are asked twice when one of them is late.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from p2pstore.swarm.neighbours import Neighbour
from p2pstore.swarm.requests import Request

MIN_PATIENCE_S: Final = 1.0
MAX_PATIENCE_S: Final = 30.0
"""However slow a peer says it is."""
PATIENCE: Final = 4.0
"""Times the expected silence."""
SNUBS: Final = 3
"""Snubs within SNUB_WINDOW_S that end a neighbourhood."""
SNUB_WINDOW_S: Final = 60.0
ENDGAME_PIECES: Final = 64
"""Pieces missing at most when one is asked a second time."""
LATE: Final = 3.0
"""A request is late when it will take so many times as long as one of its size usually takes."""


def piece_time_s(neighbour: Neighbour, piece_bytes: int) -> float:
    """Seconds between two pieces of one answer: as measured, else as it says at two uploads at once, else 0.0 for unknown."""
    if neighbour.stream_rate:
        return piece_bytes / neighbour.stream_rate
    return 2 * piece_bytes / neighbour.rate if neighbour.rate else 0.0


def patience_s(neighbour: Neighbour, piece_bytes: int) -> float:
    """How long a silence of this neighbour is endured once it has begun to answer."""
    return min(max(MIN_PATIENCE_S, PATIENCE * piece_time_s(neighbour, piece_bytes)), MAX_PATIENCE_S)


def first_patience_s(neighbour: Neighbour, piece_bytes: int) -> float:
    """How long its first sign of life is waited for: what waits before it comes on top."""
    expected_s = neighbour.wait_s + piece_time_s(neighbour, piece_bytes)
    return min(max(MIN_PATIENCE_S, PATIENCE * expected_s), MAX_PATIENCE_S)


def stalled(request: Request, now: float) -> bool:
    """Whether the request has been silent for too long."""
    return now >= request.heard_at + request.patience_s


def came(request: Request, neighbour: Neighbour, size_bytes: int, piece_bytes: int, now: float) -> float:
    """A piece of the request came: how long it took, 0.0 for unknown. The neighbour is trusted again, and known better."""
    took_s = now - request.began_at if request.accepted else 0.0
    neighbour.delivered(size_bytes, took_s)
    request.brought = True
    request.heard_at = request.began_at = now
    request.patience_s = patience_s(neighbour, piece_bytes)
    request.piece_s = piece_time_s(neighbour, piece_bytes)
    return took_s


def snub(neighbour: Neighbour, now: float) -> bool:
    """It left a request unanswered; whether it is to be dropped."""
    neighbour.snubs = [*(at for at in neighbour.snubs if now - at < SNUB_WINDOW_S), now][-SNUBS:]
    return len(neighbour.snubs) >= SNUBS


def latest(
    requests: Iterable[Request], once: int, now: float, nominal_s: float
) -> tuple[int, Request] | None:
    """The piece that will come last of those that are late, and its request; `once` are pieces that one request locks.

    `nominal_s` is how long a piece usually takes. A request that has been silent for some time is expected to need as
    long again. None when nothing is late.
    """
    worst: tuple[float, Request] | None = None
    for request in requests:
        eta_s = max(now - request.heard_at, request.piece_s) + (_expected(request) - 1) * request.piece_s
        late = eta_s > LATE * nominal_s * _expected(request)
        if late and request.left & once and (worst is None or eta_s > worst[0]):
            worst = (eta_s, request)
    if worst is None:
        return None
    # Which of its pieces comes last is the server's choice; any of them is worth having sooner.
    return (worst[1].left & once).bit_length() - 1, worst[1]


def late_at(requests: Iterable[Request], once: int, nominal_s: float) -> float | None:
    """When the first of the requests becomes late if nothing is heard of it until then; None when none can."""
    times = [
        request.heard_at + LATE * nominal_s * _expected(request) - (_expected(request) - 1) * request.piece_s
        for request in requests
        if request.left & once
    ]
    return min(times, default=None)


def _expected(request: Request) -> int:
    """How many pieces are still to come: before the server chose, as many as it may."""
    return max(min(request.left.bit_count(), request.most), 1)
