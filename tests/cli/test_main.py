"""The group: lazy commands, one line for what went wrong, and exit codes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from p2pstore import __version__
from p2pstore.cli import main
from p2pstore.errors import BY_CODE, NotFound, P2PStoreError

ROOT = Path(__file__).parents[2]
HEAVY = (
    "aiohttp",
    "msgspec",
    "rich",
    "asyncio",
    "p2pstore.agent",
    "p2pstore.storage",
    "p2pstore.sources",
    "tomllib",
)


def loaded_by(*argv: str) -> list[str]:
    """The heavy modules that are there when a command has ended."""
    code = (
        "import sys\n"
        "from p2pstore.cli.main import outcome\n"
        f"outcome({list(argv)!r})\n"
        f"print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    environ = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("LOADED"))
    return line.split()[1:]


@pytest.mark.parametrize(
    "argv",
    [
        ("get", "http://127.0.0.1:1/x"),
        ("get", "--json", "-i", "/dev/null", "http://127.0.0.1:1/x"),
        ("stat", "http://127.0.0.1:1/x"),
        ("ls",),
        ("wait", "http://127.0.0.1:1/x"),
        ("prefetch", "http://127.0.0.1:1/x"),
    ],
)
def test_the_way_of_every_job_is_light(argv: tuple[str, ...], tmp_path: Path) -> None:
    # Nobody listens there: all that a command does before it speaks to the agent has been done.
    assert loaded_by("--socket", str(tmp_path / "none"), *argv) == []


def test_the_planted_bug_of_that_test_would_be_found(tmp_path: Path) -> None:
    assert "msgspec" in loaded_by("--socket", str(tmp_path / "none"), "config")


def test_the_package_itself_is_lighter_still() -> None:
    code = "import sys, p2pstore.__main__; print([one for one in sys.modules if one in ('click', 'msgpack', 'blake3')])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_command_is_there_and_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.outcome(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in main.COMMANDS:
        assert f"\n  {name} " in shown
        assert main.outcome([name, "--help"]) == 0
        assert "Example" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.outcome(["--version"]) == 0
    assert capsys.readouterr().out == f"p2pstore {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["gte"], "Did you mean 'get'?"),
        (["xyzzy"], "No such command"),
        (["get"], "Missing argument 'URL'"),
        (["get", "--limit-rate", "fast", "u"], "not a size"),
        (["--nonsense"], "No such option"),
    ],
)
def test_usage_errors_are_2(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.outcome(argv) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


def run_with(monkeypatch: pytest.MonkeyPatch, body: Callable[[], int | None]) -> int:
    """The outcome of a command that does this."""
    command = click.Command("get", callback=body)
    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: command)
    return main.outcome(["get"])


@pytest.mark.parametrize("cls", BY_CODE.values(), ids=BY_CODE)
def test_every_error_is_one_line_and_its_own_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cls: type[P2PStoreError]
) -> None:
    def fail() -> None:
        raise cls("what happened", hint="what to do")

    assert run_with(monkeypatch, fail) == cls.exit_code
    assert capsys.readouterr().err.startswith("p2pstore: what happened (what to do)\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.exceptions.Abort(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "x", "out.bin"), 8, "out.bin: No space left on device"),
        (PermissionError(errno.EACCES, "x", "/root/x"), 1, "/root/x: Permission denied"),
        (click.exceptions.Exit(4), 4, ""),
    ],
)
def test_other_ends_have_codes_too(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fail() -> None:
        raise error

    assert run_with(monkeypatch, fail) == code
    assert said in capsys.readouterr().err


def test_a_command_says_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_with(monkeypatch, lambda: NotFound.exit_code) == 3
    assert run_with(monkeypatch, lambda: None) == 0


def test_nobody_left_to_read_is_no_reason_to_shout() -> None:
    code = (
        "import os, sys, time\n"
        "from p2pstore.cli.main import run\n"
        "time.sleep(0.2)\n"
        "run(['completion', 'zsh'])\n"
    )
    read_end, write_end = os.pipe()
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    os.close(read_end)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (1, b"")


def test_run_ends_the_process_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "outcome", lambda argv: 7)
    with pytest.raises(SystemExit) as ended:
        main.run(["get"])
    assert ended.value.code == 7
