"""A generation is given out once: through kills at any call, power cuts, full disks and damaged files."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pstore.errors import CacheUnusable, NoSpace, P2PStoreError
from p2pstore.storage import generation
from p2pstore.storage.files import Files
from p2pstore.storage.generation import LAST_FLOOR, MAX_GENERATION, next_generation
from p2pstore.storage.layout import GENERATION
from p2pstore.storage.layout import GENERATION_SPARE as SPARE
from tests.storage.failing import SHORT, FailingFiles, Killed
from tests.storage.simulated import SimulatedFiles

CODES = [0, errno.ENOSPC, errno.EIO, SHORT]


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    one = Files(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY))
    yield one
    one.shut()


def test_one_step_a_start(files: Files, tmp_path: Path) -> None:
    assert [next_generation(files, 0) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert (tmp_path / GENERATION).read_text() == "p2pstore-generation 0000000005 f9341e623381cdc6\n"
    assert (tmp_path / GENERATION).stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == [GENERATION, SPARE]


def test_it_begins_with_the_clock_and_never_goes_back_with_it(files: Files) -> None:
    assert next_generation(files, 1_800_000_000) == 1_800_000_000
    assert next_generation(files, 1_700_000_000) == 1_800_000_001
    assert next_generation(files, 0) == 1_800_000_002
    assert next_generation(files, 1_800_000_009) == 1_800_000_009


def test_a_lost_or_restored_directory_gives_out_nothing_again(files: Files, tmp_path: Path) -> None:
    next_generation(files, 1_800_000_000)
    copy = (tmp_path / GENERATION).read_bytes()
    given = [next_generation(files, 1_800_000_010 + number) for number in range(3)]
    (tmp_path / GENERATION).write_bytes(copy)
    assert next_generation(files, 1_800_000_100) > max(given)
    (tmp_path / GENERATION).unlink()
    assert next_generation(files, 1_800_000_200) == 1_800_000_200


def test_a_mad_clock_does_not_use_the_numbers_up(files: Files) -> None:
    assert next_generation(files, LAST_FLOOR) == LAST_FLOOR
    assert next_generation(files, MAX_GENERATION) == LAST_FLOOR + 1
    assert next_generation(files, 1 << 40) == LAST_FLOOR + 2


def test_the_last_number_is_the_last(files: Files, tmp_path: Path) -> None:
    (tmp_path / GENERATION).write_bytes(generation._line(MAX_GENERATION - 1))
    assert next_generation(files, 0) == MAX_GENERATION
    for _ in range(2):
        with pytest.raises(CacheUnusable, match="largest number"):
            next_generation(files, 0)


DAMAGE: list[Callable[[bytes], bytes]] = [
    lambda line: b"",
    lambda line: line[:-1],
    lambda line: line + b"\n",
    lambda line: line + line,
    lambda line: bytes(len(line)),
    lambda line: line.replace(b"0000000001", b"0000000002"),
    lambda line: line.replace(b"generation", b"Generation"),
    lambda line: line.replace(b"0000000001", "\u0660".encode() * 5),
    lambda line: b"\xff" * 48,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_not_guessed_at(
    files: Files, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    next_generation(files, 0)
    path = tmp_path / GENERATION
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(CacheUnusable, match="damaged") as caught:
        next_generation(files, 1_800_000_000)
    assert "new id" in caught.value.hint
    assert path.read_bytes() == before


def test_whatever_lies_in_the_spare_is_overwritten(files: Files, tmp_path: Path) -> None:
    for number, junk in enumerate((b"", b"x" * 1000, generation._line(99), bytes(48)), 1):
        (tmp_path / SPARE).write_bytes(junk)
        assert next_generation(files, 0) == number


def test_a_planted_link_is_not_followed(files: Files, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / SPARE).symlink_to("victim")
    with pytest.raises(P2PStoreError):
        next_generation(files, 0)
    assert (tmp_path / "victim").read_text() == "precious"


# Kills and errors at every call


def give_out_through_failures(
    files: FailingFiles, code: int, give: Callable[[Files, int], int] = next_generation
) -> None:
    """Fail at each call in turn, twice at different calls before each success; nothing is given out twice."""
    given, number = [give(files, 0)], 0
    reached = True
    while reached:
        for call in (number, number // 2):
            files.arm(call, code)
            try:
                given.append(give(files, 0))
            except (Killed, P2PStoreError):
                pass
            reached = bool(files.failed) if call == number else reached
            files.disarm()
        given.append(give(files, 0))
        number += 1
    assert number > 5
    assert given == sorted(set(given)), "given out twice, or backwards"


@pytest.mark.parametrize("code", CODES)
def test_failures_at_every_call(files: Files, code: int) -> None:
    give_out_through_failures(FailingFiles(files), code)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failure_says_what_it_is(files: Files, code: int) -> None:
    failing = FailingFiles(files)
    next_generation(failing, 0)
    failing.arm(2, code)
    with pytest.raises(NoSpace if code == errno.ENOSPC else CacheUnusable, match=GENERATION):
        next_generation(failing, 0)


class FullFiles(Files):
    """A disk on which no new file finds a place; what has its blocks may be written."""

    def create(self, path: str, mode: int = 0o600) -> int:
        """Refused."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_keeps_no_node_from_starting(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    given = [next_generation(files, 0)]
    full = FullFiles(files.root_fd)
    given.append(next_generation(full, 0))
    assert "no file for the next generation" in caplog.text
    # The block of the one before is free now; who still finds none is told so, and no number is told.
    for _ in range(3):
        with pytest.raises(NoSpace):
            next_generation(full, 0)
    given += [next_generation(files, 0), next_generation(full, 0)]
    assert given == [1, 2, 3, 4]


