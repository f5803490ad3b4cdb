"""`python -m p2pstore`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from p2pstore import __version__

ROOT = Path(__file__).parents[1]


def test_the_package_is_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "p2pstore", "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"p2pstore {__version__}\n", "")


def test_its_exit_code_is_the_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "p2pstore", "no-such"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "Usage: p2pstore [OPTIONS] COMMAND" in done.stderr
