"""`p2pstore explain`."""

from __future__ import annotations

import pytest

from p2pstore.cli.main import outcome


@pytest.fixture(autouse=True)
def _nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PSTORE_SOCKET", "/nowhere/agent.sock")


def test_one_url(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["explain", "HTTP://Example.org:80/a/../b#part"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "canonical: http://example.org/b"
    assert lines[-1].startswith("key: ")


def test_parameters_that_make_no_difference(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["explain", "--ignore-query", "s", "https://h.example/x?s=1&t=2"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "canonical: https://h.example/x?t=2"


def test_secrets_are_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["explain", "https://me:s3cret@h.example/x"]) == 0
    out = capsys.readouterr().out
    assert "private" in out
    assert "s3cret" not in out


def test_two_urls(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["explain", "https://h.example/x?a=1&b=2", "https://h.example/x?b=2&a=1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("two keys:")
    assert "another order" in out


def test_what_is_no_url_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["explain", "nonsense"]) == 2
    assert capsys.readouterr().err.startswith("p2pstore: ")
