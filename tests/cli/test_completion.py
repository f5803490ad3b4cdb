"""`p2pstore completion`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from p2pstore.cli.completion import VARIABLE
from p2pstore.cli.main import outcome

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_told_how_to_ask(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["completion", shell]) == 0
    assert VARIABLE in capsys.readouterr().out


def test_another_shell_is_a_usage_error() -> None:
    assert outcome(["completion", "cmd"]) == 2


@pytest.mark.parametrize(
    ("words", "found"),
    [("p2pstore pre", "prefetch"), ("p2pstore get --off", "--offline"), ("p2pstore ls --sort si", "size")],
)
def test_the_program_answers_the_shell(words: str, found: str) -> None:
    environ = os.environ | {
        VARIABLE: "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "p2pstore"], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60
    )
    assert f"plain,{found}" in done.stdout.splitlines()
