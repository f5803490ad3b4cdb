"""Every call on the disk fails once, in every way: what was there stays right, errors are ours, and the store goes on.

And the process is killed at every call: what the next one finds is whole, and nothing is left lying about.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from p2pstore.errors import P2PStoreError
from p2pstore.storage import faults, finding
from p2pstore.storage.partial import Partial
from p2pstore.storage.store import Store
from p2pstore.swarm import pieces
from p2pstore.types import Draft, Key
from tests.storage.failing import SHORT, FailingFiles, Killed
from tests.storage.samples import (
    BOOT,
    body,
    config,
    draft,
    files_below,
    fill,
    killed,
    load,
    put_draft,
    read,
)

pytestmark = pytest.mark.timeout(300)

LARGE = 3 * pieces.MIN_PIECE_BYTES + 5
Act = Callable[[Store, str, Path], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What fails is logged, hundreds of times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def _small(store: Store, name: str, source: Path) -> None:
    await store.publish_small(draft(name), body(name))


async def _large(store: Store, name: str, source: Path) -> None:
    content = body(name, LARGE)
    one = draft(name)
    partial = await store.begin(one, LARGE, pieces.piece_bytes(LARGE))
    try:
        await fill(partial, content)
        await store.commit(partial, one, verified="transfer", digests={})
    finally:
        await _closed(partial)


async def _closed(partial: Partial) -> None:
    try:
        await partial.close()
    except (P2PStoreError, Killed):
        return


async def _put(store: Store, name: str, source: Path) -> None:
    source.write_bytes(body(name))
    with source.open("rb") as file:
        await store.import_put(put_draft(name), file.fileno(), replace=True)


async def _replaced(store: Store, name: str, source: Path) -> None:
    await store.publish_small(draft("again", name), body(name))


async def _removed(store: Store, name: str, source: Path) -> None:
    await store.publish_small(draft(name), body(name))
    await store.remove(draft(name).key)


async def _refreshed(store: Store, name: str, source: Path) -> None:
    entry = await store.publish_small(draft(name), body(name))
    await store.refresh(entry.with_changes(response_at=5.0))


async def _flushed(store: Store, name: str, source: Path) -> None:
    await store.publish_small(draft(name), body(name))
    await store._flusher.flush()


ACTS: dict[str, Act] = {
    "small": _small,
    "large": _large,
    "put": _put,
    "replaced": _replaced,
    "removed": _removed,
    "refreshed": _refreshed,
    "flushed": _flushed,
}
CODES = {
    "EIO": errno.EIO,
    "ENOSPC": errno.ENOSPC,
    "EROFS": errno.EROFS,
    "EMFILE": errno.EMFILE,
    "short write": SHORT,
}


def _expected(one: Draft, name: str) -> set[bytes]:
    return {body(name), body(name, LARGE)}


async def _check(store: Store, root: Path, known: dict[Key, set[bytes]]) -> None:
    """What is found is right, and rows, files and sums agree."""
    for key, allowed in known.items():
        entry = await store.lookup(key)
        if entry is not None:
            try:
                content = read(store, entry)
            except P2PStoreError:
                continue
            assert content in allowed
    disk = store._disk
    assert disk.partial_bytes == sum(idle.charged_bytes for idle in disk.idle.values())
    assert not disk.working
    await store._flusher.flush()
    assert [name for name in files_below(root) if name.startswith("trash/")] == []


async def _opened(root: Path, boot_id: str = BOOT) -> tuple[Store, FailingFiles]:
    store = Store.open(config(), str(root), boot_id=boot_id)
    files = FailingFiles(store._disk.files)
    store._disk.files = files
    await store.start()
    await store._recovery.wait(30)
    return store, files


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("code", CODES)
async def test_every_call_fails_once(act: str, code: str, tmp_path: Path) -> None:
    root, source = tmp_path / "c", tmp_path / "source"
    store, files = await _opened(root)
    now = [0.0]
    store._disk.monotonic = lambda: now[0]
    kept = await load(store, draft("kept"), body("kept", LARGE))
    known = {kept.key: {body("kept", LARGE)}, draft("again").key: set[bytes]()}
    for number in range(200):
        name = f"{act}-{number}"
        known[draft("again").key].add(body(name))
        known[draft(name).key] = known[put_draft(name).key] = _expected(draft(name), name)
        files.arm(number, CODES[code])
        try:
            await ACTS[act](store, name, source)
            told = None
        except P2PStoreError as error:
            told = error
        failed = files.failed
        files.disarm()
        now[0] += 100.0
        assert told is None or failed, f"{told!r} without a failure"
        if code == "short write":
            assert told is None, "a short write is written on"
        await _check(store, root, known)
        # Room, a new descriptor, a healed disk: the same succeeds now.
        await ACTS[act](store, f"{act}-{number}-again", source)
        known[draft("again").key].add(body(f"{act}-{number}-again"))
        if not failed:
            break
    else:
        raise AssertionError("the calls never end")
    assert number > 3
    if CODES[code] not in faults.NO_SPACE:
        # Eviction is for a full disk alone.
        assert await store.lookup(kept.key) is not None
    await store.aclose()


@pytest.mark.parametrize("act", ACTS)
async def test_the_process_is_killed_at_every_call(act: str, tmp_path: Path) -> None:
    root, source = tmp_path / "c", tmp_path / "source"
    store, files = await _opened(root)
    await load(store, draft("kept"), body("kept", LARGE))
    number, failed = 0, "something"
    known: dict[Key, set[bytes]] = {draft("again").key: set()}
    while failed:
        name = f"{act}-{number}"
        known[draft("again").key].add(body(name))
        known[draft(name).key] = known[put_draft(name).key] = _expected(draft(name), name)
        files.arm(number, 0)
        try:
            async with asyncio.timeout(30):
                await ACTS[act](store, name, source)
            done = not files.failed
        except (Killed, P2PStoreError):
            done = False
        failed = files.failed
        await killed(store)
        files.disarm()
        store, files = await _opened(root)
        await _check(store, root, known)
        assert read(store, _found(await store.lookup(draft("kept").key))) == body("kept", LARGE)
        if done and act == "put":
            assert read(store, _found(await store.lookup(put_draft(name).key))) == body(name)
        assert [one for one in files_below(root) if one.startswith("tmp/")] == []
        assert _sums(store, root) == []
        number += 1
    assert number > 3
    await store.aclose()


def _found(entry: Any) -> Any:
    assert entry is not None
    return entry


def _sums(store: Store, root: Path) -> list[str]:
    """Files without a row, rows without a file, and wrong sums."""
    index = store._disk.index
    rows = index.select("1")
    named = {str(Path(store.path_of(row.entry)).relative_to(root)) for row in rows}
    there = {name for name in files_below(root) if name.startswith(("pub/", "put/")) and "." not in name}
    shared = {(row.area, row.entry.root): row.object_bytes for row in rows}
    total = sum(row.extra_bytes for row in rows) + sum(shared.values())
    wrong = [f"no row: {name}" for name in there - named] + [f"no file: {name}" for name in named - there]
    return wrong + ([] if total == index.entry_bytes else [f"sums {total} {index.entry_bytes}"])


async def test_a_failed_flush_drops_what_waited_for_it(tmp_path: Path) -> None:
    """After an error of syncfs the pages are gone from memory or not: nobody knows, so nobody gets them."""
    store, files = await _opened(tmp_path / "c")
    old = await store.publish_small(draft("old"), body("old"))
    assert await store._flusher.flush()
    new = await store.publish_small(draft("new"), body("new"))
    with mock.patch.object(files, "sync_all", side_effect=OSError(errno.EIO, "I/O error")):
        assert not await store._flusher.flush()
    await asyncio.sleep(0)
    assert await store.lookup(new.key) is None
    assert await store.lookup(old.key) is not None
    await store.aclose()


async def test_flushes_that_fail_again_and_again_degrade(tmp_path: Path) -> None:
    store, files = await _opened(tmp_path / "c")
    for number in range(3):
        assert not (await store.usage()).degraded
        await store.publish_small(draft(f"f{number}"), body(number))
        with mock.patch.object(files, "sync_all", side_effect=OSError(errno.EIO, "I/O error")):
            await store._flusher.flush()
    assert (await store.usage()).degraded
    await store.aclose()


async def test_a_planted_fault_in_the_proof_is_noticed(tmp_path: Path) -> None:
    """The checks above can fail: a torn object that is served after all is seen by them."""
    store, _ = await _opened(tmp_path / "c")
    entry = await store.publish_small(draft("a"), body("a"))
    path = Path(store.path_of(entry))
    path.chmod(0o644)
    path.write_bytes(bytes(len(body("a"))))
    await killed(store)
    store, _ = await _opened(tmp_path / "c", "boot-2")
    with (
        mock.patch.object(finding, "is_suspect", lambda disk, row: False),
        pytest.raises(AssertionError),
    ):
        await _check(store, tmp_path / "c", {entry.key: {body("a")}})
    await store.aclose()
