"""The examples are programs that run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.fake_agent import FakeAgent, Growing, serving

EXAMPLES = Path(__file__).parents[2] / "examples"
CONTENT = os.urandom(2_500_000)


def prepare(agent: FakeAgent) -> None:
    agent.add("u:1", CONTENT, hot=True)
    agent.add("u:2", b"two")
    path = agent.directory / "growing"
    path.write_bytes(CONTENT)
    agent.growing["grow"] = Growing(CONTENT, path, available=len(CONTENT))


RUNS = {
    "stdlib_client.py": (["SOCKET", "u:1"], 0, f"{len(CONTENT)} {hashlib.sha256(CONTENT).hexdigest()}"),
    "stdlib_client.py missing": (["SOCKET", "nowhere"], 1, "not_cached: nowhere is not here"),
    "get.py": (["u:1"], 0, "object-0"),
    "get.py output": (["u:1", "OUTPUT"], 0, "out"),
    "get.py missing": (["nowhere"], 3, "not_cached"),
    "read_while_downloading.py": (["grow"], 0, f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"),
    "prefetch_and_wait.py": (["u:1", "u:2"], 0, "2 there already"),
    "prefetch_and_wait.py missing": (["u:1", "nowhere"], 9, "failed: nowhere"),
    "async_client.py": (["u:1", "u:2"], 0, f"it begins with {CONTENT[:16].hex()}"),
    "put_result.py": (["results/run7"], 0, "read back: 1,0.25"),
}


@pytest.mark.parametrize("run", RUNS)
def test_it_runs(run: str, tmp_path: Path) -> None:
    arguments, code, says = RUNS[run]
    named = {"SOCKET": str(tmp_path / "s"), "OUTPUT": str(tmp_path / "out")}
    with serving(tmp_path, prepare=prepare) as server:
        done = subprocess.run(
            [sys.executable, EXAMPLES / run.split()[0], *(named.get(one, one) for one in arguments)],
            env={
                **os.environ,
                "P2PSTORE_SOCKET": server.path,
                "PYTHONPATH": str(EXAMPLES.parent),
                "NETRC": "/none",
            },
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert says in done.stdout + done.stderr
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_every_example_runs_and_is_short() -> None:
    files = {path.name: path for path in EXAMPLES.glob("*.py")}
    assert set(files) == {run.split()[0] for run in RUNS}
    assert all(len(path.read_text().splitlines()) <= 60 for path in files.values())


def test_the_standard_library_is_enough() -> None:
    text = (EXAMPLES / "stdlib_client.py").read_text()
    imported = {
        line.split()[1].partition(".")[0]
        for line in text.splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imported <= sys.stdlib_module_names
