"""What the agent asks of the kernel, seen from a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from p2pstore.daemon import process

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def test_memory_is_not_for_others() -> None:
    shown = run(
        "import ctypes, resource\n"
        "from p2pstore.daemon.process import guard_memory\n"
        "dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)\n"
        "before = dumpable()\n"
        "guard_memory()\n"
        "print(before, dumpable(), *resource.getrlimit(resource.RLIMIT_CORE))\n"
    )
    assert shown == "1 0 0 0"


def test_descriptors_up_to_the_hard_limit() -> None:
    shown = run(
        "import resource\n"
        "from p2pstore.daemon.process import raise_descriptor_limit\n"
        "hard = min(2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1])\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "print(raise_descriptor_limit() == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )
    assert shown == "True"


def test_a_limit_that_may_not_be_changed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(which: int, wanted: tuple[int, int]) -> None:
        asked.append(which)
        raise PermissionError("the system call is taken away")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (100, 200))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert process.raise_descriptor_limit() == 100
    monkeypatch.setattr(resource, "getrlimit", lambda which: (200, 200))
    assert process.raise_descriptor_limit() == 200
    assert asked == [resource.RLIMIT_NOFILE]


def test_what_start_up_made_is_left_alone_by_the_collector() -> None:
    assert (
        int(
            run(
                "import gc\nfrom p2pstore.daemon.process import settle_memory\nsettle_memory()\nprint(gc.get_freeze_count())"
            )
        )
        > 1000
    )


def test_this_boot_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("0f6e3a9c-1111-2222-3333-444455556666\n")
    assert process.boot_id(str(tmp_path / "id")) == "0f6e3a9c-1111-2222-3333-444455556666"
    assert len(process.boot_id()) == 36
