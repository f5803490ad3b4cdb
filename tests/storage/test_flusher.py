"""When things become durable, and what else happens in the background."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from p2pstore.storage import flusher
from p2pstore.storage.store import Store
from p2pstore.swarm import pieces
from tests.storage.samples import body, draft, key_of, opened


async def test_a_flush_makes_durable_what_came_before(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        await store.publish_small(draft("a"), body("a"))
        row = store._disk.index.current(key_of("a"))
        assert row is not None and row.seq > 0
        assert await store._flusher.flush()
        row = store._disk.index.current(key_of("a"))
        assert row is not None and row.seq == 0 and row.entry.durable


async def test_what_comes_during_a_flush_waits_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "c") as store:
        await store.publish_small(draft("a"), body("a"))
        run = store._pool.run

        async def late(call: object) -> object:
            await store.publish_small(draft("late"), body("late"))
            return await run(call)  # type: ignore[arg-type]

        monkeypatch.setattr(store._pool, "run", late)
        assert await store._flusher.flush()
        monkeypatch.undo()
        seqs = {row.entry.url[-1]: row.seq for row in store._disk.index.select("1")}
        assert seqs["a"] == 0 and seqs["e"] > 0
        assert store._disk.unflushed_bytes > 0
        assert await store._flusher.flush()
        assert {row.seq for row in store._disk.index.select("1")} == {0}


async def test_nothing_new_needs_no_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path / "c") as store:
        await store.publish_small(draft("a"), body("a"))
        await store._flusher.flush()
        monkeypatch.setattr(store._disk.files, "sync_all", lambda: pytest.fail("flushed for nothing"))
        assert await store._flusher.flush()


async def test_it_flushes_by_time_and_by_bytes(tmp_path: Path) -> None:
    async with opened(tmp_path / "c", flush_interval_s=0.1) as store:
        await store.publish_small(draft("a"), body("a"))
        await _until_durable(store)
    async with opened(tmp_path / "d", flush_bytes=1 << 20) as store:
        await store.publish_small(draft("a"), body("a"))
        await store.publish_small(draft("b"), body("b", 1 << 20))
        await _until_durable(store)


async def _until_durable(store: Store) -> None:
    async with asyncio.timeout(30):
        while await store._writer.run(lambda: store._disk.index.select("seq != 0")):
            pass


async def test_unfinished_objects_grow_old_by_running_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    for hours in (0, 10, 10):
        async with opened(tmp_path / "c", partial_age_s=86400.0) as store:
            store._disk.monotonic = lambda: now[0]
            store._flusher._aged_at = now[0]
            if not hours:
                partial = await store.begin(draft("a"), pieces.MIN_PIECE_BYTES, pieces.MIN_PIECE_BYTES)
                await partial.close()
            assert await store.find_partial(draft("a").key) is not None
            now[0] += hours * 3600
            await store._flusher.flush()
        now[0] -= 1e6
    async with opened(tmp_path / "c", partial_age_s=86400.0) as store:
        store._disk.monotonic = lambda: now[0]
        store._flusher._aged_at = now[0]
        now[0] += 3600
        await store._flusher.flush()
        assert await store.find_partial(draft("a").key) is not None, "21 hours"
        now[0] += 4 * 3600
        await store._flusher.flush()
        assert await store.find_partial(draft("a").key) is None, "25 hours"
        assert (await store.usage()).used_bytes == 0


async def test_trouble_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path / "c", flush_interval_s=0.1) as store:
        fail = [True]

        def broken(self: flusher.Flusher) -> tuple[int, int]:
            if fail.pop() if fail else False:
                raise OSError(5, "Input/output error")
            return begin(self)

        begin = flusher.Flusher._begin
        monkeypatch.setattr(flusher.Flusher, "_begin", broken)
        await store.publish_small(draft("a"), body("a"))
        await _until_durable(store)
        assert fail == []
