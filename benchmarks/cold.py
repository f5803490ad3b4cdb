"""One large file from an nginx on this machine, nothing cached: p2pstore beside curl and aria2c."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from benchmarks.commands import timed
from benchmarks.machine import cpu_s, reset_peak
from benchmarks.rounds import Outcome, Sample, alternate
from tests.faults.agents import Agent
from tests.faults.nginx import Nginx

SIZE_BYTES: Final = 1 << 30


def run(work: Path, runs: int, scale: float) -> Outcome:
    """Measure; `scale` makes the file smaller for a quick look."""
    size = max(32 << 20, int(SIZE_BYTES * scale)) & ~0xFFFFF
    nginx = Nginx(work / "nginx")
    agent = Agent(work / "agent")
    try:
        url = _large(nginx, size)
        agent.options = ["--cache-size", "8G"]
        agent.start()
        return _race(work, agent, url, size, runs)
    finally:
        agent.kill()
        nginx.stop()


def _large(nginx: Nginx, size: int) -> str:
    block = random.Random("cold").randbytes(1 << 20)
    with (nginx.www / "large").open("wb") as file:
        for number in range(size >> 20):
            file.write(number.to_bytes(8, "big") + block[8:])
    return nginx.url("large")


def _race(work: Path, agent: Agent, url: str, size: int, runs: int) -> Outcome:
    out = work / "out"

    def p2pstore(*more: str) -> Sample:
        reset_peak(agent.pid)
        before = cpu_s(agent.pid)
        sample = timed(agent.argv("get", url, "-q", *more), env=agent.environment())
        sample["agent CPU s"] = cpu_s(agent.pid) - before
        sample["agent peak RSS MiB"] = agent.rss_bytes("VmHWM") / (1 << 20)
        return sample

    def clean(name: str) -> None:
        out.unlink(missing_ok=True)
        if name.startswith("p2pstore"):
            agent.command("rm", url)

    contestants = {
        "p2pstore get": lambda: p2pstore(),
        "p2pstore get -o": lambda: p2pstore("-o", str(out)),
        "curl -o": lambda: timed(["curl", "-s", "-f", "-o", str(out), url]),
        "aria2c -x4 -s4": lambda: timed(
            [
                "aria2c",
                "-q",
                "-x4",
                "-s4",
                "--file-allocation=none",
                "--allow-overwrite=true",
                "-d",
                str(work),
                "-o",
                "out",
                url,
            ]
        ),
    }
    results = alternate(contestants, runs, before=clean)
    for samples in results.values():
        for sample in samples:
            sample["MiB/s"] = size / (1 << 20) / sample["seconds"]
    return Outcome(
        "cold",
        f"One file of {size >> 20} MiB, cold, from nginx on loopback",
        results,
        ratios=[
            ("seconds", "p2pstore get", "curl -o"),
            ("seconds", "p2pstore get", "aria2c -x4 -s4"),
            ("seconds", "p2pstore get -o", "curl -o"),
        ],
        notes=[
            "`p2pstore get` ends when the verified file is in the cache; with `-o` it is also copied (reflinked where the file system can).",
            "The start of the command line is part of its time.",
        ],
    )
