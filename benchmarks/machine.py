"""What the figures were taken on, and making it ready."""

from __future__ import annotations

import mmap
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

WARM_BYTES: Final = 6 << 30


def description() -> dict[str, str]:
    """Processor, memory, kernel, versions."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "processor": f"{os.cpu_count()} x {model}",
        "memory": f"{int(memory) / (1 << 20):.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "aiohttp": metadata.version("aiohttp"),
        **{
            name: _version(name, *flags)
            for name, flags in (("curl", ["--version"]), ("aria2c", ["--version"]), ("nginx", ["-v"]))
        },
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _version(program: str, *flags: str) -> str:
    found = shutil.which(program)
    if found is None:
        return "not there"
    done = subprocess.run([found, *flags], capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines()[0].strip()


def warm_memory(size_bytes: int = WARM_BYTES) -> None:
    """Touch that much memory once: on virtual machines the first touch of a page is slow, and nobody shall pay for it."""
    available = next(
        (int(line.split()[1]) << 10 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable")), 0
    )
    size = min(size_bytes, available * 3 // 4)
    if size < 1 << 20:
        return
    with mmap.mmap(-1, size) as block:
        for offset in range(0, size, 4096):
            block[offset] = 1


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reset_peak(pid: int) -> None:
    """Count the peak of resident memory from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
