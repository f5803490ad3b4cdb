"""What a source of bytes is asked and what it gives: the vocabulary between the agent, the storage and the ways to an origin.

Bytes go from the socket into blocks that a `Sink` owns. A block belongs to the source from `take` until `give` or `give_back`;
nothing here keeps a view on it afterwards.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

from p2pstore.errors import P2PStoreError
from p2pstore.types import ByteRange

Pace: TypeAlias = Callable[[int], float]
"""Told how many bytes just came, says how many seconds to pause before more are read; 0 goes on at once."""
Limit: TypeAlias = Callable[[int], int]
"""Told up to which byte of the object a stream is about to begin, says up to which one the range is still wanted (both
exclusive ends); that may shrink while the range runs, but for what was begun."""


def unpaced(size: int) -> float:
    """The pace of a transfer without a rate limit."""
    return 0.0


class Sink(Protocol):
    """Blocks of memory for streams of bytes; the agent's partial object is one."""

    @property
    def block_bytes(self) -> int:
        """Size of the largest block."""

    @property
    def error(self) -> P2PStoreError | None:
        """Why no more can be written, once that is so."""

    def take(self) -> memoryview | None:
        """A free block, None while there is none; raises `error` once a write failed."""

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call back once, on the loop, when `take` may succeed again."""

    def give(self, offset: int, block: memoryview, size: int) -> None:
        """Hand over the first `size` bytes of a taken block; they belong at `offset` of the object."""

    def give_back(self, block: memoryview) -> None:
        """Return a taken block unused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One URL as a caller wants it asked; `headers` and credentials go to the URL's own origin and nowhere else."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    userinfo: tuple[str, str] | None = None
    bearer: str = ""
    own_uid: bool = False
    """The caller has the agent's own uid and named this host itself, so the gate lets it reach loopback."""
    conditional: Mapping[str, str] = field(default_factory=dict)
    """If-None-Match and If-Modified-Since; sent to redirect targets too, since the answer comes from there."""
    first: ByteRange | None = None
    """Ask for this range only, which tells at once whether ranges work; None asks for the whole."""
    if_range: str = ""
    """Strong validator under which `first` is wanted (RFC 9110 13.1.5): a changed file comes whole, as a 200."""


class Body(Protocol):
    """The bytes of one answer, read once by one of the three ways."""

    async def read(self, limit: int) -> bytes:
        """All of it; raises OriginBroken when it is longer than `limit`."""

    async def pour(self, sink: Sink, pace: Pace) -> int:
        """All of it into the sink's blocks; the number of bytes."""

    def chunks(self) -> AsyncIterator[bytes]:
        """All of it, as it comes."""

    async def aclose(self) -> None:
        """Give the connection back when the body was read whole, else drop it. May be called twice."""


@dataclass(slots=True, eq=False, kw_only=True)
class Answer:
    """What an origin said to an Ask: 200, 206 or 304; errors are raised instead. Close it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in order of arrival; values decoded as latin-1, so that any byte survives."""
    url: str
    """Where the answer came from, after redirects; holds signatures, so never log it."""
    request_at: float
    response_at: float
    total: int | None
    """Length of the whole representation, None when the origin does not say."""
    span: ByteRange | None
    """What this body brings when it is a part (206); None: all of it."""
    ranges: bool
    """Whether the origin answers range requests, as far as this answer shows."""
    validator: str | None
    """Strong validator for If-Range; None: a transfer can't be resumed."""
    hops: tuple[str, ...]
    """The redirecting URLs in order, redacted."""
    body: Body

    @property
    def host(self) -> str:
        """Where the answer came from, for messages."""
        return urlsplit(self.url).hostname or ""

    @property
    def truncatable(self) -> bool:
        """Whether the body ends where the connection does, so that a cut body can't be told from a whole one."""
        return self.total is None and not any(name == "transfer-encoding" for name, _ in self.headers)

    async def read(self, limit: int) -> bytes:
        """The whole body; raises OriginBroken when longer than `limit` or other than announced, OriginTimeout."""
        return await self.body.read(limit)

    async def pour(self, sink: Sink, pace: Pace = unpaced) -> int:
        """The body into the sink's blocks, in order from the answer's first offset on; only the last block may be short.

        Returns the number of bytes. Raises OriginBroken (shorter or longer than announced), OriginTimeout (below the
        minimum rate), OriginRefused (larger than allowed) and what the sink raises; blocks given before stay given.
        """
        return await self.body.pour(sink, pace)

    def chunks(self) -> AsyncIterator[bytes]:
        """The body for passing through, nothing kept; raises as `pour` does."""
        return self.body.chunks()

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self.body.aclose()


class Ranges(Protocol):
    """Any number of range requests at once for one answer's representation."""

    async def fetch(self, span: ByteRange, sink: Sink, limit: Limit) -> None:
        """Bring `span` (it starts where a block may) into the sink, or as much of it as `limit` still allows.

        Raises OriginChanged when the representation is another one, OriginBroken when the answer contradicts the request,
        and what `Answer.pour` raises.
        """
