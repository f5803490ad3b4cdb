"""What members, referees and spares of one key say to each other. Pure values; how they look on the wire is the shell's.

Every word of a referee carries its term. Bitmaps are those of `pieces`. Times never travel, only durations do.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from p2pstore.swarm.shape import Shape
from p2pstore.swarm.terms import Fence, Term
from p2pstore.types import NodeId, Version

MAX_PEERS: Final = 24
"""Peers in one list; a node dials some of them and is dialled by others."""
MAX_HELD: Final = 8
"""Leases that one member may have at a time."""
MAX_KEYS: Final = 256
"""So many messages one packet carries at most, each with its key: many small files cost few round trips."""


class Fault(StrEnum):
    """Why a lessee gives a lease back."""

    UNREACHABLE = "unreachable"
    """No connection from this node."""
    DENIED = "denied"
    """401 or 403 to this node."""
    TIMEOUT = "timeout"
    """Silence, or below the minimum rate."""
    BUSY = "busy"
    """429 or 503."""
    CHANGED = "changed"
    """412, 200 in place of 206, another validator or length."""
    GONE = "gone"
    """404 or 410: there is nothing to fetch, for anybody."""
    NO_RANGES = "no-ranges"
    """The same version, but ranges are not served after all."""
    NOT_NEEDED = "not-needed"
    """The node has those pieces already, or as many leases as it may."""
    STOPPED = "stopped"
    """The node's own reasons: no space, rate limit, shutting down."""


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that a member works on: what it covers and which pieces of it are still to come."""

    fence: Fence
    first: int
    count: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """I work on this; said again every few seconds, for the referee keeps nothing that it is not told again.

    `number` grows with everything that a node says of itself, over restarts too; of two the higher one is true.
    `unanswered` are nodes of a higher rank that were asked in vain. `peers` is how many are wanted.
    """

    number: int
    zone: str = ""
    origin: bool = False
    peers: int = MAX_PEERS
    ver: Version | None = None
    shape: Shape | None = None
    have: int = 0
    leases: tuple[HeldLease, ...] = ()
    term: Term
    unanswered: tuple[NodeId, ...] = ()


@dataclass(frozen=True, slots=True)
class Leave:
    """I work on this no more; what I had is gone for others."""


@dataclass(frozen=True, slots=True)
class Ask:
    """I can reach the origin and have room for so many more leases; 0 takes an earlier one back."""

    room: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The origin answered the opening request: this is what there is.

    Without a validator `ver` must be unlike that of any other read.
    """

    fence: Fence
    ver: Version
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """Progress of a lease: pieces that are verified and written, and all bytes that it received so far.

    `length` is told with the last piece when it was unknown; `body` is the object itself if it fits inline.
    """

    number: int
    ver: Version
    fence: Fence
    pieces: int
    size_bytes: int
    length: int | None = None
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Got:
    """Pieces that came from peers: I am a holder of them, too."""

    number: int
    ver: Version
    pieces: int


@dataclass(frozen=True, slots=True)
class Failed:
    """I give the lease back; the pieces that I did not report are missing."""

    fence: Fence
    fault: Fault
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Released:
    """Answer to a revocation: what I have of the version, and which pieces I had begun and will bring all the same."""

    fence: Fence
    ver: Version | None
    have: int
    finishing: int


