"""Counters since the agent started; one comment a counter, shown by `status`."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Stats:
    """Plain numbers; only ever grow."""

    hits: int = 0  # answered from the cache without asking the origin
    misses: int = 0  # had to be loaded
    revalidations: int = 0  # conditional requests answered 304
    stale_served: int = 0  # answered from a copy past its lifetime, and said so
    loads: int = 0  # loads begun
    loads_failed: int = 0  # loads that ended in an error
    joined: int = 0  # requests that joined a load begun for another
    restarts: int = 0  # loads begun anew because the file changed midway
    resumed_bytes: int = 0  # bytes not asked for again after an interruption
    cache_bytes: int = 0  # bytes handed out that were in the cache
    origin_bytes: int = 0  # bytes handed out that came from an origin for this request
    digest_failures: int = 0  # digests of callers or origins that did not agree
    streamed_through: int = 0  # requests served although the cache could not keep them
    puts: int = 0  # results stored
    evicted: int = 0  # entries evicted
    quarantined: int = 0  # damaged objects set aside

    def snapshot(self) -> dict[str, int]:
        """All counters by name."""
        return asdict(self)
