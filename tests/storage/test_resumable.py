"""What an interrupted load left, as the next load of that key sees it."""

from __future__ import annotations

import random

import pytest

from p2pstore.storage import resumable, unfinished
from p2pstore.storage.disk import Disk
from p2pstore.swarm.pieces import MIN_PIECE_BYTES as PIECE
from p2pstore.wire.records import encode_piece
from tests.storage.samples import draft, key_of, memory_disk
from tests.storage.simulated import SimulatedFiles


@pytest.fixture
def disk() -> Disk:
    return memory_disk(SimulatedFiles(random.Random(0)))


def _left(disk: Disk, version: str, pieces: list[int], **more: object) -> str:
    work = unfinished.prepare(disk, draft("a", version, **more), 4 * PIECE, PIECE)
    for index in pieces:
        disk.files.write(work.log_fd, encode_piece(index, bytes(32), work.log.salt))
    unfinished.shut(disk, work)
    unfinished.park(disk, work)
    return work.name


def test_the_one_with_most_pieces_is_offered(disk: Disk) -> None:
    assert resumable.find(disk, key_of("a")) is None
    _left(disk, "1", [0])
    _left(disk, "2", [0, 3])
    _left(disk, "3", [1])
    found = resumable.find(disk, key_of("a"))
    assert found is not None
    assert (found.ver, found.have, found.length) == (draft("a", "2").ver, 0b1001, 4 * PIECE)
    assert (found.piece_bytes, found.validator) == (PIECE, '"2"')
    assert resumable.find(disk, key_of("b")) is None


def test_a_damaged_log_offers_nothing(disk: Disk) -> None:
    name = _left(disk, "1", [0])
    fd = disk.files.open_change(f"part/{name}/log")
    disk.files.pwrite(fd, b"????", 0)
    disk.files.close(fd)
    assert resumable.find(disk, key_of("a")) is None


def test_what_is_being_worked_on_is_not_offered(disk: Disk) -> None:
    work = unfinished.prepare(disk, draft("a"), 4 * PIECE, PIECE)
    assert resumable.find(disk, key_of("a")) is None
    resumable.discard(disk, key_of("a"))
    assert disk.files.names(f"part/{work.name}") == ["data", "log"]
    unfinished.shut(disk, work)


def test_discarding_removes_all_of_a_key(disk: Disk) -> None:
    for version in "12":
        _left(disk, version, [0])
    resumable.discard(disk, key_of("a"))
    assert disk.idle == {} and disk.partial_bytes == 0
    assert disk.files.names("part") == []
