"""Blocks filled in order, cut to the body, given once."""

from __future__ import annotations

from typing import Any

import pytest

from p2pstore.sources.filling import Filling, Memory


def fill(filling: Filling, data: bytes) -> None:
    at = 0
    while not filling.done:
        room = filling.room()
        assert room is not None
        room[:] = data[at : at + len(room)]
        at += len(room)
        filling.give()


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000])
def test_the_last_block_is_short(size: int) -> None:
    sink = Recorder()
    filling = Filling(sink, 500, size)
    data = bytes(range(256)) * 4
    fill(filling, data[:size])
    assert filling.poured == size
    assert b"".join(block for _, block in sink.given) == data[:size]
    assert [at for at, _ in sink.given] == list(range(500, 500 + size, 100))


def test_of_unknown_length_gives_what_it_has() -> None:
    sink = Recorder()
    filling = Filling(sink, 0, None)
    assert len(filling.room() or b"") == 100
    filling.give(40)
    assert not filling.done
    assert (filling.poured, sink.given) == (40, [(0, bytes(40))])


def test_asks_the_limit_between_blocks() -> None:
    sink, limit = Recorder(), 1000
    filling = Filling(sink, 0, 1000, lambda _: limit)
    filling.room()
    limit = 100
    assert not filling.done, "a block was begun"
    filling.give()
    assert filling.done


def test_drop_gives_back_once_and_only_what_was_taken() -> None:
    sink = Recorder()
    filling = Filling(sink, 0, 10)
    filling.drop()
    assert sink.back == 0
    filling.room()
    filling.drop()
    filling.drop()
    assert sink.back == 1
    with pytest.raises(AssertionError):
        filling.give()


def test_no_room_while_the_sink_has_none() -> None:
    sink = Recorder(blocks=0)
    assert Filling(sink, 0, 10).room() is None


def test_memory_holds_the_whole_body() -> None:
    memory = Memory(3)
    fill(Filling(memory, 0, 3), b"abc")
    assert memory.data == b"abc"
    called: list[Any] = []
    memory.on_room(lambda: called.append(1))
    assert called


class Recorder:
    """Keeps a copy of what it is given."""

    def __init__(self, blocks: int = 1) -> None:
        self.block_bytes = 100
        self.error = None
        self.given: list[tuple[int, bytes]] = []
        self.back = 0
        self.blocks = blocks

    def take(self) -> memoryview | None:
        return memoryview(bytearray(self.block_bytes)) if self.blocks else None

    def on_room(self, callback: Any) -> None:
        raise AssertionError("nobody waits here")

    def give(self, offset: int, block: memoryview, size: int) -> None:
        self.given.append((offset, bytes(block[:size])))

    def give_back(self, block: memoryview) -> None:
        self.back += 1
