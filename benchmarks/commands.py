"""Runs a contestant that is a program: wall time, processor time and peak memory of it and its children."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.rounds import Sample


class ContestantFailed(Exception):
    """A program that was to be measured did not do its work."""


def timed(command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Sample:
    """Run it to its end; raises ContestantFailed unless it exits with 0."""
    with open(os.devnull, "r+b") as null:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, env=env, cwd=cwd)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ContestantFailed(f"{' '.join(command)[:200]} ended with {process.returncode}")
    return {"seconds": seconds, "client CPU s": usage.ru_utime + usage.ru_stime}
