"""Every example runs, as a job would run it, against a real agent and a toy origin."""

from __future__ import annotations

import ast
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.origin import Behaviour, Origin, content

ROOT: Final = Path(__file__).parents[1]
EXAMPLES: Final = sorted((ROOT / "examples").glob("*.py"))
TIMEOUT_S: Final = 30.0
FRESH: Final = {"Cache-Control": "max-age=600"}
BODY: Final = content(3_000_000)
SHA256: Final = hashlib.sha256(BODY).hexdigest()


def environment(home: Path, **more: str) -> dict[str, str]:
    """A plain one, in which the package is found."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The socket of an agent that runs while this module's tests do."""
    home = tmp_path_factory.mktemp("agent")
    path = str(home / "agent.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(home / "notices"))
        notices.settimeout(TIMEOUT_S)
        command = [
            sys.executable,
            "-m",
            "p2pstore",
            "agent",
            "--socket",
            path,
            "--cache-dir",
            str(home / "cache"),
        ]
        env = environment(home, NOTIFY_SOCKET=str(home / "notices"))
        with (home / "log").open("wb") as log:
            running = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while b"READY=1" not in notices.recv(4096):
                pass
            yield path
            assert running.poll() is None, (home / "log").read_text()
        finally:
            running.terminate()
            running.wait(TIMEOUT_S)


class Job:
    """Runs examples in an empty directory."""

    def __init__(self, agent: str, directory: Path) -> None:
        self.agent, self.directory = agent, directory

    def run(self, name: str, *args: str, code: int = 0) -> str:
        """What the example says on its standard output; it must end with that code."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples" / name), *args],
            env=environment(self.directory, P2PSTORE_SOCKET=self.agent),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        self.errors = done.stderr
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def job(agent: str, tmp_path: Path) -> Job:
    """A job on the agent's node."""
    return Job(agent, tmp_path)


def test_every_example_is_run_here() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    assert EXAMPLES
    assert [path.name for path in EXAMPLES if f'"{path.name}"' not in tested] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_says_how_to_run_it(path: Path) -> None:
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert told is not None
    assert path.name in told


def test_get(job: Job, threaded_origin: Origin) -> None:
    url = threaded_origin.serve("/file", BODY, headers=FRESH)
    path = job.run("get.py", url).strip()
    assert Path(path).read_bytes() == BODY
    job.run("get.py", url, "out.bin", f"sha256:{SHA256}")
    assert (job.directory / "out.bin").read_bytes() == BODY
    assert threaded_origin.bytes_sent("/file") == len(BODY), "the second one came from the cache"


def test_get_tells_what_is_wrong(job: Job, threaded_origin: Origin) -> None:
    url = threaded_origin.serve("/file", BODY, headers=FRESH)
    job.run("get.py", url, "out.bin", "sha256:" + "0" * 64, code=5)
    assert "digest" in job.errors
    assert not (job.directory / "out.bin").exists()
    job.run("get.py", threaded_origin.url("/nothing"), code=3)
    assert "not_found" in job.errors


def test_async_client(job: Job, threaded_origin: Origin) -> None:
    urls = [threaded_origin.serve(f"/{number}", BODY, headers=FRESH) for number in range(3)]
    said = job.run("async_client.py", *urls)
    assert all(f"{url}: {len(BODY)} bytes" in said for url in urls)
    assert BODY[:16].hex() in said
    job.run("async_client.py", urls[0], threaded_origin.url("/nothing"), code=9)


def test_prefetch_and_wait(job: Job, threaded_origin: Origin) -> None:
    urls = [threaded_origin.serve(f"/{number}", BODY, headers=FRESH) for number in range(3)]
    said = job.run("prefetch_and_wait.py", *urls)
    assert "3 on their way" in said
    assert all(f"ready: {url}" in said for url in urls)
    assert "3 there already" in job.run("prefetch_and_wait.py", *urls)
    job.run("prefetch_and_wait.py", urls[0], threaded_origin.url("/nothing"), code=9)


def test_put_result(job: Job) -> None:
    for _ in ("new", "replaced"):
        said = job.run("put_result.py", "run 7/loss.csv")
        assert said.startswith("17 bytes as put:run 7/loss.csv")
        assert said.endswith("read back: 1,0.25\n")


def test_read_while_downloading(job: Job, threaded_origin: Origin) -> None:
    dripping = Behaviour(drip_bytes=300_000, drip_s=0.01)
    url = threaded_origin.serve("/file", BODY, headers=FRESH, behaviour=dripping)
    said = job.run("read_while_downloading.py", url)
    assert BODY[-16:].hex() in said
    assert f"all {len(BODY)} bytes" in said
    assert f"sha256:{SHA256}" in said


def test_stdlib_client(job: Job, threaded_origin: Origin) -> None:
    url = threaded_origin.serve("/file", BODY, headers=FRESH)
    for _ in ("cold", "warm"):
        assert job.run("stdlib_client.py", job.agent, url).split() == [str(len(BODY)), SHA256]
    assert threaded_origin.bytes_sent("/file") == len(BODY)
    job.run("stdlib_client.py", job.agent, threaded_origin.url("/nothing"), code=1)
    assert "not_found" in job.errors


def test_the_client_without_packages_is_short_and_has_none() -> None:
    source = (ROOT / "examples" / "stdlib_client.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 60
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
        )
    }
    assert imported <= sys.stdlib_module_names
