"""Every command against a real agent and a real origin: what the scripted client of the other tests only claims."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pstore.cli.main import outcome
from tests.origin import Behaviour, Origin, content

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 30.0
BODY = content(3_000_000)
SHA = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An agent for the tests of this module; its directory, with `agent.sock` and `cache`."""
    directory = tmp_path_factory.mktemp("agent")
    argv = [
        "--socket",
        str(directory / "agent.sock"),
        "--cache-dir",
        str(directory / "cache"),
        "--cache-size",
        "1G",
    ]
    with open(directory / "log", "w") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "p2pstore", "agent", "--config", "/dev/null", *argv],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert child.stdout is not None
    try:
        assert child.stdout.readline().startswith("ready"), (directory / "log").read_text()
        yield directory
    finally:
        child.terminate()
        child.communicate(timeout=TIMEOUT_S)


@pytest.fixture
def run(agent: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command; its code and what it said on stdout and stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        code = outcome(["--socket", str(agent / "agent.sock"), *argv])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def origin(threaded_origin: Origin) -> Origin:
    threaded_origin.serve("/x.bin", BODY, headers={"Cache-Control": "max-age=600"})
    return threaded_origin


Run = Callable[..., tuple[int, str, str]]


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_from_the_origin_then_from_the_cache(run: Run, origin: Origin, tmp_path: Path) -> None:
    url, target = origin.url("/x.bin"), tmp_path / "own.bin"
    code, out, err = run("get", url, "--digest", SHA, "-o", str(target))
    assert (code, out) == (0, "")
    assert err.startswith("own.bin  2.9 MiB  origin 127.0.0.1:")
    assert target.read_bytes() == BODY
    asked = len(origin.requests("/x.bin"))
    code, out, err = run("get", url)
    assert code == 0
    assert Path(out.removesuffix("\n")).read_bytes() == BODY
    assert "  cache  " in err
    assert len(origin.requests("/x.bin")) == asked


def test_json_that_scripts_count_on(run: Run, origin: Origin, tmp_path: Path) -> None:
    url = origin.url("/x.bin")
    code, out, _ = run("get", "--json", url, origin.url("/none"), "-d", str(tmp_path))
    assert code == 9
    *found, last = objects(out)
    good = next(one for one in found if one["url"] == url)
    assert {"url", "path", "size", "root", "seconds", "stale", "version", "ver", "bytes"} <= good.keys()
    assert sum(good["bytes"].values()) == good["size"] == len(BODY)
    assert good["version"] == good["ver"]
    bad = next(one for one in found if one["url"] != url)
    assert (bad["error"]["code"], bad["error"]["exit_code"]) == ("not_found", 3)
    assert (last["summary"]["ok"], last["summary"]["failed"]) == (1, 1)


def test_to_stdout(run: Run, origin: Origin) -> None:
    origin.serve("/text", b"plain text\n")
    assert run("get", "-q", origin.url("/text"), "-o", "-") == (0, "plain text\n", "")


@pytest.mark.parametrize("link", ["auto", "copy", "hard", "symlink"])
def test_each_kind_of_link(run: Run, origin: Origin, tmp_path: Path, link: str) -> None:
    target = tmp_path / "linked.bin"
    assert run("get", "-q", origin.url("/x.bin"), "-o", str(target), "--link", link)[0] == 0
    assert target.read_bytes() == BODY
    assert target.is_symlink() == (link == "symlink")
    assert (target.stat().st_nlink > 1) == (link == "hard")


def test_a_digest_that_does_not_agree(run: Run, origin: Origin, tmp_path: Path) -> None:
    code, out, err = run(
        "get", origin.url("/x.bin"), "--digest", "sha256:" + "0" * 64, "-o", str(tmp_path / "no")
    )
    assert (code, out) == (5, "")
    assert err.startswith("p2pstore: ")
    assert os.listdir(tmp_path) == []


def test_a_list_with_digests(run: Run, origin: Origin, tmp_path: Path) -> None:
    lines = []
    for number in range(5):
        body = content(1000 + number)
        origin.serve(f"/n{number}", body)
        lines.append(f"{origin.url(f'/n{number}')} sha256:{hashlib.sha256(body).hexdigest()}\n")
    (tmp_path / "urls").write_text("".join(lines))
    assert run("get", "-q", "-j", "2", "-i", str(tmp_path / "urls"), "-d", str(tmp_path / "d")) == (0, "", "")
    assert sorted(os.listdir(tmp_path / "d")) == [f"n{number}" for number in range(5)]


def test_credentials_from_where_nobody_sees_them(run: Run, origin: Origin, tmp_path: Path) -> None:
    origin.serve("/secret", b"secret", behaviour=Behaviour(auth="Bearer t0k"))
    url = origin.url("/secret")
    assert run("get", url, "-o", str(tmp_path / "no"))[0] == 4
    (tmp_path / "header").write_text("Authorization: Bearer t0k\n")
    code, out, _ = run("get", "--json", "-H", f"@{tmp_path}/header", url, "-o", str(tmp_path / "yes"))
    assert code == 0
    assert objects(out)[0]["private"] is True
    assert (tmp_path / "yes").read_bytes() == b"secret"


def test_offline(run: Run, origin: Origin, tmp_path: Path) -> None:
    origin.serve("/later", b"later")
    assert run("get", "--offline", origin.url("/later"))[0] == 3
    assert run("get", "-q", origin.url("/later"))[0] == 0
    assert run("get", "--offline", origin.url("/later"))[0] == 0


def test_a_local_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(BODY)
    code, _, err = run("get", f"file://{tmp_path}/here", "-o", str(tmp_path / "there"))
    assert code == 0
    assert "origin file" in err
    assert (tmp_path / "there").read_bytes() == BODY


def test_prefetch_then_wait(run: Run, origin: Origin) -> None:
    origin.serve("/soon", content(200_000))
    url = origin.url("/soon")
    assert run("prefetch", url)[0::2] == (0, "1 to come, 0 in the cache already\n")
    code, _, err = run("wait", "-m", "20s", url)
    assert (code, err) == (0, f"{url}  ready\n")
    assert objects(run("wait", "--json", url, origin.url("/never"))[1])[-1] == {
        "summary": {"ok": 1, "failed": 1}
    }


def test_results_are_kept_and_removed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(BODY)
    assert run("put", str(tmp_path / "r"), "results/r")[:2] == (0, "put:results/r\n")
    assert run("put", str(tmp_path / "r"), "results/r")[0] == 2
    assert run("put", "-q", "--replace", str(tmp_path / "r"), "results/r")[0] == 0
    assert objects(run("stat", "--json", "put:results/r")[1])[0]["durable"] is True
    assert [one.get("url") for one in objects(run("ls", "--json", "put:")[1])] == ["put:results/r", None]
    assert run("rm", "put:results/r")[0] == 0
    assert run("stat", "put:results/r")[0] == 3


def test_what_is_known_and_removed(run: Run, origin: Origin) -> None:
    url = origin.url("/x.bin")
    run("get", "-q", url)
    code, out, _ = run("stat", url)
    assert code == 0
    assert "state      fresh for " in out
    assert url in run("ls", url)[1]
    assert "in the cache: fresh" in run("explain", url)[1]
    assert run("rm", "--prefix", origin.url("/"))[0] == 0
    assert run("stat", url)[0] == 3


def test_damage_is_found_and_mended(run: Run, agent: Path, origin: Origin, tmp_path: Path) -> None:
    origin.serve("/rot", content(500_000, seed=9))
    url = origin.url("/rot")
    path = Path(objects(run("get", "--json", url)[1])[0]["path"])
    assert run("check", url)[0] == 0
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(1000)
        file.write(b"rot")
    code, _, err = run("check", url)
    assert code == 5
    assert f"p2pstore: {url}: damaged, set aside" in err
    assert run("get", "-q", url, "-o", str(tmp_path / "again"))[0] == 0
    assert (tmp_path / "again").read_bytes() == content(500_000, seed=9)


def test_events_as_they_happen(run: Run, agent: Path, origin: Origin) -> None:
    origin.serve("/event", b"event")
    argv = ["--socket", str(agent / "agent.sock"), "events", "--json", "-k", "ready", "-n", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "p2pstore", *argv], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as listening:
        # Nobody knows when it listens: ask for new files until it has heard of one.
        number = 0
        while listening.poll() is None:
            origin.serve(f"/event{number}", b"event")
            assert run("get", "-q", origin.url(f"/event{number}"))[0] == 0
            number += 1
        assert listening.stdout is not None
        heard = json.loads(listening.stdout.read())
    assert heard["event"] == "ready"
    assert heard["url"].startswith(origin.url("/event"))


def test_its_state(run: Run, agent: Path) -> None:
    code, out, _ = run("status", "--json")
    assert code == 0
    assert objects(out)[0]["cache_dir"] == str(agent / "cache")
    assert run("status")[1].startswith("spared ")
    levels = {one["subject"]: one["level"] for one in objects(run("doctor", "--json")[1])}
    assert (levels["socket"], levels["cache"], levels["store"]) == ("ok", "ok", "ok")
