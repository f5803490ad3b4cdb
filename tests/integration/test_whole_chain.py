"""Job, socket, agent, disk and origin together, as a user meets them: nothing here is faked but the origin's moods."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from p2pstore.client.aio import AsyncClient
from p2pstore.client.sync import Client
from p2pstore.errors import DeadlineExceeded, DigestMismatch, NoSpace, NotCached, P2PStoreError
from tests.origin import Behaviour, Origin, basic, content

ROOT: Final = Path(__file__).parents[2]
TIMEOUT_S: Final = 30.0
FIRST: Final = 1 << 20
"""What the first request brings."""
STALL: Final = FIRST + 100_000
"""Where answers after the first stand still, when told to."""
FRESH: Final = {"Cache-Control": "max-age=600"}
BODY: Final = content(5_000_000)
OTHER: Final = content(5_000_000, 1)


class Node:
    """A node with one agent, which can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = str(directory / "agent.sock")
        self.client = Client(self.socket)
        self._running: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start the agent; returns when it answers."""
        notices_path = self.directory / "notices"
        notices_path.unlink(missing_ok=True)
        command = [sys.executable, "-m", "p2pstore", "agent", "--socket", self.socket]
        command += ["--cache-dir", str(self.directory / "cache"), "--origin-retry-wait", "0.01s"]
        command += ["--origin-streams", "1", *options]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "PYTHONPATH": str(ROOT)}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            notices.bind(str(notices_path))
            notices.settimeout(TIMEOUT_S)
            with (self.directory / "log").open("ab") as log:
                self._running = subprocess.Popen(
                    command,
                    env=env | {"NOTIFY_SOCKET": str(notices_path)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            while b"READY=1" not in notices.recv(4096):
                pass

    def kill(self) -> None:
        """As the machine would: without a word."""
        self.stop(signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the agent."""
        assert self._running is not None
        self._running.send_signal(how)
        self._running.wait(TIMEOUT_S)

    def close(self) -> None:
        """End everything."""
        self.client.close()
        if self._running is not None and self._running.poll() is None:
            self.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that several tests use one after the other."""
    node = Node(tmp_path_factory.mktemp("node"))
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node of one test, without an agent yet."""
    node = Node(tmp_path)
    try:
        yield node
    finally:
        node.close()


def beside(job: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Do a job in a thread; its result, or its error, is then in the list."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(job())
        except P2PStoreError as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, outcome


def test_cold_then_warm(shared: Node, threaded_origin: Origin) -> None:
    url = threaded_origin.serve("/file", BODY, headers=FRESH)
    for source in ("origin", "cache"):
        with shared.client.fetch(url) as got, got.open() as file:
            assert got.bytes[source] == len(BODY)
            assert file.read() == BODY
    assert threaded_origin.bytes_sent("/file") == len(BODY)


def test_many_jobs_cost_one_download(shared: Node, threaded_origin: Origin) -> None:
    url = threaded_origin.serve("/file", BODY, headers=FRESH)

    def job(_: int) -> str:
        with shared.client.fetch(url) as got, got.open() as file:
            return hashlib.sha256(file.read()).hexdigest()

    with ThreadPoolExecutor(16) as jobs:
        found = set(jobs.map(job, range(48)))
    assert found == {hashlib.sha256(BODY).hexdigest()}
    assert threaded_origin.bytes_sent("/file") == len(BODY)


def test_a_file_is_read_while_it_downloads(shared: Node, threaded_origin: Origin) -> None:
    behaviour = Behaviour(stall_after=STALL)
    url = threaded_origin.serve("/file", BODY, headers=FRESH, behaviour=behaviour)
    with shared.client.open(url) as file:
        assert file.read(FIRST) == BODY[:FIRST]
        threaded_origin.wait(threaded_origin.stalled("/file"))
        threaded_origin.release("/file")
        file.seek(-100, os.SEEK_END)
        assert file.read() == BODY[-100:]
        file.seek(0)
        assert file.read() == BODY


def test_a_job_that_dies_takes_its_download_along_and_nobody_elses(
    shared: Node, threaded_origin: Origin
) -> None:
    behaviour = Behaviour(stall_after=STALL)
    url = threaded_origin.serve("/file", BODY, headers=FRESH, behaviour=behaviour)
    program = f"import sys; from p2pstore.client.sync import Client; Client({shared.socket!r}).get({url!r})"
    job = subprocess.Popen([sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)})
    threaded_origin.wait(threaded_origin.stalled("/file"))
    other, outcome = beside(lambda: shared.client.get(url).read_bytes())
    while shared.client.status()["counters"]["joined"] < 1:
        pass
    job.kill()
    job.wait(TIMEOUT_S)
    threaded_origin.release("/file")
    other.join(TIMEOUT_S)
    assert outcome == [BODY]


