"""One incomplete object: blocks, pieces, errors; its bytes and digests whatever the order."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pstore.errors import CacheUnusable, InternalError, NoSpace
from p2pstore.storage import unfinished
from p2pstore.storage.files import Files
from p2pstore.storage.partial import Partial
from p2pstore.swarm import pieces
from tests.storage.samples import body, disk_bytes, draft, fill, opened, read

PIECE = pieces.MIN_PIECE_BYTES


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, 5 * PIECE + 1])
async def test_blocks_in_any_order_make_the_object(tmp_path: Path, size: int) -> None:
    content = body(size, size)
    async with opened(tmp_path / "c") as store:
        small = await store.publish_small(draft("s"), content[: 1 << 20])
        partial = await store.begin(draft("a"), size, PIECE)
        order = list(range(pieces.piece_count(size, PIECE)))
        random.Random(size).shuffle(order)
        done: list[int] = []
        partial.on_piece = done.append
        await fill(partial, content, iter(order))
        assert sorted(done) == sorted(order)
        assert partial.have == pieces.bits(0, len(order))
        root = partial.root()
        assert (root == small.root) == (size <= 1 << 20)
        entry = await store.commit(partial, draft("a"), verified="transfer", digests={})
        assert entry.root == root
        assert read(store, entry) == content
        assert await store.verify(entry)


async def test_a_piece_of_several_blocks_is_there_when_all_are(tmp_path: Path) -> None:
    piece = 4 << 20
    content = body("large pieces", piece + (1 << 20) + 5)
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(draft("a"), len(content), piece)
        assert partial.unit_bytes == 1 << 20
        await fill(partial, content, iter([0, 1, 3]))
        assert partial.have == 0
        await fill(partial, content, iter([2]))
        assert partial.have == 1
        await fill(partial, content, iter([5, 4]))
        assert partial.have == 3
        nodes = partial.nodes()
        assert len(nodes) == 2
        await partial.discard()


def _always(size: int, partial: Partial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one size, whatever the rate."""
    monkeypatch.setattr(partial._size, "next_bytes", size)
    monkeypatch.setattr(partial._size, "filled", lambda *_: None)


