"""What nobody works on: charged, aged, removed."""

from __future__ import annotations

import errno
import random

import pytest

from p2pstore.storage import leftovers, unfinished
from p2pstore.storage.disk import Disk
from p2pstore.swarm.pieces import MIN_PIECE_BYTES as PIECE
from tests.storage.samples import draft, memory_disk
from tests.storage.simulated import SimulatedFiles


@pytest.fixture
def disk() -> Disk:
    return memory_disk(SimulatedFiles(random.Random(0)))


def _idle(disk: Disk, name: str) -> str:
    work = unfinished.prepare(disk, draft(name), 4 * PIECE, PIECE)
    unfinished.shut(disk, work)
    unfinished.park(disk, work)
    return work.name


def test_paths_and_charge(disk: Disk) -> None:
    assert leftovers.data_path("x") == "part/x/data"
    assert leftovers.log_path("x") == "part/x/log"
    assert leftovers.charge(disk, 4 * PIECE, PIECE) == 4 * PIECE + 8192 + 4096
    assert leftovers.charge(disk, 0, PIECE) == 4096 + 4096


def test_they_are_found_and_charged_after_a_start(disk: Disk) -> None:
    name = _idle(disk, "a")
    with disk.index.change():
        disk.index.set_idle_times({name: 77.0, "gone": 5.0})
    again = Disk(disk.files, disk.index, disk.config, boot_id="x", clock=disk.clock)
    leftovers.find_idle(again)
    assert list(again.idle) == [name] and again.idle[name].idle_s == 77.0
    assert again.partial_bytes == again.idle[name].charged_bytes
    assert 4 * PIECE < again.partial_bytes <= disk.partial_bytes


def test_age_counts_running_time(disk: Disk) -> None:
    name = _idle(disk, "a")
    assert leftovers.age(disk, 80_000.0) == 0
    fresh = _idle(disk, "b")
    assert leftovers.age(disk, 7_000.0) == 1
    assert list(disk.idle) == [fresh] and disk.index.idle_times() == {fresh: 7_000.0}
    assert disk.files.names(f"part/{name}") == []
    assert disk.partial_bytes == disk.idle[fresh].charged_bytes


def test_what_can_t_be_removed_goes_later(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    name = _idle(disk, "a")

    def refuse(self: SimulatedFiles, path: str) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(SimulatedFiles, "unlink", refuse)
        leftovers.remove_idle(disk, name)
    assert disk.has_trash and disk.idle == {}
    files = disk.files
    assert isinstance(files, SimulatedFiles)
    assert {path.split("/")[0] for path in files.seen} == {"trash"}
    leftovers.empty_trash(disk)
    assert files.seen == {} and not disk.has_trash


def test_folders_are_emptied(disk: Disk) -> None:
    files = disk.files
    disk.write_file("tmp/1", b"x", 0o600, sync=False)
    files.make_folder("tmp/2")
    disk.write_file("tmp/2/data", b"x", 0o600, sync=False)
    leftovers.empty_folder(files, "tmp")
    assert files.names("tmp") == []