async def test_the_client_for_asyncio_sees_the_same(shared: Node, threaded_origin: Origin) -> None:
    urls = [
        threaded_origin.serve(f"/{number}", content(50_000, number), headers=FRESH) for number in range(20)
    ]
    async with AsyncClient(shared.socket) as client:
        all_got = await asyncio.gather(*(client.fetch(url) for url in urls))
        for number, got in enumerate(all_got):
            with got, got.open() as file:
                assert file.read() == content(50_000, number)
        with pytest.raises(NotCached):
            await client.fetch(threaded_origin.url("/never"), offline=True)


def test_a_digest_is_checked_before_the_file_is_delivered(
    shared: Node, threaded_origin: Origin, tmp_path: Path
) -> None:
    url = threaded_origin.serve("/file", BODY, headers=FRESH)
    out = tmp_path / "out"
    with pytest.raises(DigestMismatch):
        shared.client.get(url, output=out, digest="sha256:" + "0" * 64)
    assert not out.exists()
    right = "sha256:" + hashlib.sha256(BODY).hexdigest()
    assert shared.client.get(url, output=out, digest=right).read_bytes() == BODY


def test_a_credential_opens_for_its_bearer(shared: Node, threaded_origin: Origin) -> None:
    url = threaded_origin.serve("/file", BODY, headers=FRESH, behaviour=Behaviour(auth=basic("me", "hush")))
    with shared.client.fetch(url, auth=("me", "hush")) as got:
        assert got.private
    with pytest.raises(P2PStoreError) as caught:
        shared.client.get(url)
    assert caught.value.exit_code == 4


def test_a_changed_file_is_a_new_version_and_readers_keep_the_old(
    shared: Node, threaded_origin: Origin
) -> None:
    url = threaded_origin.serve("/file", BODY, headers=FRESH)
    with shared.client.fetch(url) as old:
        threaded_origin.change("/file", OTHER)
        with shared.client.fetch(url, refresh=True) as new, new.open() as file:
            assert file.read() == OTHER
            assert new.ver != old.ver
        with old.open() as file:
            assert file.read() == BODY


