"""Lookups: from memory, from the index, and never an older answer than what was just published."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from p2pstore.errors import NotCached, Overloaded
from p2pstore.storage import finding, objects, reads
from p2pstore.storage.files import Files
from tests.storage.samples import OTHER_BOOT, body, draft, key_of, opened, read


async def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "HOT_ENTRIES", 3)
    async with opened(tmp_path / "c") as store:
        for number in range(3):
            await store.publish_small(draft(f"f{number}"), body(number))
        assert store.hot(key_of("f0")) is not None
        await store.publish_small(draft("f3"), body(3))
        assert [store.hot(key_of(f"f{n}")) is not None for n in range(4)] == [True, False, True, True]
        assert await store.lookup(key_of("f1")) is not None
        assert store.hot(key_of("f1")) is not None


def _slow_looks(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """The index is asked, which sets the first event; its answer comes when the second is set."""
    looked, go, look = threading.Event(), threading.Event(), finding.in_index

    def slow(*args: object) -> object:
        found = look(*args)  # type: ignore[arg-type]
        looked.set()
        go.wait(10)
        return found

    monkeypatch.setattr(finding, "in_index", slow)
    return looked, go


async def test_an_older_answer_does_not_stay_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lookup is on its way while a new version is published: it returns and keeps the new one."""
    async with opened(tmp_path / "c") as store:
        old = await store.publish_small(draft("a", "1"), body("1"))
        store._reads._hot.clear()
        looked, go = _slow_looks(monkeypatch)
        looking = asyncio.create_task(store.lookup(old.key))
        assert await asyncio.to_thread(looked.wait, 10)
        new = await store.publish_small(draft("a", "2"), body("2"))
        go.set()
        assert await looking == new
        assert store.hot(old.key) == new


async def test_what_came_while_the_index_was_asked_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "c") as store:
        looked, go = _slow_looks(monkeypatch)
        looking = asyncio.create_task(store.lookup(key_of("a")))
        assert await asyncio.to_thread(looked.wait, 10)
        entry = await store.publish_small(draft("a"), body("a"))
        go.set()
        assert await looking == entry


async def test_a_lookup_does_not_wait_for_the_store_thread(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        await store.publish_small(draft("a"), body("a"))
        store._reads._hot.clear()
        go = threading.Event()
        busy = store._writer.run(lambda: go.wait(10))
        entry = await store.lookup(key_of("a"))
        assert entry is not None and read(store, entry) == body("a")
        assert (await store.entries())[0][0].entry == entry
        assert not busy.done()
        go.set()
        await busy


async def test_a_missing_object_is_told_and_forgotten(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        entry = await store.publish_small(draft("a"), body("a"))
        Path(store.path_of(entry)).unlink()
        with pytest.raises(NotCached):
            store.open_object(entry)
        assert store.hot(entry.key) is None
        await store.remove(key_of("nothing"))
        assert (await store.usage()).entries == 0


async def test_no_descriptors_left_is_the_process_s_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "c") as store:
        entry = await store.publish_small(draft("a"), body("a"))

        def refuse(self: Files, path: str) -> int:
            raise OSError(24, os.strerror(24))

        monkeypatch.setattr(Files, "open_read", refuse)
        with pytest.raises(Overloaded):
            store.open_object(entry)
        assert store.hot(entry.key) == entry


async def test_a_suspect_asked_for_by_many_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "c") as store:
        await store.publish_small(draft("a"), body("a"))
    count, is_right = [0], objects.is_right

    def counted(*args: object) -> bool:
        count[0] += 1
        return is_right(*args)  # type: ignore[arg-type]

    async with opened(tmp_path / "c", OTHER_BOOT) as store:
        monkeypatch.setattr(objects, "is_right", counted)
        found = await asyncio.gather(*(store.lookup(key_of("a")) for _ in range(20)))
        assert all(one is not None for one in found)
        assert count == [1]
        assert await store.lookup(key_of("a")) is not None
        assert count == [1]


async def test_touches_and_leases_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "MAX_TOUCHED", 2)
    monkeypatch.setattr(reads, "MAX_LEASES", 2)
    async with opened(tmp_path / "c") as store:
        entries = [await store.publish_small(draft(f"f{n}"), body(n)) for n in range(4)]
        nudged: list[int] = []
        monkeypatch.setattr(store._flusher, "nudge", lambda: nudged.append(1))
        for entry in entries:
            store.touch(entry)
            store.lease(entry, 1e12)
        assert len(store._disk.touched) == 2 and nudged == [1, 1]
        assert list(store._disk.leases) == [(entry.key, entry.ver) for entry in entries[2:]]
        store.lease(entries[2], 5.0)
        assert store._disk.leases[entries[2].key, entries[2].ver] == 1e12, "a lease never gets shorter"
