"""Drafts, bodies and stores for the tests of storage."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from blake3 import blake3

from p2pstore.config import CacheConfig
from p2pstore.storage import objects, opening
from p2pstore.storage.disk import Disk
from p2pstore.storage.files import Files
from p2pstore.storage.index import Index
from p2pstore.storage.partial import Partial
from p2pstore.storage.publish import Publication, publish
from p2pstore.storage.store import Store
from p2pstore.swarm import pieces, tree
from p2pstore.types import PUBLIC, Draft, Entry, Key, Version

BOOT = "boot-1"
OTHER_BOOT = "boot-2"
QUOTA = 256 << 20


def hexes(text: str, chars: int) -> str:
    """A name of so many hexadecimal characters."""
    return blake3(text.encode()).hexdigest(length=chars // 2)


def key_of(name: str) -> Key:
    """The key of a URL of that name."""
    return Key(hexes(f"key {name}", 64))


def ver_of(name: str, version: str = "1") -> Version:
    """A version of that key."""
    return Version(hexes(f"ver {name} {version}", 32))


def draft(name: str, version: str = "1", **more: Any) -> Draft:
    """What is known of a file before its bytes."""
    fields: dict[str, Any] = {
        "key": key_of(name),
        "url": f"http://example.org/{name}",
        "scope": PUBLIC,
        "ver": ver_of(name, version),
        "headers": (("etag", f'"{version}"'), ("content-type", "text/plain")),
        "request_at": 1.0,
        "response_at": 2.0,
        "validator": f'"{version}"',
    }
    return Draft(**{**fields, **more})


def put_draft(name: str) -> Draft:
    """What is known of a result before its bytes."""
    return draft(f"put:{name}", url=f"put:{name}", scope="uid:1000", owner_uid=1000, validator="", headers=())


def body(seed: object, size: int = 1000) -> bytes:
    """Bytes that only this seed gives."""
    return random.Random(f"body {seed}").randbytes(size)


def config(**more: Any) -> CacheConfig:
    """A configuration whose flusher stays asleep, so that a test decides when something is durable."""
    return CacheConfig(**{"size_bytes": QUOTA, "flush_interval_s": 3600.0, "free_bytes": 0, **more})


@asynccontextmanager
async def opened(
    directory: Path, boot_id: str = BOOT, *, recovered: bool = True, **more: Any
) -> AsyncIterator[Store]:
    """A store on that directory, recovered unless the test looks at that."""
    store = Store.open(config(**more), str(directory), boot_id=boot_id)
    await store.start()
    try:
        if recovered:
            await store._recovery.wait(30)
        yield store
    finally:
        await store.aclose()


async def killed(store: Store) -> None:
    """End a store as a kill does: nothing is written down, only what holds memory and descriptors goes."""
    store._flushing.cancel()
    await asyncio.gather(store._flushing, return_exceptions=True)
    await store._recovery.close()
    for partial in store._loads._open:
        for fd in (partial.work.data_fd, partial.work.log_fd):
            store._disk.files.close(fd)
    await store._reads.close()
    await store._pool.close()
    await store._writer.close()
    store._disk.index.close()
    store._disk.files.shut()
    store._cache.lock.release()


def read(store: Store, entry: Entry) -> bytes:
    """The bytes of an entry."""
    with open(store.open_object(entry), "rb") as file:
        return file.read()


async def fill(partial: Partial, content: bytes, only: Iterator[int] | range | None = None) -> None:
    """Give a partial the blocks with these numbers, in this order; all by default."""
    size = partial.unit_bytes
    for number in range(-(-len(content) // size)) if only is None else only:
        while (block := partial.take()) is None:
            room = asyncio.get_running_loop().create_future()
            partial.on_room(lambda room=room: room.done() or room.set_result(None))  # type: ignore[misc]
            await room
        part = content[number * size : (number + 1) * size]
        block[: len(part)] = part
        partial.give(number * size, block, len(part))
    await partial.drain()


async def load(store: Store, one: Draft, content: bytes) -> Entry:
    """Store a file the way a large one goes."""
    partial = await store.begin(one, len(content), pieces.piece_bytes(len(content)))
    await fill(partial, content)
    return await store.commit(partial, one, verified="transfer", digests={})


def files_below(directory: Path) -> list[str]:
    """The files of a cache, but for index, lock and format."""
    found = (path for path in directory.rglob("*") if path.is_file())
    names = (str(path.relative_to(directory)) for path in found)
    return sorted(name for name in names if "/" in name)


def disk_bytes(directory: Path) -> int:
    """Disk blocks of those files."""
    return sum((directory / name).lstat().st_blocks * 512 for name in files_below(directory))


def memory_disk(files: Files, boot_id: str = BOOT, **more: Any) -> Disk:
    """A disk with an index in memory, for one thread."""
    disk = Disk(files, Index.open(":memory:"), config(**more), boot_id=boot_id, clock=lambda: 7.0)
    opening.believe(disk, "uuid", "", "session", is_new=True)
    return disk


def publication(disk: Disk, one: Draft, content: bytes) -> Publication:
    """A small file to be published."""
    root = objects.root_of_nodes(tree.leaves(content), len(content))
    entry = one.entry(
        root, len(content), pieces.piece_bytes(len(content)), stored_at=disk.clock(), boot_id=disk.boot_id
    )
    return Publication(entry.with_changes(durable=entry.is_put), body=content)


def published(disk: Disk, one: Draft, content: bytes) -> Entry:
    """Publish a small file; raises what went wrong."""
    item = publication(disk, one, content)
    publish(disk, [item])
    if item.error is not None:
        raise item.error
    return item.entry
