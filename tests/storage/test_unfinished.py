"""Preparing, resuming and growing, on the store thread."""

from __future__ import annotations

import dataclasses
import random

import pytest

from p2pstore.errors import NoSpace
from p2pstore.storage import objects, unfinished
from p2pstore.storage.disk import Disk
from p2pstore.swarm import tree
from p2pstore.swarm.pieces import MIN_PIECE_BYTES as PIECE
from p2pstore.wire.records import LogHeader, encode_piece
from tests.storage.samples import OTHER_BOOT, body, draft, memory_disk
from tests.storage.simulated import SimulatedFiles

CONTENT = body("unfinished", 3 * PIECE)


@pytest.fixture
def disk() -> Disk:
    return memory_disk(SimulatedFiles(random.Random(0)), size_bytes=64 << 20)


def _begun(disk: Disk, pieces: list[int]) -> str:
    work = unfinished.prepare(disk, draft("a"), len(CONTENT), PIECE)
    for index in pieces:
        part = CONTENT[index * PIECE : (index + 1) * PIECE]
        disk.files.pwrite(work.data_fd, part, index * PIECE)
        line = encode_piece(index, tree.top_of(tree.leaves(part)), work.log.salt)
        disk.files.write(work.log_fd, line)
    unfinished.shut(disk, work)
    unfinished.shut(disk, work)
    unfinished.park(disk, work)
    return work.name


def test_everything_is_charged_and_allocated_first(disk: Disk) -> None:
    work = unfinished.prepare(disk, draft("a"), len(CONTENT), PIECE)
    assert disk.files.size(work.data_fd) == len(CONTENT)
    assert disk.partial_bytes == work.charged_bytes > len(CONTENT)
    with pytest.raises(NoSpace):
        unfinished.prepare(disk, draft("b"), 65 << 20, PIECE)
    assert disk.partial_bytes == work.charged_bytes
    unfinished.shut(disk, work)
    unfinished.release(disk, work)
    assert disk.partial_bytes == 0 and disk.working == set()


def test_resuming_in_the_same_boot(disk: Disk) -> None:
    _begun(disk, [0, 2])
    charged = disk.partial_bytes
    work = unfinished.prepare(disk, draft("a"), len(CONTENT), PIECE)
    assert set(work.log.pieces) == {0, 2} and not work.must_recheck
    assert disk.partial_bytes == charged
    unfinished.shut(disk, work)


def test_resuming_in_another_boot_reads_again(disk: Disk) -> None:
    _begun(disk, [0, 1, 2])
    disk.boot_id = OTHER_BOOT
    work = unfinished.prepare(disk, draft("a"), len(CONTENT), PIECE)
    assert work.must_recheck
    disk.files.pwrite(work.data_fd, b"torn", PIECE + 5)
    good = unfinished.recheck(disk.files, work)
    assert set(good.pieces) == {0, 2}
    unfinished.rewrite_log(disk, work, good)
    assert work.log.header.boot_id == OTHER_BOOT
    unfinished.shut(disk, work)
    unfinished.park(disk, work)
    again = unfinished.prepare(disk, draft("a"), len(CONTENT), PIECE)
    assert set(again.log.pieces) == {0, 2} and not again.must_recheck
    nodes = [again.log.pieces[0], again.log.pieces[2]]
    assert nodes == [tree.top_of(tree.leaves(CONTENT[at * PIECE : (at + 1) * PIECE])) for at in (0, 2)]
    unfinished.shut(disk, again)


def test_a_shorter_data_file_can_t_be_resumed(disk: Disk) -> None:
    name = _begun(disk, [0])
    fd = disk.files.open_change(f"part/{name}/data")
    disk.files.truncate(fd, PIECE)
    disk.files.close(fd)
    work = unfinished.prepare(disk, draft("a"), len(CONTENT), PIECE)
    assert work.log.pieces == {}
    unfinished.shut(disk, work)


def test_growing_doubles_up_to_a_step(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "GROW_BYTES", 1 << 20)
    monkeypatch.setattr(unfinished, "GROW_MAX_BYTES", 4 << 20)
    work = unfinished.prepare(disk, draft("a"), None, PIECE)
    sizes = []
    with pytest.raises(NoSpace):
        for _ in range(100):
            unfinished.grow(disk, work)
            sizes.append(work.allocated_bytes >> 20)
            assert disk.files.size(work.data_fd) == work.allocated_bytes
            assert disk.partial_bytes == work.charged_bytes <= disk.quota_bytes
    assert sizes[:5] == [2, 4, 8, 12, 16] and sizes[-1] == 60
    unfinished.shut(disk, work)
    unfinished.park(disk, work)
    assert disk.partial_bytes == 0, "without a length there is nothing to resume"


def test_the_header_decides_field_by_field(disk: Disk) -> None:
    _begun(disk, [0])
    name, wanted = next(iter(disk.idle)), draft("a")
    log = unfinished._log_to_resume(
        disk.files,
        name,
        LogHeader(
            key=wanted.key,
            ver=wanted.ver,
            length=len(CONTENT),
            piece_bytes=PIECE,
            validator=wanted.validator,
            boot_id="any",
        ),
    )
    assert log is not None
    for field, value in {"ver": "0" * 32, "length": 5, "piece_bytes": 2 * PIECE, "validator": '"2"'}.items():
        other = dataclasses.replace(log.header, **{field: value})  # type: ignore[arg-type]
        assert unfinished._log_to_resume(disk.files, name, other) is None
    assert objects.READ_BYTES >= PIECE
