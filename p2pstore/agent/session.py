"""What a door gives the agent with each request, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from p2pstore.types import Caller

if TYPE_CHECKING:
    from p2pstore.agent.readers import Reader

Push: TypeAlias = Callable[[dict[str, Any], int], None]
"""Sends an event that belongs to the request, with a descriptor or -1; the descriptor becomes the door's."""

PATH_LEASE_S = 600.0
"""A path that was handed out stays for this long, unless a load would have no room otherwise."""
MAX_READERS_PER_SESSION = 256
"""Files open for reading while they download, on one connection."""


class Reply(NamedTuple):
    """The result of a request; `body` is a map, or such a map as MessagePack already. `fd` becomes the door's, -1 is none."""

    body: dict[str, Any] | bytes
    fd: int = -1


@dataclass(slots=True, eq=False)
class Session:
    """One connection of one principal; what it opened ends with it."""

    caller: Caller
    readers: dict[int, Reader] = field(default_factory=dict)
    next_reader: int = 1
    closed: bool = False
