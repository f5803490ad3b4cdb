from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pstore.client import files
from p2pstore.client.channel import ConnectionLost
from p2pstore.client.files import MAX_RANGES, WINDOW_BYTES, Growing, RangeFile, Ranges
from p2pstore.errors import OriginChanged, OriginTimeout
from tests.api.fake_agent import open_descriptors

CONTENT = os.urandom(5 * WINDOW_BYTES + 1234)


class World:
    """A growing file whose bytes appear exactly when they are asked for; holes are zeros until then."""

    def __init__(self, path: Path, *, size_known: bool = True) -> None:
        self.path = path
        self.size_known = size_known
        self.asked: list[tuple[int, int]] = []
        self.failures: list[Exception] = []
        self.ver = "v"
        self.opened = self.closed = 0
        path.write_bytes(b"")
        os.truncate(path, len(CONTENT))

    def ready(self, start: int, stop: int) -> dict[str, Any]:
        if self.failures:
            raise self.failures.pop(0)
        self.asked.append((start, stop))
        ended = stop >= len(CONTENT)
        start = 0 if start > len(CONTENT) else start  # whoever waits for the end waits for all of it
        with self.path.open("r+b") as file:
            file.seek(start)
            file.write(CONTENT[start:stop])
        return {"size": len(CONTENT) if self.size_known or ended else None, "complete": ended and start == 0}

    def close(self) -> None:
        self.closed += 1

    def growing(self) -> Growing:
        self.opened += 1
        fd = os.open(self.path, os.O_RDONLY)
        return Growing(fd, len(CONTENT) if self.size_known else None, self.ver, self.ready, self.close)

    def raw(self) -> RangeFile:
        return RangeFile(self.growing(), self.growing, "u")

    def file(self) -> io.BufferedReader:
        return io.BufferedReader(self.raw(), files.BUFFER_BYTES)


@pytest.fixture(params=[True, False], ids=["length known", "length unknown"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path / "data", size_known=request.param)


def test_reading_in_order_asks_once_a_window(world: World) -> None:
    with world.file() as file:
        got = bytearray()
        while block := file.read(4096):
            got += block
    assert got == CONTENT
    assert len(world.asked) <= len(CONTENT) // WINDOW_BYTES + 2
    assert world.closed == 1


def test_all_at_once(world: World) -> None:
    with world.file() as file:
        assert file.read() == CONTENT
        assert file.read() == b""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(CONTENT) + 10), st.integers(0, 3 * WINDOW_BYTES)), max_size=12))
def test_any_reads_give_the_bytes_and_never_a_hole(
    tmp_path_factory: pytest.TempPathFactory, reads: list[tuple[int, int]]
) -> None:
    world = World(tmp_path_factory.mktemp("w") / "data")
    with world.file() as file:
        for offset, size in reads:
            assert file.seek(offset) == offset
            assert file.read(size) == CONTENT[offset : offset + size]


@pytest.mark.parametrize("planted", [False, True])
def test_without_asking_there_would_be_holes(
    world: World, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if planted:
        monkeypatch.setattr(RangeFile, "_until_there", lambda self, start, stop: stop)
    with world.raw() as raw:
        raw.seek(WINDOW_BYTES)
        assert (raw.read(100) != CONTENT[WINDOW_BYTES : WINDOW_BYTES + 100]) is planted


def test_seeking_moves_no_bytes_but_the_end_must_be_known(world: World) -> None:
    with world.raw() as raw:
        assert raw.readable() and raw.seekable() and not raw.writable()
        assert raw.seek(10) == raw.tell() == 10
        assert raw.seek(5, os.SEEK_CUR) == 15
        assert world.asked == []
        assert raw.seek(-4, os.SEEK_END) == len(CONTENT) - 4
        assert bool(world.asked) is not world.size_known
        assert raw.read() == CONTENT[-4:]
        for offset, whence in ((-1, os.SEEK_SET), (0, 9)):
            with pytest.raises(ValueError):
                raw.seek(offset, whence)


def test_no_descriptor_before_everything_is_there(tmp_path: Path) -> None:
    world = World(tmp_path / "data", size_known=False)
    with world.raw() as raw:
        with pytest.raises(io.UnsupportedOperation):
            raw.fileno()
        raw.size()
        assert os.fstat(raw.fileno()).st_size == len(CONTENT)
    with pytest.raises(ValueError, match="closed"):
        raw.read(1)


def test_an_agent_that_was_restarted_is_asked_anew(world: World) -> None:
    before = open_descriptors()
    with world.raw() as raw:
        raw.read(10)
        raw.seek(2 * WINDOW_BYTES)
        world.failures = [ConnectionLost("gone", sent=True)]
        assert raw.read(10) == CONTENT[2 * WINDOW_BYTES : 2 * WINDOW_BYTES + 10]
        assert (world.opened, world.closed) == (2, 1)
        world.failures = [ConnectionLost("gone", sent=True)] * 3
        raw.seek(4 * WINDOW_BYTES)
        with pytest.raises(ConnectionLost):
            raw.read(10)
    assert open_descriptors() == before


def test_versions_are_never_mixed(world: World) -> None:
    before = open_descriptors()
    with world.raw() as raw:
        raw.read(10)
        world.failures, world.ver = [ConnectionLost("gone", sent=True)], "w"
        raw.seek(3 * WINDOW_BYTES)
        with pytest.raises(OriginChanged, match="while it was read"):
            raw.read(10)
    assert open_descriptors() == before


def test_an_error_of_the_load_reaches_the_reader(world: World) -> None:
    with world.raw() as raw:
        world.failures = [OriginTimeout("silent")]
        with pytest.raises(OriginTimeout):
            raw.read(10)
        assert raw.read(10) == CONTENT[:10]


def test_threads_take_turns(world: World) -> None:
    seen: list[bytes] = []
    with world.raw() as raw:

        def read() -> None:
            while block := raw.read(50_000):
                seen.append(block)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(map(len, seen)) == len(CONTENT)
    assert all(block in CONTENT for block in seen[:20])


def test_closing_twice_is_closing_once(world: World) -> None:
    raw = world.raw()
    raw.close()
    raw.close()
    assert world.closed == 1


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=40))
def test_ranges_know_what_is_there(added: list[tuple[int, int]]) -> None:
    ranges, there = Ranges(), set[int]()
    for start, size in added:
        ranges.add(start, start + size)
        there |= set(range(start, start + size))
    for start in range(0, 75):
        for stop in range(start + 1, 76):
            assert ranges.holds(start, stop) == (set(range(start, stop)) <= there)


def test_ranges_are_bounded_and_forget_the_oldest() -> None:
    ranges = Ranges()
    for number in range(MAX_RANGES + 5):
        ranges.add(number * 10, number * 10 + 1)
    assert len(ranges._ranges) == MAX_RANGES
    assert not ranges.holds(0, 1) and ranges.holds((MAX_RANGES + 4) * 10, (MAX_RANGES + 4) * 10 + 1)