def test_a_result_is_there_for_the_next_job(shared: Node, tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_bytes(BODY)
    stored = shared.client.put("whole-chain/result", path)
    path.unlink()
    assert stored["size"] == len(BODY)
    assert shared.client.get("put:whole-chain/result").read_bytes() == BODY


def test_a_local_file_goes_by_its_descriptor(shared: Node, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(BODY)
    with shared.client.fetch(path.as_uri()) as got, got.open() as file:
        assert file.read() == BODY


def test_what_happens_is_told(shared: Node, threaded_origin: Origin) -> None:
    url = threaded_origin.serve("/file", BODY, headers=FRESH)
    events = shared.client.events(["ready"], timeout_s=TIMEOUT_S)
    listener, heard = beside(lambda: next(one for one in events if one["url"] == url))
    while not heard:
        shared.client.get(url)
        shared.client.rm(url)
    listener.join(TIMEOUT_S)
    events.close()
    assert heard[0]["size"] == len(BODY)


def test_a_deadline_is_kept_and_says_why(shared: Node, threaded_origin: Origin) -> None:
    url = threaded_origin.serve("/file", BODY, behaviour=Behaviour(silent=True))
    with pytest.raises(DeadlineExceeded, match="asking"):
        shared.client.get(url, timeout_s=0.2)


# the agent is killed


def asked_again(origin: Origin, path: str, confirmed: int, since: int) -> list[str | None]:
    """Later requests that touch what was on disk: they begin below `confirmed`."""
    return [
        one.range
        for one in origin.requests(path)[since:]
        if one.range is None or int(one.range.removeprefix("bytes=").partition("-")[0]) < confirmed
    ]


def test_a_job_outlives_its_agent_and_nothing_is_asked_for_twice(node: Node, threaded_origin: Origin) -> None:
    node.start()
    behaviour = Behaviour(stall_after=STALL)
    url = threaded_origin.serve("/file", BODY, headers=FRESH, behaviour=behaviour)
    with node.client.open(url) as file:
        assert file.read(FIRST) == BODY[:FIRST]
        waiting, outcome = beside(lambda: Client(node.socket).get(url).read_bytes())
        while node.client.status()["counters"]["joined"] < 1:
            pass
        node.kill()
    before = len(threaded_origin.requests("/file"))
    threaded_origin.behave("/file", Behaviour())
    node.start()
    waiting.join(TIMEOUT_S)
    assert outcome == [BODY]
    assert asked_again(threaded_origin, "/file", FIRST, before) == []
    assert node.client.status()["counters"]["resumed_bytes"] >= FIRST


def test_a_change_while_the_agent_was_dead_is_no_mix(node: Node, threaded_origin: Origin) -> None:
    node.start()
    behaviour = Behaviour(stall_after=STALL)
    url = threaded_origin.serve("/file", BODY, headers=FRESH, behaviour=behaviour)
    with node.client.open(url) as file:
        file.read(FIRST)
        node.kill()
    threaded_origin.change("/file", OTHER, behaviour=Behaviour())
    node.start()
    assert node.client.get(url).read_bytes() == OTHER


def test_what_was_there_is_there_after_a_kill(node: Node, threaded_origin: Origin, tmp_path: Path) -> None:
    node.start()
    urls = [
        threaded_origin.serve(f"/{size}", content(size), headers=FRESH) for size in (0, 10_000, 3_000_000)
    ]
    for url in urls:
        node.client.get(url)
    result = tmp_path / "result"
    result.write_bytes(BODY)
    node.client.put("kept", result)
    asked = len(threaded_origin.log)
    for _ in range(2):
        node.kill()
        node.start()
        for url, size in zip(urls, (0, 10_000, 3_000_000), strict=True):
            assert node.client.get(url).read_bytes() == content(size)
        assert node.client.get("put:kept").read_bytes() == BODY
    assert len(threaded_origin.log) == asked


# a cache that is too small


def test_more_than_the_quota_flows_through(node: Node, threaded_origin: Origin) -> None:
    node.start("--cache-size", "8M")
    held = []
    for number in range(8):
        url = threaded_origin.serve(f"/{number}", content(2_000_000, number), headers=FRESH)
        held.append(node.client.fetch(url))
    for number, got in enumerate(held):
        with got, got.open() as file:
            assert file.read() == content(2_000_000, number), "evicted or not, who has it open reads it"
    assert node.client.status()["usage"]["used_bytes"] <= 8 << 20


def test_a_file_larger_than_the_cache_is_delivered_all_the_same(
    node: Node, threaded_origin: Origin, tmp_path: Path
) -> None:
    node.start("--cache-size", "2M")
    url = threaded_origin.serve("/file", BODY, headers=FRESH)
    out = tmp_path / "out"
    with node.client.fetch(url, output=out) as got:
        assert got.warnings
    assert out.read_bytes() == BODY
    with pytest.raises(NoSpace):
        node.client.get(url)
