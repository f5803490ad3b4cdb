from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from p2pstore.client import wishes
from p2pstore.errors import BadUrl, NotCached, NotFound
from p2pstore.wire.messages import check_arguments


@pytest.fixture(autouse=True)
def no_netrc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", "/nonexistent")


def test_every_wish_becomes_an_argument_that_the_agent_takes() -> None:
    args = wishes.arguments(
        "https://a.example/x",
        {
            "digest": "sha256:00",
            "headers": {"Accept": "text/plain"},
            "auth": ("me", "secret"),
            "refresh": True,
            "offline": False,
            "max_age_s": 5.0,
            "ignore_query": ("utm",),
            "limit_rate": 10,
            "timeout_s": 3.0,
        },
    )
    assert args == {
        "url": "https://a.example/x",
        "digests": ["sha256:00"],
        "headers": [["Accept", "text/plain"]],
        "auth": {"user": "me", "password": "secret"},
        "refresh": True,
        "max_age_s": 5.0,
        "ignore_query": ["utm"],
        "limit_rate": 10,
        "deadline_s": 3.0,
    }
    check_arguments("get", args)


def test_nothing_wished_is_nothing_sent() -> None:
    assert wishes.arguments("u", {}) == {"url": "u"}
    assert wishes.arguments("u", {"digest": None, "headers": None, "auth": None, "timeout_s": None}) == {
        "url": "u"
    }
    assert wishes.arguments("u", {"lease": True}) == {"url": "u", "want": "path"}
    assert wishes.arguments("u", {"auth": "token"})["auth"] == {"bearer": "token"}
    assert wishes.arguments(None, {"digest": ["a:1", "b:2"]}) == {"digests": ["a:1", "b:2"]}


def test_a_misspelt_wish_is_an_error_of_the_caller() -> None:
    with pytest.raises(TypeError, match="digset"):
        wishes.arguments("u", {"digset": "x"})  # type: ignore[typeddict-unknown-key]


class Known:
    def credentials(self, url: str) -> dict[str, str]:
        return {"user": "me", "password": "secret"}


@pytest.mark.parametrize(
    ("wish", "sent"),
    [
        ({}, True),
        ({"netrc": False}, False),
        ({"auth": "token"}, False),
        ({"headers": [("authorization", "x")]}, False),
        ({"headers": [("accept", "x")]}, True),
    ],
)
def test_netrc_gives_way_to_what_is_said(wish: Any, sent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "_netrc", Known())
    assert (
        wishes.arguments("https://a.example/", wish).get("auth") == {"user": "me", "password": "secret"}
    ) is sent


def test_results_are_named_by_name() -> None:
    assert wishes.whose("put:a/b", {}) == {"name": "a/b"}
    assert wishes.looking("put:a", "v", {}) == {"name": "a", "ver": "v"}
    assert wishes.removal("u", None, True, {}) == {"url": "u", "versions": True}
    assert wishes.removal(None, "p", False, {}) == {"prefix": "p"}
    assert wishes.storing("n", True) == {"name": "n", "fd": True, "replace": True}


def test_batches_fit_into_frames() -> None:
    assert [len(batch) for batch in wishes.batches(f"u{number}" for number in range(2500))] == [
        1000,
        1000,
        500,
    ]
    long = ["x" * 100_000] * 5
    assert [len(batch) for batch in wishes.batches(long)] == [2, 2, 1]
    assert list(wishes.batches([])) == []


def test_outcomes_carry_errors() -> None:
    error = NotCached("gone", hint="look")
    found = wishes.outcomes(
        {"results": [{"url": "a", "ok": True}, {"url": "b", "ok": False, "error": error.to_wire()}]}
    )
    assert found[0] == {"url": "a", "ok": True, "error": None}
    assert type(found[1]["error"]) is NotCached and found[1]["error"].hint == "look"


def test_local_files_are_opened_here(tmp_path: Path) -> None:
    path = tmp_path / "a b"
    path.write_bytes(b"x")
    fd = wishes.open_local(f"file://{tmp_path}/a%20b")
    assert os.read(fd, 5) == b"x"
    os.close(fd)
    fd = wishes.open_local(f"file://localhost{tmp_path}/a%20b")
    os.close(fd)
    assert wishes.open_local("https://a.example/") == -1
    for url in ("file://other.host/x", "file:relative", "file:///a%00b"):
        with pytest.raises(BadUrl):
            wishes.open_local(url)
    with pytest.raises(NotFound, match="No such file"):
        wishes.open_local("file:///nonexistent")


def test_sources_are_paths_or_descriptors(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    fd = wishes.source_fd(tmp_path / "f")
    copy = wishes.source_fd(fd)
    os.close(fd)
    assert os.read(copy, 5) == b"x"
    os.close(copy)
    with pytest.raises(NotFound):
        wishes.source_fd(tmp_path / "missing")
