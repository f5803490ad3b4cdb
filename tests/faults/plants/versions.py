"""Planted bug: parts of a file are taken for parts of one version, whatever they say."""

from __future__ import annotations

from typing import Any


def no_guard() -> None:
    """No If-Range goes out, and validators and lengths that come back are not compared."""
    from p2pstore.errors import OriginBroken
    from p2pstore.sources import origin, ranges_http, ranges_lane

    real = origin.wire

    def wire(target: Any, fields: list[tuple[str, str]]) -> bytes:
        return real(target, [field for field in fields if field[0] != "If-Range"])

    def check_range(head: Any, span: Any, *rest: Any) -> None:
        if head.status != 206:
            raise OriginBroken(f"the range request was answered {head.status}")

    ranges_lane.check_range = check_range
    ranges_http.check_range = check_range
    origin.wire = wire
