"""Batches: each caller gets its own answer, and nobody waits in vain."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from p2pstore.errors import InternalError, NoSpace, Overloaded
from p2pstore.storage import smalls
from p2pstore.storage.disk import Disk
from p2pstore.storage.publish import Publication, publish
from tests.storage.samples import body, draft, key_of, opened, read


async def test_what_comes_while_a_batch_is_written_is_the_next_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counted(disk: Disk, batch: list[Publication]) -> None:
        sizes.append(len(batch))
        publish(disk, batch)

    monkeypatch.setattr(smalls, "publish", counted)
    monkeypatch.setattr(smalls, "BATCH_ENTRIES", 10)
    async with opened(tmp_path / "c") as store:
        go = threading.Event()
        busy = store._writer.run(lambda: go.wait(10))
        tasks = [asyncio.create_task(store.publish_small(draft(f"f{n}"), body(n))) for n in range(25)]
        await asyncio.sleep(0)
        go.set()
        entries = await asyncio.gather(*tasks)
        await busy
        assert sizes == [10, 10, 5]
        assert [read(store, entry) for entry in entries] == [body(n) for n in range(25)]


async def test_one_that_does_not_fit_fails_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "c", size_bytes=300_000) as store:
        results = await asyncio.gather(
            store.publish_small(draft("a"), body("a")),
            store.publish_small(draft("big"), body("big", 400_000)),
            store.publish_small(draft("b"), body("b")),
            return_exceptions=True,
        )
        assert [isinstance(one, NoSpace) for one in results] == [False, True, False]


async def test_an_entry_is_there_although_its_caller_left(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        task = asyncio.create_task(store.publish_small(draft("a"), body("a")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.publish_small(draft("b"), body("b"))
        assert store.hot(key_of("a")) is not None


async def test_a_defect_reaches_every_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(disk: object, batch: object) -> None:
        raise ZeroDivisionError

    async with opened(tmp_path / "c") as store:
        with monkeypatch.context() as broken:
            broken.setattr(smalls, "publish", fail)
            results = await asyncio.gather(
                *(store.publish_small(draft(f"f{n}"), b"") for n in range(3)), return_exceptions=True
            )
            assert [type(one) for one in results] == [ZeroDivisionError] * 3
        await store.publish_small(draft("a"), body("a"))


async def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smalls, "MAX_QUEUED", 2)
    async with opened(tmp_path / "c") as store:
        with pytest.raises(InternalError):
            await store.publish_small(draft("big"), bytes(smalls.SMALL_BYTES + 1))
        go = threading.Event()
        busy = store._writer.run(lambda: go.wait(10))
        tasks = [asyncio.create_task(store.publish_small(draft(f"f{n}"), body(n))) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await store.publish_small(draft("one more"), b"")
        go.set()
        await asyncio.gather(busy, *tasks)
