from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pstore.client import sync
from p2pstore.client.files import WINDOW_BYTES
from p2pstore.client.sync import Client
from p2pstore.errors import (
    AgentUnreachable,
    BadRequest,
    DeadlineExceeded,
    DigestMismatch,
    NameTaken,
    NoSpace,
    NotCached,
    OriginBroken,
)
from tests.api.fake_agent import FakeAgent, Growing, Serving, open_descriptors, serving, settles_at

BIG = os.urandom(3 * WINDOW_BYTES + 77)


@pytest.fixture(autouse=True)
def no_netrc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", "/nonexistent")


def prepare(agent: FakeAgent) -> None:
    agent.add("u:1", b"one", hot=True)
    agent.add("u:2", b"two")
    path = agent.directory / "growing"
    path.write_bytes(bytes(len(BIG)))
    agent.growing["grow"] = Growing(BIG, path)
    agent.growing["unknown"] = Growing(BIG, path, size_known=False)
    agent.streams["stream"] = (BIG, len(BIG))
    agent.streams["short"] = (BIG, len(BIG) + 1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path, prepare=prepare) as server:
        yield server


@pytest.fixture
def client(server: Serving) -> Iterator[Client]:
    with Client(server.path) as client:
        yield client


def test_fetch_gives_the_bytes_and_what_is_known(client: Client) -> None:
    client.stat("u:1")
    before = open_descriptors()
    for url, content in (("u:1", b"one"), ("u:2", b"two")) * 2:
        with client.fetch(url) as got:
            assert os.read(got.fd, 10) == content
            assert (got.url, got.size, got.asked) == (url, 3, url)
    assert settles_at(before)


def test_get_gives_a_path(client: Client, server: Serving, tmp_path: Path) -> None:
    assert client.get("u:2").read_bytes() == b"two"
    assert client.get("u:1", output=tmp_path / "out") == tmp_path / "out"
    assert (tmp_path / "out").read_bytes() == b"one"
    assert ("get", {"url": "u:2", "want": "path"}) in server.agent.calls
    client.get("u:1", output=tmp_path / "link", link="symlink")
    assert (tmp_path / "link").is_symlink()


def test_get_of_what_has_no_path_says_what_to_do(client: Client, server: Serving) -> None:
    server.agent.files["pathless"] = Path("")
    server.agent._result = lambda url: {"path": ""}  # type: ignore[method-assign]
    with pytest.raises(BadRequest, match="output=FILE"):
        client.get("u:2")


def test_wishes_reach_the_agent(client: Client, server: Serving) -> None:
    client.fetch("u:2", digest="sha256:00", refresh=True, timeout_s=9, headers={"A": "b"}).close()
    assert server.agent.calls[-1] == (
        "get",
        {"url": "u:2", "digests": ["sha256:00"], "refresh": True, "deadline_s": 9, "headers": [["A", "b"]]},
    )
    with pytest.raises(TypeError):
        client.fetch("u:2", digset="x")  # type: ignore[call-arg]


def test_progress_is_told(client: Client) -> None:
    seen: list[dict[str, Any]] = []
    client.fetch("u:2", progress=seen.append).close()
    assert [event["bytes"] for event in seen] == [0, 50, 100]


def test_a_local_file_is_opened_by_the_client(client: Client, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"mine")
    with client.fetch(f"file://{tmp_path}/local") as got:
        assert os.read(got.fd, 10) == b"mine"
    with client.open(f"file://{tmp_path}/local") as file:
        assert file.read() == b"mine"


