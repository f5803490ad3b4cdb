"""The store as the agent uses it: publish, find, replace, remove, across restarts, kills and reboots."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from pathlib import Path

import pytest
from blake3 import blake3

from p2pstore.errors import BadRequest, IntegrityError, NameTaken, NoSpace, NotCached
from p2pstore.storage import finding
from p2pstore.storage import index as index_module
from p2pstore.storage.index import SUSPECT
from p2pstore.storage.store import Store
from p2pstore.swarm import pieces
from p2pstore.types import Entry
from tests.storage.samples import (
    BOOT,
    OTHER_BOOT,
    body,
    config,
    disk_bytes,
    draft,
    files_below,
    fill,
    key_of,
    killed,
    load,
    opened,
    put_draft,
    read,
    ver_of,
)


def _entry(one: Entry | None) -> Entry:
    assert one is not None
    return one


async def test_a_small_file_is_published_and_found(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        entry = await store.publish_small(draft("a"), body("a"), digests={"sha256": "00"}, verified="digest")
        assert store.hot(entry.key) == entry
        assert (entry.digests, entry.verified, entry.boot_id) == ({"sha256": "00"}, "digest", BOOT)
        assert read(store, entry) == body("a")
        path = Path(store.path_of(entry))
        assert path.read_bytes() == body("a")
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
        assert await store.lookup(key_of("b")) is None


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 262144, 262145, 1 << 20])
async def test_small_and_large_ways_name_an_object_alike(tmp_path: Path, size: int) -> None:
    async with opened(tmp_path / "c") as store:
        small = await store.publish_small(draft("a"), body("x", size))
        large = await load(store, draft("b"), body("x", size))
        assert small.root == large.root
        assert read(store, small) == read(store, large) == body("x", size)
        assert await store.verify(small) and await store.verify(large)


async def test_many_at_once_share_a_hop(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        names = [f"f{number}" for number in range(300)]
        entries = await asyncio.gather(*(store.publish_small(draft(name), body(name)) for name in names))
        assert [read(store, entry) for entry in entries] == [body(name) for name in names]
        assert (await store.usage()).entries == 300


async def test_two_answers_of_one_url_in_one_batch(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        one, two = await asyncio.gather(
            store.publish_small(draft("a", "1"), body(1)), store.publish_small(draft("a", "2"), body(2))
        )
        assert await store.lookup(key_of("a")) == two
        older = _entry(await store.lookup_version(key_of("a"), one.ver))
        assert read(store, older) == body(1)


async def test_a_new_version_leaves_the_old_one_readable(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        for version in "123":
            await store.publish_small(draft("a", version), body(version))
        assert read(store, _entry(await store.lookup(key_of("a")))) == body("3")
        for version in "123":
            entry = _entry(await store.lookup_version(key_of("a"), ver_of("a", version)))
            assert read(store, entry) == body(version)
        assert len(await store.versions(key_of("a"))) == 3


async def test_an_answer_of_the_same_version_takes_its_place(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        old = await store.publish_small(draft("a"), body("old"))
        await store.publish_small(draft("a"), body("new"))
        assert read(store, _entry(await store.lookup(key_of("a")))) == body("new")
        with pytest.raises(NotCached):
            store.open_object(old)
        assert len([name for name in files_below(tmp_path / "c") if name.startswith("pub/")]) == 1


async def test_a_version_that_comes_back_is_current_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        for version in "121":
            await store.publish_small(draft("a", version), body(version))
        assert read(store, _entry(await store.lookup(key_of("a")))) == body("1")
        names = [name for name in files_below(tmp_path / "c") if name.startswith("meta/")]
        assert len(names) == 2


async def test_one_object_under_two_urls_is_kept_until_both_are_gone(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        one = await store.publish_small(draft("a"), body("same"))
        two = await store.publish_small(draft("b"), body("same"))
        used = (await store.usage()).used_bytes
        assert await store.remove(one.key) == 1
        assert read(store, two) == body("same")
        assert used - (await store.usage()).used_bytes < 8192
        assert await store.remove(two.key) == 1
        assert [name for name in files_below(tmp_path / "c") if name.startswith("pub/")] == []
        assert (await store.usage()).used_bytes == 0


async def test_private_bytes_are_in_a_place_of_their_own(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        one = await store.publish_small(draft("a"), body("same"))
        two = await store.publish_small(draft("a2", scope="uid:7", owner_uid=7), body("same"))
        assert store.path_of(one) != store.path_of(two)
        path = Path(store.path_of(two))
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_everything_is_found_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        await store.publish_small(draft("a"), body("a"))
        await load(store, draft("b"), body("b", 3 << 20))
    async with opened(tmp_path / "c", recovered=False) as store:
        assert store.hot(key_of("a")) is None
        assert read(store, _entry(await store.lookup(key_of("a")))) == body("a")
        assert read(store, _entry(await store.lookup(key_of("b")))) == body("b", 3 << 20)
        assert not (await store.usage()).rebuilding


async def test_everything_is_found_after_a_kill(tmp_path: Path) -> None:
    store = Store.open(config(), str(tmp_path / "c"), boot_id=BOOT)
    await store.start()
    await store.publish_small(draft("a", "1"), body("a1"))
    await store.publish_small(draft("a", "2"), body("a2"))
    await killed(store)
    async with opened(tmp_path / "c") as store:
        assert read(store, _entry(await store.lookup(key_of("a")))) == body("a2")
        older = _entry(await store.lookup_version(key_of("a"), ver_of("a", "1")))
        assert read(store, older) == body("a1")


async def test_after_a_power_cut_what_was_not_flushed_is_read_before_it_is_served(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        flushed = await store.publish_small(draft("flushed"), body("flushed"))
        assert await store._flusher.flush()
        whole = await store.publish_small(draft("whole"), body("whole"))
        torn = await store.publish_small(draft("torn"), body("torn"))
        path = Path(store.path_of(torn))
    path.chmod(0o644)
    path.write_bytes(bytes(len(body("torn"))))
    events = []
    async with opened(tmp_path / "c", OTHER_BOOT) as store:
        store.on_event = lambda kind, entry: events.append((kind, entry.url))
        assert await store.lookup(torn.key) is None
        assert read(store, _entry(await store.lookup(whole.key))) == body("whole")
        assert read(store, _entry(await store.lookup(flushed.key))) == body("flushed")
        assert not path.exists()
        await asyncio.sleep(0)
    assert events == [("evicted", torn.url)]


async def test_the_same_torn_bytes_would_be_served_in_the_boot_that_wrote_them(tmp_path: Path) -> None:
    """The counterpart: it is the boot that makes the difference, not the look at the file."""
    async with opened(tmp_path / "c") as store:
        torn = await store.publish_small(draft("torn"), body("torn"))
        path = Path(store.path_of(torn))
    path.chmod(0o644)
    path.write_bytes(bytes(len(body("torn"))))
    async with opened(tmp_path / "c") as store:
        assert await store.lookup(torn.key) is not None
        assert not await store.verify(torn)


@pytest.mark.parametrize("planted", [False, True])
async def test_an_object_stored_anew_is_not_mistaken_for_the_flushed_one(
    tmp_path: Path, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flushed, removed and stored again within the last moments of a boot, of which the index lost all."""
    index = tmp_path / "c" / "index.sqlite"
    async with opened(tmp_path / "c") as store:
        entry = await store.publish_small(draft("a"), body("a"))
        await store._flusher.flush()
        before = index.read_bytes()
        await store.remove(entry.key)
        await store.publish_small(draft("a"), body("a"))
        path = Path(store.path_of(entry))
    path.chmod(0o644)
    path.write_bytes(bytes(len(body("a"))))
    index.write_bytes(before)
    async with opened(tmp_path / "c", OTHER_BOOT) as store:
        if planted:
            monkeypatch.setattr(finding, "is_suspect", lambda disk, row: row.seq == SUSPECT)
        found = await store.lookup(entry.key)
        assert (found is not None) == planted


