from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import p2pstore
from p2pstore import errors
from p2pstore.client.aio import AsyncClient
from p2pstore.client.deliver import LINKS
from p2pstore.client.got import Got
from p2pstore.client.sync import Client
from p2pstore.client.wishes import Wish
from tests.api.fake_agent import FakeAgent, serving


def test_the_functions_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(agent: FakeAgent) -> None:
        agent.add("u:1", b"one", hot=True)

    with serving(tmp_path, prepare=prepare) as server:
        monkeypatch.setenv("P2PSTORE_SOCKET", server.path)
        assert p2pstore.get("u:1").read_bytes() == b"one"
        with p2pstore.fetch("u:1") as got:
            assert (type(got), got.size) == (p2pstore.Got, 3)
        with p2pstore.open("u:1") as file:
            assert file.read() == b"one"
        (got_again,) = p2pstore.get_many(["u:1"])
        assert isinstance(got_again, p2pstore.Got)
        got_again.close()
        (tmp_path / "f").write_bytes(b"x")
        assert p2pstore.put("n", tmp_path / "f")["size"] == 1
        assert p2pstore.prefetch("u:1")["cached"] == 1
        assert p2pstore.wait("u:1")[0]["ok"]
        assert p2pstore.stat("u:1")["cached"]
        assert len(list(p2pstore.ls())) == 3
        assert p2pstore.rm("u:1")["removed"] == 1
        assert not p2pstore.cancel("u:1")
        with pytest.raises(p2pstore.NotCached):
            p2pstore.fetch("nowhere")
        with p2pstore.Client(server.path) as client:
            assert client.stat("u:1")["cached"]
        p2pstore.stat.__self__.close()  # type: ignore[attr-defined]


def test_every_error_is_there_by_its_name() -> None:
    for error in errors.BY_CODE.values():
        assert getattr(p2pstore, error.__name__) is error
        assert error.__name__ in dir(p2pstore)
    assert {"get", "Client", "AsyncClient", "__version__"} <= set(dir(p2pstore))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = p2pstore.nonsense
    with pytest.raises(AttributeError):
        _ = p2pstore.BY_CODE


def test_importing_loads_nothing_of_it() -> None:
    script = "import sys, p2pstore; print(*(name for name in sys.modules if name.startswith('p2pstore.')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_reference_page_names_everything() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    code = " ".join(re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL)))
    methods = {name for name in (*vars(Client), *vars(AsyncClient), *vars(Got)) if not name.startswith("_")}
    wanted = methods | Wish.__annotations__.keys() | set(LINKS) | p2pstore._FUNCTIONS | set(p2pstore._CLASSES)
    assert sorted(name for name in wanted if not re.search(rf"\b{name}\b", code)) == []