def test_a_file_that_the_cache_cannot_hold_passes_through(client: Client, tmp_path: Path) -> None:
    digest = f"sha256:{hashlib.sha256(BIG).hexdigest()}"
    client.stat("u:1")
    before = open_descriptors()
    out = tmp_path / "out"
    with client.fetch("stream", output=out, digest=digest) as got:
        assert (got.fd, got.output, got.size) == (-1, str(out), len(BIG))
    assert out.read_bytes() == BIG
    with out.open("wb") as file:
        client.fetch("stream", output=file.fileno()).close()
    assert out.read_bytes() == BIG
    with pytest.raises(NoSpace, match="-o FILE"):
        client.fetch("stream")
    with pytest.raises(OriginBroken):
        client.fetch("short", output=tmp_path / "short")
    with pytest.raises(DigestMismatch):
        client.fetch("stream", output=tmp_path / "wrong", digest="sha256:" + "0" * 64)
    with pytest.raises(BadRequest):
        client.fetch("stream", output=tmp_path / "missing" / "x")
    client.stat("u:1")
    assert not list(tmp_path.glob("*short*")) and not list(tmp_path.glob("*wrong*"))
    assert settles_at(before)


def test_get_many_gives_each_its_end(client: Client, server: Serving, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"mine")
    urls = ["u:1", "u:2", "nowhere", "file:///nonexistent", f"file://{tmp_path}/local", "u:1"] * 10
    got = list(client.get_many(urls, jobs=7))
    ends = sorted(one.asked if not isinstance(one, Exception) else f"! {one.details['url']}" for one in got)
    assert ends == sorted(
        ["u:1"] * 20
        + ["u:2"] * 10
        + ["! nowhere"] * 10
        + ["! file:///nonexistent"] * 10
        + [f"file://{tmp_path}/local"] * 10
    )
    for one in got:
        if not isinstance(one, Exception):
            one.close()


def test_get_many_delivers(client: Client, tmp_path: Path) -> None:
    outputs = {"u:1": "a", "u:2": "b", "stream": "c", "short": "d", "nowhere": "e"}
    got = list(client.get_many(outputs, output=lambda url: tmp_path / outputs[url]))
    errors = {one.details["url"]: type(one) for one in got if isinstance(one, Exception)}
    assert errors == {"short": OriginBroken, "nowhere": NotCached}
    assert {
        path.name: path.read_bytes()
        for path in tmp_path.iterdir()
        if len(path.name) == 1 and path.name != "s"
    } == {
        "a": b"one",
        "b": b"two",
        "c": BIG,
    }
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_get_many_ended_early_cancels_the_rest(client: Client, server: Serving) -> None:
    many = client.get_many(["u:2", "hold:1", "hold:2"])
    first = next(many)
    assert not isinstance(first, Exception)
    first.close()
    many.close()
    server.wait_until(lambda: server.agent.cancelled == server.agent.held)


def grow(server: Serving, url: str, available: int) -> None:
    server.do(lambda: server.agent.growing[url].grow(available))


@pytest.mark.parametrize("url", ["grow", "unknown"])
def test_a_growing_file_is_read_as_it_grows(client: Client, server: Serving, url: str) -> None:
    before = open_descriptors()
    with client.open(url) as file:
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.extend(iter(lambda: file.read(100_000), b"")))
        reader.start()
        growing = server.agent.growing[url]
        for available in range(400_000, len(BIG) + 400_000, 400_000):
            grow(server, url, min(available, len(BIG)))
        reader.join(20)
        assert b"".join(got) == BIG
        assert len(growing.asked) <= len(BIG) // WINDOW_BYTES + 3
        assert file.seek(-5, os.SEEK_END) == len(BIG) - 5
        assert file.read() == BIG[-5:]
    assert server.agent.open_readers == {}
    assert open_descriptors() <= before + 2  # the connection is kept for the next file
    with client.open(url) as file:
        assert isinstance(file.raw, io.FileIO)  # type: ignore[attr-defined]
        assert file.read() == BIG


def test_a_read_waits_for_its_own_bytes_only(client: Client, server: Serving) -> None:
    grow(server, "grow", 2 * WINDOW_BYTES)
    with client.open("grow") as file:
        file.seek(WINDOW_BYTES + 5)
        assert file.read(10) == BIG[WINDOW_BYTES + 5 : WINDOW_BYTES + 15]


