"""From exec to the greeting on the socket, with nothing and with a hundred thousand entries in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.rounds import Outcome, Sample, alternate
from tests.faults.agents import Agent
from tests.faults.stocking import stock, url_of

ENTRIES: Final = 100_000


def run(work: Path, runs: int, scale: float) -> Outcome:
    """Measure; `scale` makes it fewer entries."""
    count = max(100, int(ENTRIES * scale))
    empty, full = Agent(work / "empty"), Agent(work / "full")
    full.options = ["--cache-size", "40G"]
    stock(full.cache, count)

    def start(agent: Agent) -> Sample:
        seconds = agent.start()
        sample = {"ready s": seconds, "RSS MiB": agent.rss_bytes() / (1 << 20)}
        agent.kill()
        return sample

    def without_index() -> Sample:
        for path in full.cache.glob("index.sqlite*"):
            path.unlink()
        sample = start_and_rebuild(full, count)
        full.kill()
        return sample

    try:
        results = alternate(
            {
                "an empty cache": lambda: start(empty),
                f"{count:,} entries": lambda: start(full),
                f"{count:,} entries, index deleted": without_index,
            },
            runs,
        )
    finally:
        empty.kill()
        full.kill()
    return Outcome(
        "startup",
        "Start of the agent: from exec to the greeting on its socket, after kill -9",
        results,
        ratios=[("ready s", f"{count:,} entries", "an empty cache")],
        notes=[
            "Importing Python modules is part of it. `rebuilt s` is when the index is whole again; lookups are answered all the while."
        ],
    )


def start_and_rebuild(agent: Agent, count: int) -> Sample:
    """Start, look something up at once, and wait for the index."""
    import time

    begin = time.perf_counter()
    ready = agent.start()
    with agent.wire() as wire:
        if not wire.call("stat", {"url": url_of(count // 2)}).body["cached"]:
            raise AssertionError("an entry is not found while the index is rebuilt")
        rss = agent.rss_bytes()
        while wire.call("status").body["usage"]["rebuilding"]:
            time.sleep(0.01)
    return {"ready s": ready, "RSS MiB": rss / (1 << 20), "rebuilt s": time.perf_counter() - begin}
