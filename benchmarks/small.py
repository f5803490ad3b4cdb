"""Ten thousand files of 10 KB, cold and warm, beside aria2c with sixteen downloads at once."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Final

from benchmarks.commands import timed
from benchmarks.machine import cpu_s
from benchmarks.rounds import Outcome, Sample, alternate
from tests.faults.agents import Agent
from tests.faults.disks import blocks_bytes
from tests.faults.nginx import Nginx

FILES: Final = 10_000
FILE_BYTES: Final = 10_000


def run(work: Path, runs: int, scale: float) -> Outcome:
    """Measure; `scale` makes it fewer files."""
    count = max(100, int(FILES * scale))
    nginx = Nginx(work / "nginx")
    agent = Agent(work / "agent")
    try:
        listing = work / "urls"
        listing.write_text("".join(url + "\n" for url in _files(nginx, count)))
        agent.options = ["--cache-size", "8G"]
        agent.start()
        return _race(work, agent, nginx, listing, count, runs)
    finally:
        agent.kill()
        nginx.stop()


def _files(nginx: Nginx, count: int) -> list[str]:
    rng = random.Random("small")
    (nginx.www / "many").mkdir()
    for number in range(count):
        (nginx.www / f"many/{number:05d}").write_bytes(rng.randbytes(FILE_BYTES))
    return [nginx.url(f"fresh/many/{number:05d}") for number in range(count)]


def _race(work: Path, agent: Agent, nginx: Nginx, listing: Path, count: int, runs: int) -> Outcome:
    out = work / "out"

    def p2pstore(*more: str) -> Sample:
        before = cpu_s(agent.pid)
        sample = timed(
            agent.argv("get", "-i", str(listing), "-j", "16", "-q", *more), env=agent.environment()
        )
        sample["agent CPU s"] = cpu_s(agent.pid) - before
        sample["files/s"] = count / sample["seconds"]
        return sample

    def cold() -> Sample:
        before = blocks_bytes(agent.cache)
        sample = p2pstore()
        sample["disk bytes beyond content, a file"] = (
            blocks_bytes(agent.cache) - before
        ) / count - FILE_BYTES
        return sample

    def aria2c() -> Sample:
        sample = timed(["aria2c", "-q", "-j16", "--file-allocation=none", "-i", str(listing), "-d", str(out)])
        sample["files/s"] = count / sample["seconds"]
        return sample

    def clean(name: str) -> None:
        shutil.rmtree(out, ignore_errors=True)
        if name == "p2pstore get, cold":
            agent.command("rm", "--prefix", nginx.url("fresh/many/"), timeout_s=600)

    results = alternate(
        {"p2pstore get, cold": cold, "p2pstore get, warm": p2pstore, "aria2c -j16": aria2c},
        runs,
        before=clean,
    )
    return Outcome(
        "small",
        f"{count:,} files of {FILE_BYTES:,} bytes from nginx on loopback",
        results,
        ratios=[
            ("seconds", "p2pstore get, cold", "aria2c -j16"),
            ("seconds", "p2pstore get, warm", "aria2c -j16"),
        ],
        notes=[
            "Cold and warm runs follow each other in turn, so that before each warm run everything is cached.",
            "Disk bytes beyond content count blocks: the end of a file's last block, its record, its share of the index.",
        ],
    )
