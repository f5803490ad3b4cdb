"""What the swarm's cores tell their shells to send or do, as values. Bitmaps of pieces are ints."""

from __future__ import annotations

from dataclasses import dataclass

from p2pstore.types import NodeId, Version


@dataclass(frozen=True, slots=True)
class Want:
    """Send to the peer: any `most` of these pieces, chosen by you; with `first`, the first of them in any case."""

    peer: NodeId
    rid: int
    pieces: tuple[int, ...]
    most: int
    first: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """Send to the peer: of this request these pieces are not wanted any more; with `close`, its answer is not read on."""

    peer: NodeId
    rid: int
    pieces: int
    close: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """The peer is no neighbour any more; all its requests are closed."""

    peer: NodeId
    why: str


@dataclass(frozen=True, slots=True)
class Refresh:
    """Ask the peer for the whole bitmap of what it has; the answer is a `heard` with `whole`."""

    peer: NodeId


Asked = Want | Cancel | Drop | Refresh
"""What a node that asks has to do."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Send to the peer: of this request you get these pieces, in this order; then send them, and say when it is over.

    No pieces: there is none of them any more, and nothing to send.
    """

    peer: NodeId
    rid: int
    ver: Version
    pieces: tuple[int, ...]
    wait_s: float
    rate: float


@dataclass(frozen=True, slots=True)
class Busy:
    """Send to the peer: not now; whoever asks next waits for so long."""

    peer: NodeId
    rid: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Abort:
    """The peer takes nothing of an answer any more: end its connection; the upload is over already."""

    peer: NodeId
    rid: int


Served = Accept | Busy | Abort
"""What a node that serves has to do."""


@dataclass(frozen=True, slots=True)
class Have:
    """Send to the peer: since the last time these pieces came, those went; and so long one waits here."""

    peer: NodeId
    pieces: int
    dropped: int
    wait_s: float
    rate: float