async def test_a_wrong_length_is_put_aside(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        entry = await store.publish_small(draft("a"), body("a"))
        path = Path(store.path_of(entry))
        path.chmod(0o644)
        path.write_bytes(b"short")
        with pytest.raises(IntegrityError):
            store.open_object(entry)
        assert store.hot(entry.key) is None
        await store.remove(key_of("nothing"))
        assert await store.lookup(entry.key) is None
        assert files_below(tmp_path / "c") == [f"quarantine/{entry.root}"]


@pytest.mark.parametrize("flips", [1, 3, 1000])
async def test_bit_rot_is_noticed_and_put_aside(tmp_path: Path, flips: int) -> None:
    events = []
    content = bytearray(body("rot", 400_000))
    async with opened(tmp_path / "c") as store:
        store.on_event = lambda kind, entry: events.append(kind)
        entry = await load(store, draft("rot"), bytes(content))
        other = await store.publish_small(draft("other"), body("other"))
        path = Path(store.path_of(entry))
        path.chmod(0o644)
        for flip in range(flips):
            content[flip * 397] ^= 1
        path.write_bytes(content)
        assert await store.verify(other)
        assert not await store.verify(entry)
        await store.quarantine(entry, "does not verify")
        assert await store.lookup(entry.key) is None
        with pytest.raises(NotCached):
            await store.verify(entry)
        await asyncio.sleep(0)
    assert events == ["quarantined"]


async def test_a_refreshed_record_lasts(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        entry = await store.publish_small(draft("a"), body("a"))
        fresh = entry.with_changes(headers=(("age", "0"),), response_at=9.0, digests={"md5": "1"})
        assert (await store.refresh(fresh)).headers == fresh.headers
        assert _entry(store.hot(entry.key)).response_at == 9.0
        with pytest.raises(NotCached):
            await store.refresh(entry.with_changes(ver=ver_of("a", "9")))
    os.unlink(tmp_path / "c" / "index.sqlite")
    async with opened(tmp_path / "c") as store:
        found = _entry(await store.lookup(entry.key))
        assert (found.headers, found.response_at, found.digests) == (fresh.headers, 9.0, {"md5": "1"})


async def test_a_superseded_version_can_be_refreshed(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        old = await store.publish_small(draft("a", "1"), body("1"))
        new = await store.publish_small(draft("a", "2"), body("2"))
        await store.refresh(old.with_changes(response_at=9.0))
        assert await store.lookup(old.key) == new
        assert _entry(await store.lookup_version(old.key, old.ver)).response_at == 9.0


async def test_removing_a_version_leaves_the_others(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        for version in "123":
            await store.publish_small(draft("a", version), body(version))
        assert await store.remove(key_of("a"), ver_of("a", "2")) == 1
        assert await store.remove(key_of("a"), ver_of("a", "3")) == 1
        assert await store.lookup(key_of("a")) is None
        assert await store.lookup_version(key_of("a"), ver_of("a", "1")) is not None
        assert await store.remove(key_of("a")) == 1
        assert files_below(tmp_path / "c") == []


async def test_a_reader_is_not_disturbed_by_removal(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        entry = await store.publish_small(draft("a"), body("a"))
        fd = store.open_object(entry)
        await store.remove(entry.key)
        with open(fd, "rb") as file:
            assert file.read() == body("a")
        with pytest.raises(NotCached):
            store.open_object(entry)


async def test_a_result_is_durable_and_named_once(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(body("result", 600_000))
    async with opened(tmp_path / "c") as store:
        with source.open("rb") as file:
            entry = await store.import_put(put_draft("r"), file.fileno(), replace=False)
            with pytest.raises(NameTaken):
                await store.import_put(put_draft("r"), file.fileno(), replace=False)
        assert entry.durable and entry.owner_uid == 1000
        assert await store.evict(1 << 40) == 0
    async with opened(tmp_path / "c", OTHER_BOOT) as store:
        assert read(store, _entry(await store.lookup(entry.key))) == body("result", 600_000)
        source.write_bytes(body("other"))
        with source.open("rb") as file:
            newer = await store.import_put(put_draft("r"), file.fileno(), replace=True)
        assert newer.ver != entry.ver
        assert read(store, _entry(await store.lookup_version(entry.key, entry.ver))) == body(
            "result", 600_000
        )
        assert read(store, _entry(await store.lookup(entry.key))) == body("other")


async def test_only_a_readable_regular_file_is_stored(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        ends = os.pipe()
        with pytest.raises(BadRequest):
            await store.import_put(put_draft("r"), ends[0], replace=False)
        for end in ends:
            os.close(end)
        with (tmp_path / "w").open("wb") as file, pytest.raises(BadRequest):
            await store.import_put(put_draft("r"), file.fileno(), replace=False)
        with pytest.raises(BadRequest):
            await store.import_put(put_draft("r"), 10_000, replace=False)


async def test_digests_of_what_is_stored(tmp_path: Path) -> None:
    content = body("d", 2_500_000)
    expected = {"sha256": hashlib.sha256(content).hexdigest(), "blake3": blake3(content).hexdigest()}
    async with opened(tmp_path / "c") as store:
        one = draft("d")
        partial = await store.begin(one, len(content), pieces.piece_bytes(len(content)))
        await fill(partial, content)
        assert await store.digest(partial, ["sha256", "blake3"]) == expected
        entry = await store.commit(partial, one, verified="transfer", digests={})
        assert await store.digest(entry, ["sha256", "blake3"]) == expected
        assert await store.digest(entry, []) == {}


async def test_the_quota_holds_at_every_moment(tmp_path: Path) -> None:
    quota = 4 << 20
    async with opened(tmp_path / "c", size_bytes=quota) as store:
        most = 0
        for number in range(40):
            if number % 3:
                await store.publish_small(draft(f"s{number}"), body(number, 200_000))
            else:
                await load(store, draft(f"l{number}"), body(number, 1_200_000))
            most = max(most, disk_bytes(tmp_path / "c"))
            assert (await store.usage()).used_bytes <= quota
        assert quota / 2 < most <= quota


async def test_an_unfinished_file_counts_whole_from_the_beginning(tmp_path: Path) -> None:
    quota = 8 << 20
    async with opened(tmp_path / "c", size_bytes=quota) as store:
        partial = await store.begin(draft("big"), 7 << 20, 262144)
        assert 7 << 20 <= (await store.usage()).used_bytes <= quota
        assert disk_bytes(tmp_path / "c") >= 7 << 20
        with pytest.raises(NoSpace):
            await store.begin(draft("other"), 2 << 20, 262144)
        await partial.discard()
        assert (await store.usage()).used_bytes == 0
        assert files_below(tmp_path / "c") == []


async def test_more_than_the_quota_never_fits(tmp_path: Path) -> None:
    async with opened(tmp_path / "c", size_bytes=1 << 20) as store:
        kept = await store.publish_small(draft("kept"), body("kept"))
        with pytest.raises(NoSpace):
            await store.begin(draft("big"), 2 << 20, 262144)
        assert store.hot(kept.key) == kept
        assert store._disk.idle == {} and not store._disk.working


async def test_eviction_goes_by_last_use_and_spares_leases(tmp_path: Path) -> None:
    events = []
    async with opened(tmp_path / "c", size_bytes=1 << 20, high_ratio=0.9, low_ratio=0.5) as store:
        store.on_event = lambda kind, entry: events.append((kind, entry.url))
        entries = [await store.publish_small(draft(f"f{n}"), body(n, 100_000)) for n in range(8)]
        assert await store.evict() == 0
        entries.append(await store.publish_small(draft("f8"), body(8, 100_000)))
        store.touch(entries[0])
        store.lease(entries[1], time.monotonic() + 60)
        assert await store.evict() == 5
        await asyncio.sleep(0)
        left = {e.url for e in entries if await store.lookup(e.key) is not None}
        assert left == {entries[n].url for n in (0, 1, 7, 8)}
        assert [url for _, url in events] == [entries[n].url for n in range(2, 7)]
        assert (await store.usage()).used_bytes <= 1 << 19


async def test_the_last_use_survives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        one = await store.publish_small(draft("a"), body("a"))
        await store.publish_small(draft("b"), body("b"))
        store.touch(one)
    async with opened(tmp_path / "c") as store:
        listed, _ = await store.entries(sort="access")
        assert [line.entry.url for line in listed] == ["http://example.org/b", "http://example.org/a"]
        fresh = await store.publish_small(draft("c"), body("c"))
        listed, _ = await store.entries(sort="access", descending=True)
        assert listed[0].entry == fresh


async def test_a_hundred_thousand_would_open_as_fast_as_none(tmp_path: Path) -> None:
    """Opening asks the index for sums and largest numbers only: no statement walks over all rows."""
    async with opened(tmp_path / "c") as store:
        for number in range(50):
            await store.publish_small(draft(f"f{number}"), body(number))
    statements: list[str] = []
    connect = index_module._connect

    def watched(path: str):  # type: ignore[no-untyped-def]
        db = connect(path)
        db.set_trace_callback(statements.append)
        return db

    index_module._connect = watched
    try:
        store = Store.open(config(), str(tmp_path / "c"), boot_id=BOOT)
    finally:
        index_module._connect = connect
    plans = []
    for statement in statements:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")) and "sqlite_schema" not in statement:
            plans += store._disk.index._db.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
    await store.aclose()
    assert [plan for plan in plans if plan[3] == "SCAN entries"] == []
    assert any("entries" in plan[3] for plan in plans)


async def test_a_store_that_never_started_closes(tmp_path: Path) -> None:
    for _ in range(2):
        store = Store.open(config(), str(tmp_path / "c"), boot_id=BOOT)
        assert store.directory == str(tmp_path / "c")
        await store.aclose()
