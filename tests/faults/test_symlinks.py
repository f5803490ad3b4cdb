"""Another local user plants links, directories and sockets where the agent or a job will write: nothing of theirs is followed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.faults.agents import Agent, NotReady
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s, trials

VICTIM: Final = 2001
ATTACKER: Final = 2002
PRECIOUS: Final = "precious"


class Scene:
    """A directory anybody may write to (sticky, as /tmp is), and what the victim would not want touched."""

    def __init__(self, tmp_path: Path) -> None:
        self.public = tmp_path / "public"
        self.public.mkdir()
        self.public.chmod(0o1777)
        self.private = tmp_path / "private"
        self.private.mkdir()
        os.chown(self.private, VICTIM, VICTIM)
        self.file = self.private / "file"
        self.restore()

    def restore(self) -> None:
        """As it was."""
        shutil.rmtree(self.public)
        self.public.mkdir()
        self.public.chmod(0o1777)
        for child in self.private.iterdir():
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
        self.file.write_text(PRECIOUS)
        os.chown(self.file, VICTIM, VICTIM)
        self.file.chmod(0o600)

    def touched(self) -> list[str]:
        """What happened to the victim's own."""
        found = []
        if self.file.read_text() != PRECIOUS:
            found.append("the file was written to")
        if self.file.stat().st_mode & 0o777 != 0o600:
            found.append(f"the file's mode is now {self.file.stat().st_mode & 0o777:o}")
        return found + [f"{name} was created" for name in os.listdir(self.private) if name != "file"]


def _as(uid: int, make: Callable[[], None]) -> None:
    """Do something in the file system as that uid."""
    os.setresuid(-1, uid, -1)
    try:
        make()
    finally:
        os.setresuid(-1, 0, -1)


def _link(at: Path, to: Path) -> Callable[[], None]:
    return lambda: at.symlink_to(to)


def _directory_with_links(at: Path, to: Path, names: tuple[str, ...]) -> Callable[[], None]:
    def make() -> None:
        at.mkdir(mode=0o777)
        at.chmod(0o777)
        for name in names:
            (at / name).symlink_to(to)

    return make


LAYOUT: Final = ("FORMAT", "LOCK", "tmp", "trash", "meta", "part", "pub", "put", "index.sqlite", "quarantine")


def _cases(scene: Scene) -> dict[str, tuple[Path, Callable[[], None]]]:
    """Name of a trap: the cache directory that the victim is told to use, and how the attacker prepared it."""
    public = scene.public
    return {
        "the cache is a link": (public / "cache", _link(public / "cache", scene.private)),
        "the cache is a dangling link": (public / "cache", _link(public / "cache", scene.private / "made")),
        "a parent is a link": (public / "way" / "cache", _link(public / "way", scene.private)),
        "the cache is the attacker's": (
            public / "cache",
            _directory_with_links(public / "cache", scene.private, ()),
        ),
        "its files are links": (
            public / "cache",
            _directory_with_links(public / "cache", scene.file, LAYOUT[:2]),
        ),
        "its directories are links": (
            public / "cache",
            _directory_with_links(public / "cache", scene.private, LAYOUT[2:]),
        ),
        "a parent is the attacker's": (
            public / "way" / "cache",
            _directory_with_links(public / "way", scene.private, ()),
        ),
        "a parent is the attacker's, with a link in it": (
            public / "way" / "cache",
            _directory_with_links(public / "way", scene.private, ("cache",)),
        ),
    }


def _starts(agent: Agent, *plants: str) -> bool:
    try:
        agent.start(*plants)
    except NotReady:
        return False
    agent.kill()
    return True