def test_a_growing_file_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(tmp_path, path, prepare) as first:
        client = Client(str(path))
        grow(first, "grow", WINDOW_BYTES)
        file = client.open("grow")
        assert file.read(10) == BIG[:10]
    with serving(tmp_path, path, prepare) as second:
        grow(second, "grow", len(BIG))
        file.seek(2 * WINDOW_BYTES)
        assert file.read(10) == BIG[2 * WINDOW_BYTES : 2 * WINDOW_BYTES + 10]
        file.close()
        client.close()


def test_a_growing_file_survives_a_fork(client: Client, server: Serving) -> None:
    grow(server, "grow", WINDOW_BYTES)
    with client.open("grow") as file:
        assert file.read(10) == BIG[:10]
        grow(server, "grow", 2 * WINDOW_BYTES)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                file.seek(WINDOW_BYTES)
                code = 0 if file.read(10) == BIG[WINDOW_BYTES : WINDOW_BYTES + 10] else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        file.seek(WINDOW_BYTES + 20)
        assert file.read(10) == BIG[WINDOW_BYTES + 20 : WINDOW_BYTES + 30]


def test_forked_children_have_connections_of_their_own(client: Client) -> None:
    client.stat("u:1")
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                good = all(client.fetch("u:1").open().read() == b"one" for _ in range(20))
                code = 0 if good else 2
            finally:
                os._exit(code)
        children.append(pid)
    for _ in range(50):
        with client.fetch("u:2") as got:
            assert got.url == "u:2"
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    assert client.stat("u:1")["cached"]


def test_threads_share_a_client(client: Client, server: Serving) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(30):
                url, content = (("u:1", b"one"), ("u:2", b"two"))[number % 2]
                with client.fetch(url) as got:
                    assert os.read(got.fd, 5) == content
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    server.wait_until(lambda: server.server.connections == 0)


def test_a_restarted_agent_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Client(str(path)) as client:
        for _ in range(2):
            with serving(tmp_path, path, prepare):
                assert client.stat("u:1")["cached"]
                client.put("n", tmp_path / "object-0", replace=True)


def test_a_get_outlives_a_restart(tmp_path: Path) -> None:
    path, results = tmp_path / "s", []
    with Client(str(path)) as client:
        with serving(tmp_path, path, prepare) as first:
            waiting = threading.Thread(
                target=lambda: results.append(client.fetch("hold:x", timeout_s=20).url)
            )
            waiting.start()
            first.wait_until(lambda: first.agent.held == 1)

        def ready(agent: FakeAgent) -> None:
            agent.add("hold:x", b"x")
            agent.release.set()

        with serving(tmp_path, path, ready):
            waiting.join(20)
    assert results == ["hold:x"]


def test_what_may_have_been_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, errors = tmp_path / "s", []

    def hold(agent: FakeAgent) -> None:
        async def rm(*_: Any) -> Any:
            agent.held += 1
            await agent.release.wait()

        agent.rm = rm  # type: ignore[assignment, method-assign]

    with Client(str(path)) as client, serving(tmp_path, path, hold) as server:

        def remove() -> None:
            try:
                client.rm("u")
            except AgentUnreachable as error:
                errors.append(error)

        waiting = threading.Thread(target=remove)
        waiting.start()
        server.wait_until(lambda: server.agent.held == 1)
        server.do(server.hang_up)
        waiting.join(20)
    assert len(errors) == 1


def test_patience_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "PATIENCE_S", 0.05)
    monkeypatch.setattr(sync, "RETRY_WAIT_S", 0.01)
    with Client(tmp_path / "s") as client:
        with serving(tmp_path, prepare=prepare):
            client.stat("u:1")
        with pytest.raises(AgentUnreachable, match="p2pstore agent"):
            client.stat("u:1")
        began = time.monotonic()
        with pytest.raises(AgentUnreachable):
            Client(tmp_path / "s").stat("u:1")
        assert time.monotonic() - began < 20