@dataclass(frozen=True, slots=True)
class Urgent:
    """A reader waits for this piece, and no neighbour has it."""

    ver: Version
    piece: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the referee knows: the version, its shape, whom to talk to, and a small object's body at once."""

    term: Term
    ver: Version | None
    shape: Shape | None
    peers: tuple[NodeId, ...]
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Ask that node; the term is the highest that I know of."""

    term: Term
    referee: NodeId


@dataclass(frozen=True, slots=True)
class Poll:
    """Join again at once: I want to know what you have and hold."""

    term: Term


@dataclass(frozen=True, slots=True)
class Give:
    """Read these pieces from the origin, under If-Match; with no version yet: open the URL and say what there is.

    `count` 0 is everything up to the end. Only who holds the fence may ask the origin.
    """

    term: Term
    fence: Fence
    ver: Version | None
    shape: Shape | None
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Revoke:
    """Stop after the piece that is coming in, and answer with `Released`."""

    term: Term
    fence: Fence


@dataclass(frozen=True, slots=True)
class Ended:
    """A version is over. `finish`: all its pieces are held, so that old readers can get the rest from peers.

    After GONE the node is no member any more.
    """

    term: Term
    ver: Version | None
    fault: Fault
    finish: bool


@dataclass(frozen=True, slots=True)
class Stranded:
    """For some time nobody could read the origin; the fault is the last one that was reported. It is tried again."""

    term: Term
    fault: Fault


@dataclass(frozen=True, slots=True)
class TakeFrom:
    """Get a small object from that holder."""

    term: Term
    ver: Version
    holder: NodeId


@dataclass(frozen=True, slots=True)
class Stage:
    """To a gateway: nobody here can reach the origin; join, and ask for leases."""

    term: Term


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a revalidation brought: status (304, 200, ...), fields, seconds since the origin said so; 0 is no answer.

    `order` is higher for later ones, over changes of the referee too.
    """

    order: int
    status: int
    headers: tuple[tuple[str, str], ...]
    age_s: float
    ver: Version | None = None


@dataclass(frozen=True, slots=True)
class Stale:
    """My copy may not be used unasked; `seen` is the order of the outcome that it carries (0: none).

    `force`: the caller wants the origin asked, whatever others heard before.
    """

    seen: int
    origin: bool
    force: bool = False


@dataclass(frozen=True, slots=True)
class Revalidate:
    """Ask the origin whether the stored response may still be used, once, and report."""

    term: Term
    fence: Fence


@dataclass(frozen=True, slots=True)
class Revalidated:
    """The lessee's report of it; status 0 says that the origin did not answer."""

    fence: Fence
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    age_s: float = 0.0
    ver: Version | None = None


@dataclass(frozen=True, slots=True)
class Freshness:
    """The outcome, for waiters and holders."""

    term: Term
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class TableLease:
    """A lease in a referee's table."""

    node: NodeId
    lease: HeldLease


@dataclass(frozen=True, slots=True)
class Table:
    """All that a successor needs; `held` is what some live member had, `opener` who reads the first answer."""

    ver: Version | None = None
    shape: Shape | None = None
    held: int = 0
    leases: tuple[TableLease, ...] = ()
    opener: TableLease | None = None
    members: tuple[NodeId, ...] = ()
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """To the spares: I reign, and this is my table (None: unchanged). `busy`: expect to hear from me again soon."""

    term: Term
    busy: bool
    table: Table | None


@dataclass(frozen=True, slots=True)
class Claim:
    """I mean to be the referee of this term; who knows of a better one, or of a table, says so."""

    term: Term


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer to a claim: the highest term known here, and the table that is kept of it.

    `refused`: its referee lives; `recent`: it, or who claimed that term, was heard of just now. `exact`: who answers reigned
    up to now and gives no lease any more.
    """

    term: Term
    refused: bool
    table: Table | None = None
    exact: bool = False
    recent: bool = False


@dataclass(frozen=True, slots=True)
class HandOver:
    """Be the referee after me: I give no lease from here on."""

    term: Term
    table: Table


Message: TypeAlias = (
    Join
    | Leave
    | Ask
    | Opened
    | Brought
    | Got
    | Failed
    | Released
    | Urgent
    | Welcome
    | Elsewhere
    | Poll
    | Give
    | Revoke
    | Ended
    | TakeFrom
    | Stage
    | Stranded
    | Stale
    | Revalidate
    | Revalidated
    | Freshness
    | Replica
    | Claim
    | Reply
    | HandOver
)


@dataclass(frozen=True, slots=True)
class Send:
    """A decision: send that message, to oneself too."""

    to: NodeId
    message: Message
