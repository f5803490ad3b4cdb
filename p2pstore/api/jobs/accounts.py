"""What one uid holds of the agent over all its connections, so that nobody takes what is everybody's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from p2pstore.errors import Overloaded

MAX_HELD_BYTES: Final = 64 << 20
"""Requests in flight and answers not yet read, of one uid."""
MAX_HELD_DESCRIPTORS: Final = 1024
"""Descriptors in answers not yet read, of one uid."""
MAX_LISTINGS: Final = 4
"""Listings at once, of one uid: their answers are long."""
REQUEST_BYTES: Final = 2048
"""What a request in flight costs beside its arguments."""
OUTCOME_BYTES: Final = 512
"""What the outcome for one of several URLs costs."""


@dataclass(slots=True, eq=False)
class Account:
    """Sums over the connections of one uid."""

    uid: int
    connections: int = 0
    held_bytes: int = 0
    descriptors: int = 0
    listings: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_LISTINGS))

    def must_have_room(self) -> None:
        """Raises Overloaded when this uid holds as much as it may."""
        if self.held_bytes > MAX_HELD_BYTES or self.descriptors > MAX_HELD_DESCRIPTORS:
            raise Overloaded(
                f"uid {self.uid} has {self.held_bytes} bytes and {self.descriptors} descriptors in requests and unread answers",
                hint="read the answers, and ask for fewer at once",
            )


def weight(args: dict[str, Any]) -> int:
    """About the bytes that a request holds until it is answered, its answer included."""
    size = REQUEST_BYTES
    for value in args.values():
        if type(value) is str:
            size += len(value)
        elif type(value) is list:
            size += sum(OUTCOME_BYTES + len(item) for item in value)
    return size