@pytest.mark.parametrize("begin", [0, 1])
async def test_a_block_may_hold_the_end_of_one_large_piece_and_the_beginning_of_another(
    begin: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece, unit = 4 << 20, 1 << 20
    content = body("across", 3 * piece + 99)
    async with opened(tmp_path / "c") as store:
        other = await store.begin(draft("b"), len(content), piece)
        await fill(other, content)
        partial = await store.begin(draft("a"), len(content), piece)
        await fill(partial, content, range(begin))
        _always(2 * unit, partial, monkeypatch)
        starts = list(range(begin * unit, len(content), 2 * unit))
        random.Random(begin).shuffle(starts)
        for start in starts:
            block = partial.take()
            assert block is not None
            part = content[start : start + 2 * unit]
            block[: len(part)] = part
            partial.give(start, block, len(part))
            await partial.drain()
        assert partial.have == 0b1111
        assert partial.root() == other.root()
        await other.discard()
        await partial.discard()


@pytest.mark.parametrize("end", [0, 7])
async def test_a_block_of_several_pieces_brings_them_all(
    tmp_path: Path, end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = body("many at once", 11 * PIECE + end)
    async with opened(tmp_path / "c") as store:
        other = await store.begin(draft("b"), len(content), PIECE)
        await fill(other, content)
        for length in (len(content), None):
            partial = await store.begin(draft("a"), length, PIECE)
            _always(4 * PIECE, partial, monkeypatch)
            done: list[int] = []
            partial.on_piece = done.append
            for start in (8, 0, 4):
                block = partial.take()
                assert block is not None and len(block) == 4 * PIECE
                part = content[start * PIECE : (start + 4) * PIECE]
                block[: len(part)] = part
                partial.give(start * PIECE, block, len(part))
                await partial.drain()
            if length is None:
                partial.finish_length(len(content))
            assert sorted(done) == list(range(11 + (end > 0)))
            assert partial.root() == other.root()
            await partial.close()
            if length is not None:
                found = await store.find_partial(draft("a").key)
                assert found is not None and found.have == partial.have
                await (await store.begin(draft("a"), length, PIECE)).discard()
        await other.discard()


async def test_a_reader_sees_pieces_before_the_object_is_complete(tmp_path: Path) -> None:
    content = body("early", 3 * PIECE)
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(draft("a"), len(content), PIECE)
        with os.fdopen(partial.fd(), "rb") as file:
            await fill(partial, content, iter([1]))
            assert os.pread(file.fileno(), PIECE, PIECE) == content[PIECE : 2 * PIECE]
            await fill(partial, content, iter([0, 2]))
            entry = await store.commit(partial, draft("a"), verified="transfer", digests={})
            assert os.fstat(file.fileno()).st_ino == os.stat(store.path_of(entry)).st_ino
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.write(file.fileno(), b"x")


async def test_blocks_are_bounded_and_come_back(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(draft("a"), 20 * PIECE, PIECE, streams=2)
        blocks = [partial.take() for _ in range(4)]
        assert None not in blocks
        assert partial.take() is None
        called: list[int] = []
        partial.on_room(lambda: called.append(1))
        partial.give_back(blocks[0] or memoryview(b""))
        assert called == [1]
        again = partial.take()
        assert again is not None
        for block in (*blocks[1:], again):
            partial.give_back(block or memoryview(b""))
        await partial.discard()


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.EIO, CacheUnusable), (errno.EROFS, CacheUnusable), (errno.ENOSPC, NoSpace)]
)
async def test_a_failed_write_reaches_whoever_gives_next(
    tmp_path: Path, code: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(draft("a"), 2 * PIECE, PIECE)
        monkeypatch.setattr(Files, "pwrite_some", _raising(code))
        with pytest.raises(kind):
            await fill(partial, body("x", PIECE))
        assert partial.have == 0
        with pytest.raises(kind):
            partial.take()
        assert bool((await store.usage()).degraded) == (kind is CacheUnusable)
        await partial.close()


def _raising(code: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


async def test_a_piece_is_not_there_before_its_line_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(draft("a"), 2 * PIECE, PIECE)
        monkeypatch.setattr(Files, "write_some", _raising(errno.ENOSPC))
        with pytest.raises(NoSpace):
            await fill(partial, body("x", PIECE))
        assert partial.have == 0
        await partial.discard()


async def test_what_takes_no_end_at_once_is_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may take a part of a block only."""
    content = body("short", 2 * PIECE)
    pwrite = Files.pwrite_some
    monkeypatch.setattr(
        Files, "pwrite_some", lambda self, fd, data, offset: pwrite(self, fd, data[:70_001], offset)
    )
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(draft("a"), len(content), PIECE)
        await fill(partial, content)
        entry = await store.commit(partial, draft("a"), verified="transfer", digests={})
        assert read(store, entry) == content


async def test_misuse_is_named(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(draft("a"), 2 * PIECE, PIECE)
        block = partial.take()
        assert block is not None
        with pytest.raises(InternalError):
            partial.give(5, block, 5)
        with pytest.raises(InternalError):
            partial.finish_length(5)
        with pytest.raises(InternalError):
            partial.root()
        with pytest.raises(InternalError):
            await store.begin(draft("a"), 2 * PIECE, PIECE)
        partial.give_back(block)
        await partial.discard()
        await partial.discard()


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 9 * PIECE + 7])
async def test_an_unknown_length_ends_in_the_same_object(tmp_path: Path, size: int) -> None:
    content = body("stream", size)
    async with opened(tmp_path / "c") as store:
        known = await store.begin(draft("k"), size, pieces.piece_bytes(size))
        await fill(known, content)
        partial = await store.begin(draft("a"), None, pieces.piece_bytes(None))
        assert partial.piece_bytes == partial.unit_bytes == PIECE
        await fill(partial, content)
        partial.finish_length(size)
        assert partial.root() == known.root()
        entry = await store.commit(partial, draft("a"), verified="transfer", digests={})
        assert (entry.size_bytes, entry.piece_bytes) == (size, pieces.piece_bytes(size))
        assert read(store, entry) == content
        assert await store.verify(entry)
        await known.discard()
        # Exactly what a file of that length takes: nothing of the reservation is left.
        usage = await store.usage()
        assert (usage.partial_bytes, usage.used_bytes >= disk_bytes(tmp_path / "c")) == (0, True)
        assert usage.used_bytes < size + 5 * 4096


async def test_an_unknown_length_reserves_as_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "GROW_BYTES", 2 * PIECE)
    quota = 24 * PIECE
    async with opened(tmp_path / "c", size_bytes=quota) as store:
        partial = await store.begin(draft("a"), None, PIECE)
        seen = []
        for number in range(30):
            try:
                await fill(partial, body(number, PIECE), iter([0]))
            except NoSpace:
                break
            seen.append((await store.usage()).used_bytes)
            assert disk_bytes(tmp_path / "c") <= seen[-1] <= quota
        assert 8 <= len(seen) < 24
        assert len(set(seen)) >= 3
        await partial.discard()
        assert (await store.usage()).used_bytes == 0


async def test_memory_does_not_grow_with_the_number_of_loads(tmp_path: Path) -> None:
    async with opened(tmp_path / "c", size_bytes=2 << 30) as store:
        partials = [await store.begin(draft(f"f{n}"), 4 << 20, 1 << 20) for n in range(40)]
        taken = [[block for _ in range(8) if (block := one.take()) is not None] for one in partials]
        lent = sum(len(block) for blocks in taken for block in blocks)
        assert all(taken), "everybody gets at least one"
        assert lent <= (32 << 20) + len(partials) * (1 << 20)
        woken: list[int] = []
        partials[-1].on_room(lambda: woken.append(1))
        for one, blocks in zip(partials[:-1], taken[:-1], strict=True):
            for block in blocks:
                one.give_back(block)
        assert woken
        for block in taken[-1]:
            partials[-1].give_back(block)
        assert store._loads._blocks.lent_bytes == 0
        for one in partials:
            await one.discard()


async def test_closing_waits_for_what_is_being_written(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        partial = await store.begin(draft("a"), 4 * PIECE, PIECE)
        for number in range(4):
            block = partial.take()
            assert block is not None
            partial.give(number * PIECE, block, PIECE)
        await asyncio.gather(partial.close(), partial.close())
        assert partial.have == 15
        found = await store.find_partial(draft("a").key)
        assert found is not None and found.have == 15
