"""How full it is, also while the file system keeps it to itself."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.storage.samples import body, draft, opened


async def test_usage_is_told_while_the_disk_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "c") as store:
        await store.publish_small(draft("a"), body("a"))
        before = await store.usage()

        def fail(*_: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "statvfs", fail)
        usage = await store.usage()
        assert (usage.used_bytes, usage.entries, usage.fs_free_bytes) == (before.used_bytes, 1, 0)
        assert "can't see what is left" in usage.degraded
        monkeypatch.undo()
        assert (await store.usage()).degraded == ""
