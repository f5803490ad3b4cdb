"""The index is derived: deleted, damaged, old or another cache's, the answers stay the same, also while it is made anew."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pstore.errors import NameTaken
from p2pstore.storage import reconcile
from p2pstore.storage.store import Store
from tests.storage.samples import (
    BOOT,
    OTHER_BOOT,
    body,
    config,
    draft,
    files_below,
    key_of,
    killed,
    load,
    opened,
    put_draft,
    read,
    ver_of,
)

SMALL = 60


async def _stock(store: Store, source: Path) -> None:
    for number in range(SMALL):
        await store.publish_small(draft(f"f{number}"), body(number))
    for version in "123":
        await store.publish_small(draft("versions", version), body(version))
    await store.publish_small(draft("private", scope="uid:5", owner_uid=5), body("private"))
    await load(store, draft("large"), body("large", 2 << 20))
    source.write_bytes(body("result"))
    with source.open("rb") as file:
        await store.import_put(put_draft("r"), file.fileno(), replace=False)


async def _answers(store: Store) -> list[object]:
    """Everything that a caller can see of what is stored."""
    lines: list[object] = []
    cursor = None
    while True:
        page, cursor = await store.entries(limit=17, after=cursor, versions=True)
        for one in page:
            entry = one.entry
            found = await store.lookup_version(entry.key, entry.ver)
            assert found is not None
            lines.append((entry.url, entry.ver, entry.root, one.current, one.disk_bytes, found.headers))
            assert read(store, found)
        if cursor is None:
            return [*sorted(lines, key=repr), (await store.usage()).used_bytes]


def _delete(index: Path, rng: random.Random) -> None:
    index.unlink()


def _delete_all(index: Path, rng: random.Random) -> None:
    for path in index.parent.glob("index.sqlite*"):
        path.unlink()


def _garbage(index: Path, rng: random.Random) -> None:
    index.write_bytes(rng.randbytes(20_000))


def _empty(index: Path, rng: random.Random) -> None:
    index.write_bytes(b"")


def _cut(index: Path, rng: random.Random) -> None:
    os.truncate(index, rng.randrange(100, index.stat().st_size))


def _overwrite(index: Path, rng: random.Random) -> None:
    with index.open("r+b") as file:
        for _ in range(3):
            file.seek(rng.randrange(index.stat().st_size // 4096) * 4096)
            file.write(rng.randbytes(4096))


def _flip(index: Path, rng: random.Random) -> None:
    data = bytearray(index.read_bytes())
    for _ in range(50):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    index.write_bytes(data)


DAMAGES: list[Callable[[Path, random.Random], None]] = [
    _delete,
    _delete_all,
    _garbage,
    _empty,
    _cut,
    _overwrite,
]


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that was stopped; to be copied."""
    path = tmp_path_factory.mktemp("stocked")

    async def stock() -> None:
        async with opened(path / "c") as store:
            await _stock(store, path / "source")

    asyncio.run(stock())
    return path / "c"


@pytest.fixture
def cache(stocked: Path, tmp_path: Path) -> Path:
    """A copy of the stocked cache, times and modes included."""
    shutil.copytree(stocked, tmp_path / "c")
    return tmp_path / "c"


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("seed", range(3))
async def test_the_answers_stay_the_same(
    cache: Path, damage: Callable[[Path, random.Random], None], seed: int
) -> None:
    async with opened(cache) as store:
        before = await _answers(store)
    damage(cache / "index.sqlite", random.Random(seed))
    async with opened(cache) as store:
        await _settled(store)
        assert await _answers(store) == before
        assert (await store.usage()).used_bytes == store._disk.index.entry_bytes


async def _settled(store: Store) -> None:
    """Until the recovery has looked at everything, the whole of the index included."""
    while (task := store._recovery._task) is not None and not task.done():
        await task


async def test_flipped_bits_never_give_wrong_bytes(cache: Path) -> None:
    for seed in range(10):
        _flip(cache / "index.sqlite", random.Random(seed))
        async with opened(cache) as store:
            await _settled(store)
            for number in range(0, SMALL, 7):
                entry = await store.lookup(key_of(f"f{number}"))
                assert entry is not None
                assert read(store, entry) == body(number)


async def test_it_serves_while_the_index_is_made_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "index.sqlite").unlink()
    go = asyncio.Event()
    store = Store.open(config(), str(cache), boot_id=BOOT)

    async def held(steps: object) -> None:
        await go.wait()

    await store.start()
    monkeypatch.setattr(store._recovery, "_all", held)
    assert (await store.usage()).rebuilding
    entry = await store.lookup(key_of("f3"))
    assert entry is not None and read(store, entry) == body(3)
    older = await store.lookup_version(key_of("versions"), ver_of("versions", "1"))
    assert older is not None and read(store, older) == body("1")
    with (cache / "FORMAT").open("rb") as file, pytest.raises(NameTaken):
        await store.import_put(put_draft("r"), file.fileno(), replace=False)
    await store.publish_small(draft("versions", "4"), body("4"))
    kept = await store.lookup_version(key_of("versions"), ver_of("versions", "3"))
    assert kept is not None and read(store, kept) == body("3")
    assert await store.remove(key_of("versions")) == 4
    assert await store.lookup(key_of("absent")) is None
    monkeypatch.undo()
    go.set()
    await store.aclose()
    async with opened(cache) as store:
        assert await store.lookup(key_of("versions")) is None
        # Of the small files three had the removed versions' contents: such copies may go with them, results never.
        assert (await store.usage()).entries >= SMALL
        assert await store.lookup(put_draft("r").key) is not None