def test_put(client: Client, server: Serving, tmp_path: Path) -> None:
    (tmp_path / "result").write_bytes(b"result")
    assert client.put("n", tmp_path / "result")["size"] == 6
    with pytest.raises(NameTaken):
        client.put("n", tmp_path / "result")
    with (tmp_path / "result").open("rb") as file:
        client.put("n", file.fileno(), replace=True)
    assert server.agent.put_bytes == {"n": b"result"}


def test_staging(client: Client, server: Serving) -> None:
    assert client.prefetch("u:1") == {"accepted": 0, "cached": 1}
    assert client.prefetch([f"p:{number}" for number in range(1500)]) == {"accepted": 1500, "cached": 0}
    seen: list[dict[str, Any]] = []
    outcomes = client.wait(["u:1", "nowhere"], progress=seen.append, timeout_s=5)
    assert [one["ok"] for one in outcomes] == [True, False]
    assert isinstance(outcomes[1]["error"], NotCached)
    assert len(seen) == 2
    assert 0 < server.agent.calls[-1][1]["deadline_s"] <= 5
    assert len(client.wait([f"p:{number}" for number in range(1500)])) == 1500
    assert client.cancel("hold:x") and not client.cancel("u:1")


def test_events_are_told_until_nobody_listens(client: Client, server: Serving) -> None:
    events = client.events(["ready"])
    told: list[dict[str, Any]] = []
    listening = threading.Thread(target=lambda: told.append(next(events)))
    listening.start()
    server.wait_until(lambda: len(server.agent.subscribers) == 1)
    server.do(lambda: server.agent.subscribers[0]({"event": "ready", "url": "x"}))
    listening.join(20)
    assert told == [{"event": "ready", "url": "x"}]
    events.close()
    server.wait_until(lambda: server.agent.subscribers == [])
    with pytest.raises(BadRequest):
        next(client.events(["nonsense"]))
    with pytest.raises(DeadlineExceeded, match=r"nothing happened .* for 0\.05 s"):
        next(client.events(timeout_s=0.05))


def test_looking_and_tidying(client: Client, server: Serving) -> None:
    assert client.stat("put:n")["name"] == "n"
    server.do(lambda: setattr(server.agent, "entries", 2300))
    assert [entry["url"] for entry in client.ls("u")] == [f"u{number}" for number in range(2300)]
    assert len(list(client.ls(limit=1200))) == 1200
    assert client.rm("u:1", versions=True) == {"removed": 1, "bytes": 10}
    assert client.rm(prefix="p")["removed"] == 1
    assert [call for call in server.agent.calls if call[0] == "rm"] == [
        ("rm", {"url": "u:1", "versions": True}),
        ("rm", {"prefix": "p"}),
    ]
    seen: list[dict[str, Any]] = []
    assert client.check(subset=0.5, on_checked=seen.append)["checked"] == 1
    assert seen == [{"event": "checked", "url": "u1", "ok": True}]
    assert client.status()["connections"] >= 1
    assert client.config() == {"cache": {"size_bytes": 1}}


def test_the_socket_is_looked_for_when_it_is_needed(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    assert repr(client) == "<Client of the agent that is found>"
    monkeypatch.setenv("P2PSTORE_SOCKET", server.path)
    assert client.stat("u:1")["cached"]
    client.close()
    assert client.stat("u:1")["cached"]
    client.close()


def test_the_light_client_loads_nothing_heavy() -> None:
    heavy = {
        "asyncio",
        "aiohttp",
        "aiofiles",
        "msgspec",
        "rich",
        "click",
        "ssl",
        "inspect",
        "pathlib",
        "tempfile",
    }
    script = "import sys, p2pstore.client.sync as s; s.Client; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())
