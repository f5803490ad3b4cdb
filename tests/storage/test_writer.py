"""The store thread's errors: tried again where that helps, translated where not."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from p2pstore.errors import CacheUnusable, NoSpace, NotCached, Overloaded
from tests.storage.samples import body, draft, key_of, opened, read


def _sqlite(code: int) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError("it failed")
    error.sqlite_errorcode = code
    return error


class Calls:
    """Fails as often as it was told, then works."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_a_full_disk_is_tried_again_once_after_eviction(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    async with opened(tmp_path / "c") as store:
        for number in range(5):
            await store.publish_small(draft(f"f{number}"), body(number))
        once, twice = Calls(full), Calls(full, full)
        assert await store._writer.run(once, "can't") == "done"
        assert (await store.usage()).entries < 5
        with pytest.raises(NoSpace, match="can't: "):
            await store._writer.run(twice, "can't")
        assert (once.count, twice.count) == (2, 2)
        assert not (await store.usage()).degraded


async def test_a_broken_disk_degrades_and_is_not_tried_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        call = Calls(OSError(errno.EIO, os.strerror(errno.EIO)))
        with pytest.raises(CacheUnusable):
            await store._writer.run(call)
        assert call.count == 1
        assert (await store.usage()).degraded


async def test_a_process_out_of_descriptors_does_not_degrade(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        with pytest.raises(Overloaded):
            await store._writer.run(Calls(OSError(errno.EMFILE, os.strerror(errno.EMFILE))))
        assert not (await store.usage()).degraded


async def test_a_damaged_index_is_replaced_and_the_call_tried_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        entry = await store.publish_small(draft("a"), body("a"))
        call = Calls(_sqlite(sqlite3.SQLITE_CORRUPT))
        assert await store._writer.run(call) == "done"
        found = await store.lookup(key_of("a"))
        assert found is not None and read(store, found) == body("a")
        await store._recovery.wait(30)
        assert (await store.usage()).entries == 1
        assert await store.lookup(entry.key) == entry
        assert not list((tmp_path / "c").glob("index.sqlite.damaged"))


async def test_our_own_errors_pass(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        with pytest.raises(NotCached):
            await store._writer.run(Calls(NotCached("not there")))
        with pytest.raises(CacheUnusable):
            await store._writer.run(Calls(_sqlite(sqlite3.SQLITE_READONLY)))
