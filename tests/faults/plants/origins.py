"""Planted bugs: origins are believed and waited for."""

from __future__ import annotations

from typing import Any


def no_size_limit() -> None:
    """No file is too large."""
    from p2pstore.config import OriginConfig

    real = OriginConfig.__post_init__

    def post_init(self: OriginConfig) -> None:
        real(self)
        object.__setattr__(self, "max_object_bytes", 1 << 60)

    OriginConfig.__post_init__ = post_init  # type: ignore[method-assign]


def digests_agree() -> None:
    """What the origin announces is true."""
    from p2pstore.agent import verify

    verify.check_origin = lambda url, announced, found: True


def no_stall_timer() -> None:
    """However slowly it comes, it comes."""
    from p2pstore.sources.stall import Stall

    def stalled(self: Stall, *args: Any) -> bool:
        return False

    Stall.stalled = stalled  # type: ignore[method-assign, assignment]
