"""Fills a cache directory with very many small entries, faster than asking an origin for each: for start-up and rebuilds."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
ORIGIN: Final = "http://stock.example"
BATCH: Final = 500


def url_of(number: int) -> str:
    """The URL of one of them."""
    return f"{ORIGIN}/data/{number % 100:02d}/{number}.bin"


def body_of(number: int) -> bytes:
    """Its bytes."""
    return b"entry %d\n" % number


def stock(directory: Path, count: int) -> None:
    """Make the cache, or add to it; no agent may run on it."""
    subprocess.run(
        [sys.executable, "-m", "tests.faults.stocking", str(directory), str(count)], cwd=ROOT, check=True
    )


async def _stock(directory: str, count: int) -> None:
    from p2pstore.cache.keys import canonical, key_of, version_of
    from p2pstore.config import CacheConfig
    from p2pstore.storage.store import Store
    from p2pstore.types import PUBLIC, Draft

    def draft(number: int, now: float) -> Draft:
        text = canonical(url_of(number)).text
        key = key_of(text, PUBLIC)
        return Draft(
            key=key,
            url=text,
            scope=PUBLIC,
            ver=version_of(key, f'"{number}"', None, len(body_of(number))),
            headers=(("etag", f'"{number}"'), ("cache-control", "max-age=86400")),
            request_at=now,
            response_at=now,
        )

    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    store = Store.open(CacheConfig(dir=directory, size_bytes=1 << 40), directory, boot_id=boot_id)
    await store.start()
    try:
        for first in range(0, count, BATCH):
            now = time.time()
            numbers = range(first, min(count, first + BATCH))
            await asyncio.gather(
                *(store.publish_small(draft(number, now), body_of(number)) for number in numbers)
            )
    finally:
        await store.aclose()


if __name__ == "__main__":
    asyncio.run(_stock(sys.argv[1], int(sys.argv[2])))
