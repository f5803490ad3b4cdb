"""`p2pstore get`: where files go, what is printed where, and the exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from p2pstore.cli import get
from p2pstore.cli.main import outcome
from p2pstore.cli.wishes import Wanted
from p2pstore.errors import DigestMismatch, NotFound
from tests.cli.conftest import BODY, ScriptedClient

SHA = "sha256:" + "ab" * 32


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_without_output_the_path_is_the_last_line(
    client: ScriptedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(["get", "https://h/x"]) == 0
    out, err = capsys.readouterr()
    assert out == "/cache/pub/rr/r\n"
    assert err == "x  100 B  origin h  200 B/s  0.50 s\n"
    assert client.closed == 1


def test_paths_come_in_the_order_of_the_urls(
    client: ScriptedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = [f"https://h/{number}" for number in range(5)]
    client.answers = {url: {"path": f"/cache/{url[-1]}"} for url in urls}
    client.answers[urls[3]] = NotFound("no such file")
    assert outcome(["get", *urls]) != 0
    out, err = capsys.readouterr()
    assert out.split() == ["/cache/0", "/cache/1", "/cache/2", "/cache/4"]
    assert err.startswith("4  100 B"), "what is there is told at once"


@pytest.mark.parametrize("option", ["-i", "-H"])
def test_a_file_that_can_not_be_read_is_a_usage_error(
    option: str, client: ScriptedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "/nowhere/at/all" if option == "-i" else "@/nowhere/at/all"
    assert outcome(["get", "https://h/x", option, path]) == 2
    assert "can't read /nowhere/at/all: No such file or directory" in capsys.readouterr().err
    assert not client.asked


def test_quiet_leaves_only_the_path(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["get", "-q", "https://h/x"]) == 0
    assert capsys.readouterr() == ("/cache/pub/rr/r\n", "")


def test_a_file_of_ones_own(
    client: ScriptedClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.bin"
    assert outcome(["get", "https://h/x", "-o", str(target), "--link", "copy", "--digest", SHA]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("sha256:abababab… ok\n")
    assert target.read_bytes() == BODY
    verb, url, how = client.asked[0]
    assert (verb, url, how["output"], how["link"], how["digest"]) == (
        "fetch",
        "https://h/x",
        str(target),
        "copy",
        [SHA],
    )


def test_to_stdout(client: ScriptedClient, capfd: pytest.CaptureFixture[str]) -> None:
    assert outcome(["get", "https://h/x", "-o", "-"]) == 0
    out, err = capfd.readouterr()
    assert out.encode() == BODY
    assert "origin h" in err
    assert client.asked[0][2]["output"] == sys.stdout.fileno()


def test_json_is_objects_and_a_summary(
    client: ScriptedClient, missing: NotFound, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client.answers["https://h/none"] = missing
    client.answers["https://h/y"] = {"bytes": {"cache": 100, "peers": 0, "origin": 0}, "stale": True}
    assert (
        outcome(["get", "--json", "-d", str(tmp_path / "d"), "https://h/x", "https://h/none", "https://h/y"])
        == 9
    )
    out, err = capsys.readouterr()
    found = lines_of(out)
    assert [one.get("url") for one in found] == ["https://h/y", "https://h/none", "https://h/x", None]
    assert found[2]["path"] == str(tmp_path / "d" / "x")
    assert found[1]["error"]["code"] == "not_found"
    assert found[0]["stale"] is True
    summary = found[3]["summary"]
    assert summary.pop("seconds") >= 0
    assert summary == {"ok": 2, "failed": 1, "size": 200, "bytes": {"cache": 100, "peers": 0, "origin": 100}}
    assert "p2pstore: https://h/none: 404 (check the URL)" in err
    assert (tmp_path / "d" / "y").read_bytes() == BODY


def test_digests_of_their_own(
    client: ScriptedClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "urls").write_text(f"https://h/a {SHA}\nhttps://h/b\n")
    client.answers["https://h/a"] = DigestMismatch("https://h/a: not what you said")
    assert outcome(["get", "-q", "--json", "-j", "2", "-i", str(tmp_path / "urls")]) == 9
    digests = {url: how["digest"] for _, url, how in client.asked}
    assert digests == {"https://h/a": [SHA], "https://h/b": None}
    codes = {
        one["url"]: one.get("error", {}).get("exit_code")
        for one in lines_of(capsys.readouterr().out)
        if "url" in one
    }
    assert codes == {"https://h/a": 5, "https://h/b": None}


def test_the_same_url_twice_is_one(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["get", "https://h/x", "https://h/x"]) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_a_failure_has_its_own_code(
    client: ScriptedClient, missing: NotFound, capsys: pytest.CaptureFixture[str]
) -> None:
    client.answers["https://h/none"] = missing
    assert outcome(["get", "https://h/none"]) == 3
    assert capsys.readouterr() == ("", "p2pstore: https://h/none: 404 (check the URL)\n")


def test_without_a_path_for_this_user_it_says_what_to_do(
    client: ScriptedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.answers["https://h/x"] = {"path": ""}
    assert outcome(["get", "https://h/x"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "use -o FILE" in err


def test_verbose_and_stale_tell_why(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["https://h/x"] = {"stale": True, "warnings": ["md5 is weak"]}
    assert outcome(["get", "-v", "https://h/x"]) == 0
    err = capsys.readouterr().err
    assert "STALE\np2pstore: md5 is weak\n  fresh for 59 s (RFC 9111 4.2)\n  version vvv" in err


def test_progress_for_scripts(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["get", "-q", "--progress", "json", "https://h/x"]) == 0
    assert lines_of(capsys.readouterr().err)[0]["bytes"] == 1


def planned(urls: list[str], **flags: Any) -> list[str]:
    defaults = {"output": None, "directory": None, "use_remote_name": False, "as_json": False}
    return [target.path for target in get.plan([Wanted(url) for url in urls], defaults | flags)]


def test_where_files_go(tmp_path: Path) -> None:
    assert planned(["https://h/a/x"]) == [""]
    assert planned(["https://h/a/x"], use_remote_name=True) == ["x"]
    assert planned(["https://h/a/x"], output="o") == ["o"]
    assert planned(["https://h/a/x", "https://h/y"], directory=str(tmp_path)) == [
        f"{tmp_path}/x",
        f"{tmp_path}/y",
    ]
    assert planned(["https://h/a/x"], output="o", directory=str(tmp_path / "new")) == [f"{tmp_path}/new/o"]
    assert (tmp_path / "new").is_dir()
    assert planned(["https://h/a/x"], output="/abs", directory=str(tmp_path)) == ["/abs"]


@pytest.mark.parametrize(
    ("urls", "flags", "said"),
    [
        (["https://h/x"], {"output": "o", "use_remote_name": True}, "contradict"),
        (["https://h/x", "https://h/y"], {"output": "o"}, "use -d DIR"),
        (["https://h/x"], {"output": "-", "as_json": True}, "stdout"),
        (["https://h/"], {"use_remote_name": True}, "use -o FILE"),
        (["https://h/a/x", "https://h/b/x"], {"use_remote_name": True}, "both be written to x"),
    ],
)
def test_what_can_not_go_there_is_said_before_anything_is_asked(
    urls: list[str], flags: dict[str, Any], said: str
) -> None:
    with pytest.raises(click.UsageError, match=said):
        planned(urls, **flags)