@pytest.mark.timeout(budget_s(30))
@pytest.mark.parametrize("uid", [VICTIM, 0], ids=["user", "root"])
def test_planted_caches_are_refused(uid: int, agent: Agent, tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    agent.belongs_to(uid)
    for name, (cache, plant) in _cases(scene).items():
        scene.restore()
        _as(ATTACKER, plant)
        agent.cache = cache
        assert not _starts(agent), name
        assert scene.touched() == [], name


@pytest.mark.timeout(budget_s(15))
def test_a_missing_check_is_noticed(agent: Agent, tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    agent.belongs_to(VICTIM)
    noticed = []
    for name, (cache, plant) in _cases(scene).items():
        scene.restore()
        _as(ATTACKER, plant)
        agent.cache = cache
        if _starts(agent, "places.no_owner_check") or scene.touched():
            noticed.append(name)
    assert noticed


_RACER: Final = """
import os, sys
os.setresgid(2002, 2002, 2002); os.setresuid(2002, 2002, 2002)
place, target = sys.argv[1], sys.argv[2]
while True:
    for make in (lambda: os.symlink(target, place), lambda: os.unlink(place), lambda: os.mkdir(place, 0o777), lambda: os.rmdir(place)):
        try:
            make()
        except OSError:
            pass
"""


@pytest.mark.timeout(budget_s(40))
def test_a_race_for_the_directory_is_never_won(agent: Agent, tmp_path: Path) -> None:
    """The attacker swaps link, directory and nothing as fast as it can; the victim starts again and again."""
    scene = Scene(tmp_path)
    agent.belongs_to(VICTIM)
    agent.cache = scene.public / "cache"
    agent.options = ["--cache-size", "10M"]
    racer = subprocess.Popen([sys.executable, "-c", _RACER, str(agent.cache), str(scene.private)])
    try:
        for _ in range(trials("planted symlinks") // 8):
            if _starts(agent):
                # The victim was first: the directory is its own, and the attacker can't take it away (sticky).
                assert agent.cache.stat().st_uid == VICTIM
                assert not agent.cache.is_symlink()
                shutil.rmtree(agent.cache)
            assert scene.touched() == []
    finally:
        racer.kill()
        racer.wait()


_OUT_RACER: Final = """
import os, sys
os.setresgid(2002, 2002, 2002); os.setresuid(2002, 2002, 2002)
place, target = sys.argv[1], sys.argv[2]
while True:
    try:
        names = os.listdir(place)
    except OSError:
        continue
    for name in [*names, "out", "out.tmp", ".out", ".out.tmp", "out.part"]:
        path = os.path.join(place, name)
        for make in (lambda: os.unlink(path), lambda: os.symlink(target, path)):
            try:
                make()
            except OSError:
                pass
"""


@pytest.mark.timeout(budget_s(40))
@pytest.mark.parametrize("sticky", [True, False], ids=["sticky", "open"])
def test_an_output_never_goes_through_a_link(
    sticky: bool, agent: Agent, nginx: Nginx, tmp_path: Path
) -> None:
    scene = Scene(tmp_path)
    agent.belongs_to(VICTIM)
    agent.start()
    url = nginx.file("output", random.Random(1).randbytes(300_000))
    place = scene.public / "place"
    place.mkdir()
    place.chmod(0o1777 if sticky else 0o777)
    (place / "out").symlink_to(scene.file)
    os.lchown(place / "out", ATTACKER, ATTACKER)
    racer = subprocess.Popen([sys.executable, "-c", _OUT_RACER, str(place), str(scene.file)])
    try:
        for number in range(max(4, trials("planted symlinks") // 20)):
            link = ["auto", "copy", "hard", "symlink"][number % 4]
            agent.command_as(VICTIM, "get", url, "-o", str(place / "out"), "--link", link)
            assert scene.touched() == []
    finally:
        racer.kill()
        racer.wait()


@pytest.mark.timeout(budget_s(10))
def test_a_planted_socket_path_is_not_followed(agent: Agent, tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    agent.belongs_to(VICTIM)
    agent.socket = scene.public / "agent.sock"
    _as(ATTACKER, _link(agent.socket, scene.private / "made"))
    _starts(agent)
    assert scene.touched() == []
    scene.restore()
    _as(ATTACKER, _link(agent.socket, scene.file))
    _starts(agent)
    assert scene.touched() == []
