"""Descriptors opened ahead: handed out once each, few, and none for long."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from p2pstore.agent import spares as module
from p2pstore.agent.spares import Spares
from p2pstore.errors import NotCached
from p2pstore.types import Entry, Key, Root, Version


def entry(name: str) -> Entry:
    return Entry(
        key=Key(name),
        url=name,
        scope="public",
        ver=Version("v"),
        root=Root(name),
        size_bytes=1,
        piece_bytes=1,
    )


class Opener:
    """Opens one file for all entries and counts."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(b"x")
        self.path = path
        self.opened: list[int] = []
        self.gone = False

    def __call__(self, wanted: Entry) -> int:
        if self.gone:
            raise NotCached(wanted.url)
        self.opened.append(os.open(self.path, os.O_RDONLY))
        return self.opened[-1]

    def open_now(self) -> int:
        return sum(is_open(fd) for fd in set(self.opened))


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    return Opener(tmp_path / "file")


async def turn() -> None:
    await asyncio.sleep(0)


async def test_the_next_one_is_open_before_it_is_asked_for_and_handed_out_once(opener: Opener) -> None:
    spares, wanted = Spares(opener), entry("a")
    assert [spares.take(wanted), spares.take(wanted)] == [-1, -1]
    await turn()
    taken = spares.take(wanted)
    assert taken == opener.opened[0]
    assert spares.take(wanted) == -1
    await turn()
    assert spares.take(wanted) not in (-1, taken)
    await turn()
    for fd in opener.opened:
        os.close(fd)


async def test_what_is_asked_for_once_is_not_opened_ahead(opener: Opener) -> None:
    spares = Spares(opener)
    for name in "abcabc":
        assert spares.take(entry(name)) == -1
    await turn()
    assert opener.opened == []


async def test_a_descriptor_of_another_version_is_closed_and_not_handed_out(opener: Opener) -> None:
    spares, old = Spares(opener), entry("a")
    spares.take(old), spares.take(old)
    await turn()
    assert spares.take(entry("a")) == -1
    assert opener.open_now() == 0


async def test_it_is_closed_when_its_file_goes(opener: Opener) -> None:
    spares, wanted = Spares(opener), entry("a")
    spares.take(wanted), spares.take(wanted)
    await turn()
    assert opener.open_now() == 1
    spares.forget(wanted.key)
    assert (opener.open_now(), len(spares)) == (0, 0)


async def test_none_is_kept_for_long(opener: Opener) -> None:
    spares, wanted = Spares(opener), entry("a")
    spares.take(wanted), spares.take(wanted)
    await turn()
    spares.tidy()
    assert opener.open_now() == 1
    spares.tidy()
    assert opener.open_now() == 0


async def test_few_are_kept(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SPARES", 3)
    spares = Spares(opener)
    for wanted in [entry(str(number)) for number in range(6)]:
        spares.take(wanted), spares.take(wanted)
        await turn()
    assert (opener.open_now(), len(spares)) == (3, 3)
    spares.close()
    assert opener.open_now() == 0


async def test_a_file_that_went_is_left_to_whoever_asks(opener: Opener) -> None:
    spares, wanted = Spares(opener), entry("a")
    opener.gone = True
    spares.take(wanted), spares.take(wanted)
    await turn()
    assert spares.take(wanted) == -1
