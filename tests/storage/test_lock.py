"""One process owns a cache directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from p2pstore.errors import CacheLocked
from p2pstore.storage.lock import Lock
from tests.storage.samples import draft, opened


@pytest.fixture
def folder(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)


def test_a_second_owner_is_refused_and_told_who_has_it(folder: int) -> None:
    lock = Lock.take(folder)
    lock.note(17)
    with pytest.raises(CacheLocked, match=f"process {os.getpid()}") as caught:
        Lock.take(folder)
    assert caught.value.exit_code == 75
    lock.release()
    again = Lock.take(folder)
    assert (again.previous, again.used_bytes) == (lock.session, 17)
    assert again.session != lock.session
    again.release()
    os.close(folder)


@pytest.mark.parametrize("line", [b"", b"\0" * 80, b"12 abc\n", b"12 abc x\n", b"\xff\xfe"])
def test_a_damaged_line_is_nobody(folder: int, tmp_path: Path, line: bytes) -> None:
    (tmp_path / "LOCK").write_bytes(line)
    lock = Lock.take(folder)
    assert (lock.previous, lock.used_bytes) == ("", 0)
    lock.release()
    os.close(folder)


def test_a_planted_link_is_not_followed(folder: int, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "LOCK").symlink_to("victim")
    with pytest.raises(OSError, match="symbolic links"):
        Lock.take(folder)
    os.close(folder)
    assert (tmp_path / "victim").read_text() == "precious"


async def test_two_stores_on_one_directory(tmp_path: Path) -> None:
    async with opened(tmp_path / "c") as store:
        entry = await store.publish_small(draft("a"), b"a")
        with pytest.raises(CacheLocked):
            async with opened(tmp_path / "c"):
                pass
        assert await store.verify(entry)


def test_the_kernel_drops_it_with_the_process(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from p2pstore.storage.lock import Lock\n"
        "Lock.take(os.open(sys.argv[1], os.O_RDONLY)).note(5)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=False)
    assert done.returncode == -9
    folder = os.open(tmp_path, os.O_RDONLY)
    lock = Lock.take(folder)
    assert lock.used_bytes == 5
    lock.release()
    os.close(folder)
