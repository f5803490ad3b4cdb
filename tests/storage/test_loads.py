"""Large files across interruptions: only missing pieces are left to do, and never pieces of another version."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from p2pstore.errors import NoSpace
from p2pstore.storage.files import Files
from p2pstore.storage.store import Store
from p2pstore.swarm import pieces
from tests.storage.samples import (
    BOOT,
    OTHER_BOOT,
    body,
    config,
    draft,
    files_below,
    fill,
    killed,
    opened,
    read,
)

PIECE = pieces.MIN_PIECE_BYTES
CONTENT = body("load", 6 * PIECE + 100)


async def _begun(path: Path, only: list[int], boot_id: str = BOOT) -> None:
    """A load that was killed after these pieces."""
    store = Store.open(config(), str(path), boot_id=boot_id)
    await store.start()
    partial = await store.begin(draft("a"), len(CONTENT), PIECE)
    for number in only:
        # One after the other: three threads at once log in any order.
        await fill(partial, CONTENT, iter([number]))
    await killed(store)


@pytest.mark.parametrize("boot_id", [BOOT, OTHER_BOOT])
async def test_a_killed_load_goes_on_with_what_it_has(tmp_path: Path, boot_id: str) -> None:
    await _begun(tmp_path / "c", [0, 3, 5])
    async with opened(tmp_path / "c", boot_id) as store:
        assert (await store.usage()).partial_bytes >= len(CONTENT)
        found = await store.find_partial(draft("a").key)
        assert found is not None and (found.have, found.length) == (0b101001, len(CONTENT))
        partial = await store.begin(draft("a"), len(CONTENT), PIECE)
        assert partial.have == 0b101001
        await fill(partial, CONTENT, iter([1, 2, 4, 6]))
        entry = await store.commit(partial, draft("a"), verified="transfer", digests={})
        assert read(store, entry) == CONTENT
        assert entry.boot_id == boot_id
        assert (await store.usage()).partial_bytes == 0


@pytest.mark.parametrize("boot_id", [BOOT, OTHER_BOOT])
async def test_pieces_of_another_boot_count_only_when_they_are_right(tmp_path: Path, boot_id: str) -> None:
    """The counterpart is part of it: in the boot that wrote them they are believed."""
    await _begun(tmp_path / "c", [0, 3, 5])
    data = next((tmp_path / "c" / "part").glob("*/data"))
    with data.open("r+b") as file:
        file.seek(3 * PIECE + 17)
        file.write(bytes(100))
    async with opened(tmp_path / "c", boot_id) as store:
        partial = await store.begin(draft("a"), len(CONTENT), PIECE)
        assert partial.have == (0b101001 if boot_id == BOOT else 0b100001)
        await partial.close()
    async with opened(tmp_path / "c", boot_id) as store:
        partial = await store.begin(draft("a"), len(CONTENT), PIECE)
        assert not partial.work.must_recheck
        await partial.discard()


async def test_a_torn_log_counts_as_far_as_it_is_whole(tmp_path: Path) -> None:
    await _begun(tmp_path / "c", [0, 1, 2])
    log = next((tmp_path / "c" / "part").glob("*/log"))
    log.write_bytes(log.read_bytes()[:-7])
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(draft("a"), len(CONTENT), PIECE)
        assert partial.have == 0b11
        await fill(partial, CONTENT, iter([3]))
        await partial.close()
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(draft("a"), len(CONTENT), PIECE)
        assert partial.have == 0b1011, "what was appended after the cut counts"
        await partial.discard()


@pytest.mark.parametrize(
    ("one", "length", "piece"),
    [
        (draft("a", validator='"other"'), len(CONTENT), PIECE),
        (draft("a", validator=""), len(CONTENT), PIECE),
        (draft("a"), len(CONTENT) + 1, PIECE),
        (draft("a"), len(CONTENT), 2 * PIECE),
        (draft("a"), None, PIECE),
    ],
    ids=["validator", "none", "length", "piece size", "unknown length"],
)
async def test_nothing_is_resumed_that_may_be_another_file(
    tmp_path: Path, one: object, length: int | None, piece: int
) -> None:
    await _begun(tmp_path / "c", [0, 3])
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(one, length, piece)  # type: ignore[arg-type]
        assert partial.have == 0
        await partial.discard()
        assert files_below(tmp_path / "c") == []


async def test_another_version_is_another_load(tmp_path: Path) -> None:
    await _begun(tmp_path / "c", [0])
    async with opened(tmp_path / "c") as store:
        newer = await store.begin(draft("a", "2"), len(CONTENT), PIECE)
        older = await store.begin(draft("a"), len(CONTENT), PIECE)
        assert (newer.have, older.have) == (0, 1)
        await newer.close()
        await older.close()
        await store.discard_partial(draft("a").key)
        assert (await store.usage()).partial_bytes == 0
        assert await store.find_partial(draft("a").key) is None


async def test_a_damaged_header_or_data_file_starts_anew(tmp_path: Path) -> None:
    for damage in ("log", "data"):
        await _begun(tmp_path / damage, [0])
        victim = next((tmp_path / damage / "part").glob(f"*/{damage}"))
        victim.write_bytes(b"p2pLgarbage")
        async with opened(tmp_path / damage) as store:
            partial = await store.begin(draft("a"), len(CONTENT), PIECE)
            assert partial.have == 0
            await partial.discard()


async def test_a_load_without_validator_leaves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        for length in (len(CONTENT), None):
            partial = await store.begin(draft("a", validator=""), length, PIECE)
            await partial.close()
        assert files_below(tmp_path / "c") == []
        assert (await store.usage()).used_bytes == 0


async def test_idle_loads_make_room_last(tmp_path: Path) -> None:
    async with opened(tmp_path / "c", size_bytes=4 << 20) as store:
        partial = await store.begin(draft("idle"), 2 << 20, PIECE)
        await partial.close()
        small = await store.publish_small(draft("s"), body("s", 1 << 20))
        # The entry goes first; only then what somebody may go on with.
        second = await store.begin(draft("b"), 1 << 20, PIECE)
        assert await store.lookup(small.key) is None
        assert await store.find_partial(draft("idle").key) is not None
        third = await store.begin(draft("c"), 2 << 20, PIECE)
        assert await store.find_partial(draft("idle").key) is None
        for one in (second, third):
            await one.discard()


async def test_a_begin_that_nobody_waits_for_holds_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        waiting = asyncio.create_task(store.begin(draft("a"), len(CONTENT), PIECE))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await store.remove(draft("nothing").key)
        await store.remove(draft("nothing").key)
        again = await store.begin(draft("a"), len(CONTENT), PIECE)
        await again.discard()
        assert (await store.usage()).partial_bytes == 0


async def test_a_commit_that_fails_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Files.rename
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(draft("a"), len(CONTENT), PIECE)
        await fill(partial, CONTENT)

        def fail(self: Files, source: str, target: str) -> None:
            if target.startswith("meta/"):
                raise OSError(28, os.strerror(28))
            rename(self, source, target)

        monkeypatch.setattr(Files, "rename", fail)
        with pytest.raises(NoSpace):
            await store.commit(partial, draft("a"), verified="transfer", digests={})
        assert await store.lookup(draft("a").key) is None
        monkeypatch.setattr(Files, "rename", rename)
        entry = await store.commit(partial, draft("a"), verified="transfer", digests={})
        assert read(store, entry) == CONTENT
        assert len(files_below(tmp_path / "c")) == 3
        await partial.close()


async def test_disk_full_is_known_before_the_transfer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Files, fd: int, size_bytes: int) -> None:
        raise OSError(28, os.strerror(28))

    async with opened(tmp_path / "c") as store:
        monkeypatch.setattr(Files, "allocate", full)
        with pytest.raises(NoSpace):
            await store.begin(draft("a"), len(CONTENT), PIECE)
        assert files_below(tmp_path / "c") == []
        assert (await store.usage()).used_bytes == 0


async def test_open_loads_are_kept_when_the_store_closes(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(draft("a"), len(CONTENT), PIECE)
        await fill(partial, CONTENT, iter([2]))
    async with opened(tmp_path / "c") as store:
        found = await store.find_partial(draft("a").key)
        assert found is not None and found.have == 0b100