# Power cuts


class CutPower(BaseException):
    """The machine is off."""


class CuttableFiles(SimulatedFiles):
    """A simulated disk that loses power at the Nth call."""

    left = -1

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        for name in (
            "create",
            "open_change",
            "close",
            "pwrite_some",
            "truncate",
            "fsync",
            "rename",
            "sync_folder",
            "read",
        ):
            setattr(self, name, self._watched(getattr(self, name)))

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            if self.left == 0:
                raise CutPower
            self.left -= 1
            return call(*args)

        return watched


def give_out_through_cuts(seed: str, starts: int = 60) -> None:
    """Start again and again, with kills and power cuts in between; nothing is given out twice."""
    rng = random.Random(seed)
    files, given = CuttableFiles(rng), list[int]()
    for _ in range(starts):
        files.left = rng.randrange(14) if rng.random() < 0.7 else -1
        try:
            given.append(next_generation(files, 0))
        except CutPower:
            pass
        files.left = -1
        if rng.random() < 0.7:
            files.cut()
    assert len(given) > starts // 12, "hardly any start succeeded"
    assert given == sorted(set(given)), "given out twice, or backwards"


@pytest.mark.parametrize("number", range(40))
def test_power_cuts(number: int, p2p_seed: int) -> None:
    give_out_through_cuts(f"generation {p2p_seed} {number}")


def _write_in_place(files: Files, number: int) -> None:
    fd = files.open_change(GENERATION) if files.stat(GENERATION) else files.create(GENERATION)
    files.pwrite(fd, generation._line(number), 0)
    files.fsync(fd)
    files.close(fd)
    files.sync_folder(".")


def _flush_nothing(files: Files, number: int) -> None:
    fd = generation._open_spare(files)
    files.pwrite(fd, generation._line(number), 0)
    files.close(fd)
    files.rename(SPARE, GENERATION)
    files.sync_folder(".")


def _flush_no_folder(files: Files, number: int) -> None:
    fd = generation._open_spare(files)
    files.pwrite(fd, generation._line(number), 0)
    files.fsync(fd)
    files.close(fd)
    files.rename(SPARE, GENERATION)


def _write_nothing(files: Files, number: int) -> None:
    pass


@pytest.mark.parametrize("bug", [_write_in_place, _flush_nothing, _flush_no_folder, _write_nothing])
def test_planted_bugs_do_not_survive_power_cuts(
    bug: Callable[[Files, int], None], monkeypatch: pytest.MonkeyPatch, p2p_seed: int
) -> None:
    monkeypatch.setattr(generation, "_write", bug)
    # Torn in place, the file is found damaged, and the node does not start any more: caught as well.
    with pytest.raises((AssertionError, CacheUnusable)):
        for number in range(40):
            give_out_through_cuts(f"generation {p2p_seed} {number}")


def test_a_generation_told_early_is_caught(files: Files) -> None:
    """The same failures, on a node that tells its number although writing it failed."""

    def hasty(files: Files, floor: int) -> int:
        try:
            return next_generation(files, floor)
        except P2PStoreError:
            return generation._read(files) + 1

    with pytest.raises(AssertionError, match="given out twice"):
        give_out_through_failures(FailingFiles(files), errno.ENOSPC, hasty)


def test_killed_processes_share_no_number(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from p2pstore.storage.files import Files\n"
        "from p2pstore.storage.generation import next_generation\n"
        "print(next_generation(Files(os.open(sys.argv[1], os.O_RDONLY)), 0), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = [subprocess.run(command, cwd=root, check=False, capture_output=True, text=True) for _ in range(3)]
    assert [one.stdout for one in done] == ["1\n", "2\n", "3\n"]
    assert {one.returncode for one in done} == {-9}
