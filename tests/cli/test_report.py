"""What is printed, for scripts and for people."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from p2pstore.cli import report
from p2pstore.client.got import Got
from p2pstore.errors import DigestMismatch, NotFound, OriginBusy, P2PStoreError


def got(**changes: Any) -> Got:
    fields = {
        "url": "https://host/big.bin",
        "key": "k" * 64,
        "ver": "v" * 32,
        "root": "r" * 64,
        "size": 4 << 30,
        "path": "/cache/pub/rr/r",
        "private": False,
        "stale": False,
        "why": "fresh",
        "age_s": 0.0,
        "verified": "transfer",
        "seconds": 13.0,
        "bytes": {"cache": 0, "peers": 0, "origin": 4 << 30},
        "digests": {},
        "warnings": [],
        "content_type": "",
        "fd": False,
    }
    return Got(fields | changes, asked="https://host/big.bin")


def test_the_fields_that_scripts_count_on() -> None:
    fields = report.got_fields("https://host/big.bin?x", got(warnings=["md5 is weak"]), "out/big.bin")
    assert fields == {
        "url": "https://host/big.bin?x",
        "path": "out/big.bin",
        "size": 4 << 30,
        "root": "r" * 64,
        "seconds": 13.0,
        "stale": False,
        "version": "v" * 32,
        "ver": "v" * 32,
        "bytes": {"cache": 0, "peers": 0, "origin": 4 << 30},
        "verified": "transfer",
        "private": False,
        "warnings": ["md5 is weak"],
    }
    assert sum(fields["bytes"].values()) == fields["size"]


def test_a_failure_is_told_with_its_code() -> None:
    error = OriginBusy("https://host: come back", hint="wait")
    assert report.error_fields(error, url="https://host/x") == {
        "url": "https://host/x",
        "error": {
            "code": "origin_busy",
            "message": "https://host: come back",
            "hint": "wait",
            "retryable": True,
            "exit_code": 6,
        },
    }


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "big.bin  4.0 GiB  origin host  315 MiB/s  13.0 s"),
        (
            {"bytes": {"cache": 4 << 30, "peers": 0, "origin": 0}, "seconds": 0.0004},
            "big.bin  4.0 GiB  cache  0.4 ms",
        ),
        (
            {"bytes": {"cache": 3 << 30, "peers": 0, "origin": 1 << 30}, "seconds": 4.0},
            "big.bin  4.0 GiB  cache 3.0 GiB + origin host 1.0 GiB  256 MiB/s  4.00 s",
        ),
        (
            {"bytes": {"cache": 0, "peers": 0, "origin": 0}, "size": 0, "seconds": 0.01},
            "big.bin  0 B  cache  10.0 ms",
        ),
        ({"stale": True}, "big.bin  4.0 GiB  origin host  315 MiB/s  13.0 s  STALE"),
    ],
)
def test_the_line_says_where_the_bytes_came_from(changes: dict[str, Any], line: str) -> None:
    assert report.got_line("big.bin", "https://user:secret@host/big.bin", got(**changes)) == line


def test_digests_that_agreed_are_told_short() -> None:
    line = report.got_line("x", "https://host/x", got(), ["sha256:" + "9f2c41aa" + "0" * 56])
    assert line.endswith("  sha256:9f2c41aa… ok")


@pytest.mark.parametrize(
    ("text", "clipped"), [("a\nb\x1b[31m", "a?b?[31m"), ("x" * 100, "…" + "x" * 59), ("short", "short")]
)
def test_names_can_not_disturb_the_terminal(text: str, clipped: str) -> None:
    assert report.clip(text) == clipped


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://u:p@h:81/x", "h:81"), ("put:x", ""), ("file:///x", "file"), ("http://[bad", "")],
)
def test_hosts_are_told_without_credentials(url: str, host: str) -> None:
    assert report.host_of(url) == host


@pytest.mark.parametrize(
    ("errors", "total", "code"),
    [
        ([], 3, 0),
        ([NotFound("x")], 1, 3),
        ([NotFound("x"), NotFound("y")], 2, 3),
        ([NotFound("x"), DigestMismatch("y")], 2, 9),
        ([NotFound("x")], 2, 9),
    ],
)
def test_one_code_for_many_outcomes(errors: list[P2PStoreError], total: int, code: int) -> None:
    assert report.exit_code(errors, total) == code


def test_json_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_json({"url": "https://host/a\nb", "size": 1})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"url": "https://host/a\nb", "size": 1}


def test_no_colour_without_a_terminal_or_when_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert report.paint("ok", "green") == "ok"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert report.paint("ok", "green") != "ok"
    monkeypatch.setenv("NO_COLOR", "1")
    assert report.paint("ok", "green") == "ok"
