"""How long readers wait for cached files while the agent loads and evicts at full speed."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.rounds import Outcome, Sample, alternate
from tests.faults.agents import Agent
from tests.faults.nginx import Nginx
from tests.faults.wire import Wire

HOT: Final = 200
HOT_BYTES: Final = 64 << 10
FLOW: Final = 64
FLOW_BYTES: Final = 16 << 20
QUOTA_MIB: Final = 1024
"""What flows through fills it in two seconds; the cached files are read again several times meanwhile, so they stay."""
SECONDS: Final = 6.0


def run(work: Path, runs: int, scale: float) -> Outcome:
    """Measure; `scale` makes each phase shorter."""
    seconds = max(1.0, SECONDS * scale)
    nginx = Nginx(work / "nginx")
    tight, roomy = Agent(work / "tight"), Agent(work / "roomy")
    tight.options = ["--cache-size", f"{QUOTA_MIB}M"]
    roomy.options = ["--cache-size", "20G"]
    try:
        hot = _hot(nginx)
        flow = itertools.count()
        for agent in (tight, roomy):
            agent.start()
        results = alternate(
            {
                "quiet": lambda: _reads(tight, hot, seconds),
                "loading, room for all": lambda: _while_loading(roomy, nginx, hot, flow, seconds),
                "loading and evicting": lambda: _while_loading(tight, nginx, hot, flow, seconds),
            },
            runs,
        )
    finally:
        tight.kill()
        roomy.kill()
        nginx.stop()
    return Outcome(
        "evicting",
        f"Reads of cached files of {HOT_BYTES >> 10} KiB through descriptors, while files of {FLOW_BYTES >> 20} MiB flow through",
        results,
        ratios=[
            ("p99 ms", "loading and evicting", "loading, room for all"),
            ("p99 ms", "loading and evicting", "quiet"),
        ],
        notes=[
            "Loading takes processor time from readers on a machine with few cores; what evicting adds is the difference of the two."
        ],
    )


def _hot(nginx: Nginx) -> list[str]:
    rng = random.Random("hot")
    for number in range(HOT):
        nginx.file(f"hot-{number}", rng.randbytes(HOT_BYTES))
    for number in range(FLOW):
        nginx.sparse(f"flow-{number}", FLOW_BYTES, b"flow %d" % number)
    return [nginx.url(f"fresh/hot-{number}") for number in range(HOT)]


def _reads(agent: Agent, hot: list[str], seconds: float) -> Sample:
    times = []
    missed = 0
    with agent.wire() as wire:
        for url in hot:
            wire.call("get", {"url": url}).close()
        end = time.perf_counter() + seconds
        for url in itertools.cycle(hot):
            begin = time.perf_counter()
            if begin > end:
                break
            result = wire.call("get", {"url": url})
            os.pread(result.fd, HOT_BYTES, 0)
            times.append(time.perf_counter() - begin)
            missed += result.body["bytes"]["cache"] == 0
            result.close()
            time.sleep(0.0005)
    times.sort()
    return {
        "p50 ms": times[len(times) // 2] * 1e3,
        "p99 ms": times[int(len(times) * 0.99)] * 1e3,
        "max ms": times[-1] * 1e3,
        "reads": float(len(times)),
        "fetched anew": float(missed),
    }


def _while_loading(agent: Agent, nginx: Nginx, hot: list[str], flow: Iterator[int], seconds: float) -> Sample:
    done = threading.Event()
    loaded = 0

    def load() -> None:
        nonlocal loaded
        with Wire(agent.socket) as wire:
            while not done.is_set():
                number = next(flow)
                # The same few files under ever new names would be one object: other bytes, other object.
                path = nginx.www / f"flow-{number % FLOW}"
                with path.open("r+b") as file:
                    file.write(b"flow %020d" % number)
                wire.call("get", {"url": nginx.url(f"flow-{number % FLOW}?{number}"), "want": "none"})
                loaded += 1

    loading = threading.Thread(target=load)
    before = _evicted(agent)
    loading.start()
    try:
        sample = _reads(agent, hot, seconds)
    finally:
        done.set()
        loading.join()
    sample["MiB/s loaded"] = loaded * (FLOW_BYTES >> 20) / seconds
    sample["files evicted"] = float(_evicted(agent) - before)
    return sample


def _evicted(agent: Agent) -> int:
    with agent.wire() as wire:
        counters = wire.call("status").body["counters"]
    return int(counters.get("evicted", 0))
