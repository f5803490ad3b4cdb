"""`p2pstore demo`, as a program: it tells the story, ends well, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pstore.cli import demo
from p2pstore.errors import IntegrityError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def surroundings(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An empty home, and a temporary folder with a name short enough for a socket below it."""
    (tmp_path / "home").mkdir()
    with tempfile.TemporaryDirectory(prefix="demo") as short:
        yield {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "TMPDIR": short}


def test_the_whole_story(surroundings: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "p2pstore", "demo"],
        cwd=ROOT,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=55,
    )
    told = done.stdout
    assert done.returncode == 0, told + done.stderr
    assert re.search(r"first\.bin  48\.0 MiB  origin 127\.0\.0\.1:\d+  .*/s  .*  sha256:\w{8}… ok", told)
    assert re.search(r"second\.bin  48\.0 MiB  cache  ", told)
    assert "0 B sent for this one" in told
    assert "while it comes" in told
    assert "All as it should be" in told
    assert str(tmp_path) not in told
    assert os.listdir(surroundings["TMPDIR"]) == []
    assert list(Path(surroundings["HOME"]).rglob("*")) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_cleans_up_when_it_is_stopped(
    surroundings: dict[str, str], number: signal.Signals, code: int
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "p2pstore", "demo"],
        cwd=ROOT,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    with child.stdout:
        # In the middle: the agent runs and the first file is on its way.
        for line in child.stdout:
            if "toy origin serves" in line:
                break
        # However busy the machine is, it must not come to its end before it is told to.
        child.send_signal(signal.SIGSTOP)
        agents = subprocess.run(
            ["pgrep", "-f", surroundings["TMPDIR"]], capture_output=True, text=True, check=False
        )
        assert agents.stdout.split(), "the agent should run by now"
        child.send_signal(number)
        child.send_signal(signal.SIGCONT)
        child.stdout.read()
    assert child.wait(30) == code
    assert os.listdir(surroundings["TMPDIR"]) == []
    left = subprocess.run(
        ["pgrep", "-f", surroundings["TMPDIR"]], capture_output=True, text=True, check=False
    )
    assert left.stdout == ""


def test_what_is_not_as_it_should_be_ends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = demo.Demo(tmp_path)
    monkeypatch.setattr(demo, "_command", lambda argv: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(IntegrityError, match="ended with code 3"):
        one._run("status")
    one.origin._server.server_close()


def test_long_lines_are_shortened_for_the_reader() -> None:
    line = f"p2pstore get u --digest sha256:{'ab' * 32}"
    assert demo._shortened(line) == "p2pstore get u --digest sha256:abababab…"


def test_settings_of_the_user_do_not_change_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PSTORE_CACHE_DIR", "/elsewhere")
    found = demo._environ()
    assert "P2PSTORE_CACHE_DIR" not in found
    assert found["P2PSTORE_CONFIG"] == os.devnull
    assert found["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
