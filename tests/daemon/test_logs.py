"""Log lines for a terminal and for a journal."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pstore.daemon.logs import LineFormat, goes_to_journal, log_to_stderr


def record(
    level: int = logging.INFO, message: str = "load ended url=http://h/x", *args: object
) -> logging.LogRecord:
    return logging.LogRecord("p2pstore.agent.loads", level, __file__, 1, message, args, None)


def test_a_line_has_its_time_level_place_and_pairs() -> None:
    line = LineFormat(journal=False).format(record())
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info agent\.loads load ended url=http://h/x", line
    )


@pytest.mark.parametrize(("level", "priority"), [(10, 7), (20, 6), (30, 4), (40, 3), (50, 2)])
def test_the_journal_gets_the_priority_and_no_time(level: int, priority: int) -> None:
    assert (
        LineFormat(journal=True).format(record(level)) == f"<{priority}>agent.loads load ended url=http://h/x"
    )


def test_a_message_can_not_begin_a_line_of_its_own() -> None:
    line = LineFormat(journal=False).format(record(logging.INFO, "got %s", "x\n2026 error forged"))
    assert "\n" not in line


def test_a_trace_keeps_its_lines() -> None:
    one = record(logging.ERROR, "broken")
    try:
        raise ValueError("why")
    except ValueError:
        one.exc_info = sys.exc_info()
    lines = LineFormat(journal=True).format(one).split("\n")
    assert all(line.startswith("<3>") for line in lines)
    assert lines[-1].endswith("ValueError: why")


def test_the_journal_is_known_by_its_file(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as stream:
        found = os.fstat(stream.fileno())
        assert goes_to_journal(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not goes_to_journal(stream, {"JOURNAL_STREAM": "1:1"})
        assert not goes_to_journal(stream, {})
    assert not goes_to_journal(io.StringIO(), {"JOURNAL_STREAM": "1:1"})


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("p2pstore")
    before = root.handlers[:], root.level, own.level
    yield
    logging.captureWarnings(False)
    root.handlers[:], level, own_level = before
    root.setLevel(level)
    own.setLevel(own_level)


@pytest.mark.usefixtures("_logging_as_before")
def test_the_level_holds_for_the_package_only(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", {})
    logging.getLogger("p2pstore.x").info("told")
    logging.getLogger("p2pstore.x").debug("not told")
    logging.getLogger("aiohttp").info("not told either")
    assert capsys.readouterr().err.endswith(" info x told\n")