async def test_a_result_keeps_its_bytes_when_its_twin_goes_during_a_rebuild(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(cache) as store:
        with (cache / "FORMAT").open("rb") as file:
            for name in ("one", "two"):
                await store.import_put(put_draft(name), file.fileno(), replace=False)
    (cache / "index.sqlite").unlink()
    with monkeypatch.context() as held:
        held.setattr(reconcile, "scan", lambda disk: iter(()))
        async with opened(cache, recovered=False) as store:
            assert await store.remove(put_draft("one").key) == 1
    async with opened(cache) as store:
        found = await store.lookup(put_draft("two").key)
        assert found is not None and read(store, found) == (cache / "FORMAT").read_bytes()
        assert await store.lookup(put_draft("one").key) is None


async def test_an_old_copy_of_the_index_is_brought_up_to_date(cache: Path) -> None:
    index = cache / "index.sqlite"
    old = index.read_bytes()
    async with opened(cache) as store:
        await store.remove(key_of("f0"))
        await store.publish_small(draft("f1", "2"), body("newer"))
        await store.publish_small(draft("newcomer"), body("newcomer"))
        after = await _answers(store)
    index.write_bytes(old)
    async with opened(cache) as store:
        assert await _answers(store) == after


async def test_an_index_of_another_cache_is_put_aside(cache: Path, tmp_path: Path) -> None:
    async with opened(cache) as store:
        before = await _answers(store)
    async with opened(tmp_path / "other") as store:
        await store.publish_small(draft("foreign"), body("foreign"))
    shutil.copy(tmp_path / "other" / "index.sqlite", cache / "index.sqlite")
    async with opened(cache) as store:
        assert await store.lookup(key_of("foreign")) is None
        assert await _answers(store) == before


async def test_damage_that_shows_while_it_runs_is_healed(cache: Path) -> None:
    async with opened(cache) as store:
        await _settled(store)
        before = await _answers(store)
        _overwrite_all(cache / "index.sqlite")
        entry = await store.publish_small(draft("late"), body("late"))
        assert store.hot(entry.key) == entry
        for number in range(SMALL):
            found = await store.lookup(key_of(f"f{number}"))
            assert found is not None and read(store, found) == body(number)
        await store.remove(entry.key)
        await _settled(store)
        assert await _answers(store) == before


async def test_an_index_deleted_while_it_runs_can_be_made_anew(cache: Path) -> None:
    async with opened(cache) as store:
        before = await _answers(store)
        _delete_all(cache / "index.sqlite", random.Random(0))
        await store._writer.run(lambda: store._writer.renew("its file is gone"))
        await _settled(store)
        assert await _answers(store) == before
        assert (cache / "index.sqlite").exists()


def _overwrite_all(index: Path) -> None:
    """In place, as a bad disk does; the pages in memory stay as they are until they are read again."""
    with index.open("r+b") as file:
        file.write(os.urandom(index.stat().st_size))


async def test_a_rebuild_that_is_killed_goes_on_at_the_next_start(cache: Path) -> None:
    async with opened(cache) as store:
        before = await _answers(store)
    (cache / "index.sqlite").unlink()
    store = Store.open(config(), str(cache), boot_id=BOOT)
    for _, _ in zip(range(5), reconcile.scan(store._disk), strict=False):
        pass
    store._disk.index.close()
    store._disk.files.shut()
    store._cache.lock.release()
    async with opened(cache, recovered=False) as store:
        assert (await store.usage()).rebuilding
        await store._recovery.wait(30)
        assert await _answers(store) == before


async def test_the_quota_is_kept_while_the_index_is_made_anew(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(cache) as store:
        used = (await store.usage()).used_bytes
    (cache / "index.sqlite").unlink()
    monkeypatch.setattr(reconcile, "scan", lambda disk: iter(()))
    async with opened(cache, recovered=False) as store:
        assert (await store.usage()).used_bytes == used
        await store.publish_small(draft("more"), body("more"))
        assert (await store.usage()).used_bytes > used


async def test_torn_records_of_an_ended_boot_are_dropped(cache: Path) -> None:
    victims = [name for name in files_below(cache) if name.startswith("meta/")][:10]
    for number, name in enumerate(victims):
        (cache / name).write_bytes(b"" if number % 2 else bytes(600))
    (cache / "index.sqlite").unlink()
    async with opened(cache, OTHER_BOOT) as store:
        await _settled(store)
        left = [name for name in files_below(cache) if name.startswith("meta/")]
        assert len([name for name in victims if name in left]) == 0
        for line in (await store.entries())[0]:
            found = await store.lookup(line.entry.key)
            assert found is not None and await store.verify(found)


async def test_orphans_are_swept_after_a_reboot(cache: Path) -> None:
    for folder in ("pub/ab", "priv/ab", "put/ab"):
        (cache / folder / ("ab" * 32)).write_bytes(b"left by a cut")
    (cache / "pub" / "ab" / ("ab" * 32 + ".m")).write_bytes(b"left by a cut")
    async with opened(cache, OTHER_BOOT) as store:
        await _settled(store)
        assert [name for name in files_below(cache) if "ab" * 32 in name] == []
        assert (await store.usage()).entries == SMALL + 6


async def test_a_kill_needs_no_scan(cache: Path) -> None:
    store = Store.open(config(), str(cache), boot_id=BOOT)
    await store.start()
    await store.publish_small(draft("late"), body("late"))
    await killed(store)
    async with opened(cache, recovered=False) as store:
        assert not (await store.usage()).rebuilding
        assert await store.lookup(key_of("late")) is not None
