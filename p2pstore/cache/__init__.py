"""What to keep and for how long: names of things, HTTP freshness, announced digests, eviction. No IO here."""

from __future__ import annotations

__all__: list[str] = []
