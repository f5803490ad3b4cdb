"""Power cuts at random moments of random histories, on a simulated disk: a stored result is never lost, nothing is ever wrong.

The index survives each cut as it was, as it was some time before, or not at all.
"""

from __future__ import annotations

import logging
import random
import sqlite3
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from p2pstore.storage import evict, finding, flusher, leftovers, objects, opening, put, reconcile
from p2pstore.storage.disk import Disk
from p2pstore.storage.index import SUSPECT, Index
from p2pstore.storage.layout import object_path
from p2pstore.storage.publish import publish, refresh
from p2pstore.types import Draft, Entry, Key
from tests.conftest import SOAKING
from tests.storage.samples import body, config, draft, publication, put_draft
from tests.storage.simulated import SimulatedFiles

pytestmark = pytest.mark.timeout(300)

HISTORIES = 20_000 if SOAKING else 400
KEYS = 4


class PowerCut(BaseException):
    """The power is gone in the middle of a call."""


class World:
    """A cache on a simulated disk, and what a user was told of it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.files = SimulatedFiles(self.rng)
        self.boots = 0
        self.serial = 0
        self.snapshots: list[bytes] = []
        self.bodies: dict[Key, set[bytes]] = {}
        self.acknowledged: dict[Key, bytes] = {}
        self.doubtful: dict[Key, list[bytes | None]] = {}
        self.calls_left = -1
        self._arm()
        self.disk = self.boot(None)

    def _arm(self) -> None:
        for name in ("create", "write_some", "rename", "link", "unlink", "fsync", "sync_folder", "fstat"):
            setattr(self.files, name, self._counted(getattr(self.files, name)))

    def _counted(self, call: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object) -> object:
            if self.calls_left == 0:
                raise PowerCut
            self.calls_left -= 1
            return call(*args)

        return counted

    def boot(self, image: bytes | None) -> Disk:
        """Start with this index, or without one."""
        self.calls_left = -1
        self.boots += 1
        db = sqlite3.connect(":memory:", isolation_level=None)
        if image is not None:
            db.deserialize(image)
        index = Index(db)
        index._prepare()
        disk = Disk(
            self.files,
            index,
            config(),
            boot_id=f"boot-{self.boots}",
            clock=lambda: float(self.serial),
            monotonic=lambda: 0.0,
        )
        opening.believe(disk, "uuid", f"session-{self.boots - 1}", f"session-{self.boots}")
        for folder in ("tmp", "trash"):
            leftovers.empty_folder(self.files, folder)
        leftovers.find_idle(disk)
        return disk

    def cut(self) -> None:
        """The power goes; the index comes back as one of its last states, or is lost."""
        if self.disk.index._db.in_transaction:
            self.disk.index._db.execute("ROLLBACK")
        self.snapshot()
        self.files.cut()
        self.disk.index.close()
        image = self.rng.choice([None, self.snapshots[-1], self.rng.choice(self.snapshots[-6:])])
        self.disk = self.boot(image)
        self.snapshots = []

    def snapshot(self) -> None:
        self.snapshots.append(self.disk.index._db.serialize())

    def step(self) -> None:
        """Something happens, in the middle of which the power may go."""
        name = f"file-{self.rng.randrange(KEYS)}"
        act = self.rng.choices(
            [
                self.publish,
                self.put,
                self.remove,
                self.flush,
                self.refresh,
                self.evict,
                self.recover,
                self.cut,
            ],
            [8, 4, 2, 3, 2, 1, 2, 2],
        )[0]
        self.calls_left = self.rng.randrange(30) if self.rng.random() < 0.2 else -1
        try:
            act(name) if act in (self.publish, self.put, self.remove, self.refresh) else act()  # type: ignore[operator]
            self.calls_left = -1
            self.snapshot()
        except PowerCut:
            self.cut()

    def _body(self, key: Key) -> bytes:
        self.serial += 1
        # Some contents come again: an object that is named twice, or removed and stored anew.
        seed = self.rng.choice([self.serial, "same", key])
        content = body(seed, self.rng.choice([0, 1, 700, 5000]))
        self.bodies.setdefault(key, set()).add(content)
        return content

    def publish(self, name: str) -> None:
        one = draft(name, self.rng.choice("123"))
        publish(self.disk, [publication(self.disk, one, self._body(one.key))])

    def put(self, name: str) -> None:
        one = put_draft(name)
        content = self._body(one.key)
        self.doubtful.setdefault(one.key, []).append(content)
        job = put.reserve(self.disk, one, len(content), replace=True)
        self.disk.write_file(job.path, content, 0o400, sync=True)
        fd = self.files.open_read(job.path)
        job.nodes = objects.piece_nodes(self.files, fd, len(content)) or []
        assert put.finish(self.disk, job, replace=True).error is None
        self.acknowledged[one.key] = content
        self.doubtful[one.key] = []

    def remove(self, name: str) -> None:
        one = put_draft(name) if self.rng.random() < 0.3 else draft(name)
        before = self.acknowledged.pop(one.key, None)
        self.doubtful.setdefault(one.key, []).extend([None, before])
        evict.remove_key(self.disk, one.key, None)
        self.doubtful[one.key] = []

    def refresh(self, name: str) -> None:
        row = self.disk.index.current(draft(name).key)
        if row is not None:
            refresh(self.disk, row.entry.with_changes(headers=(("age", str(self.serial)),)))

    def flush(self) -> None:
        upto = self.disk.last_seq
        self.files.sync_all()
        with self.disk.index.change():
            self.disk.index.set_durable(upto)
        if self.rng.random() < 0.1:
            flusher._drop_unflushed(self.disk, upto, "planted")

    def evict(self) -> None:
        evict.evict_to_low(self.disk)

    def recover(self) -> None:
        # Of the 256 folders only those with something in them: the others take all the time.
        names = [path.split("/")[1] for path in self.files.seen if path.count("/") == 2]
        rows = self.disk.index.select("1")
        names += [name[:2] for row in rows for name in (row.entry.key, row.entry.root)]
        with mock.patch.object(reconcile, "FAN_OUT", tuple(sorted(set(names)))):
            for steps in (reconcile.unsettled(self.disk), reconcile.scan(self.disk)):
                for _ in steps:
                    pass

    # judging

    def found(self, one: Draft) -> bytes | None:
        """What a reader gets."""
        row, is_suspect = finding.in_index(self.disk, self.disk.index, one.key, None)
        if row is None and self.disk.rebuilding:
            row = finding.by_path(self.disk, one.key, None)
            is_suspect = row is not None and row.seq == SUSPECT
        if row is None:
            return None
        entry: Entry | None = row.entry
        if is_suspect:
            entry = finding.note_proof(self.disk, row.entry, is_right=finding.is_right(self.disk, row.entry))
        if entry is None:
            return None
        state = self.files.stat(object_path(row.area, entry.root))
        if state is None or state.size_bytes != entry.size_bytes:
            finding.settle(self.disk, entry)
            return None
        return self.files.read(object_path(row.area, entry.root), 1 << 20)

    def judge(self) -> list[str]:
        """What is wrong now."""
        wrong = []
        for number in range(KEYS):
            for one in (draft(f"file-{number}"), put_draft(f"file-{number}")):
                content = self.found(one)
                known = self.bodies.get(one.key, set())
                if content is not None and content not in known:
                    wrong.append(f"{one.url}: wrong bytes")
                if one.url.startswith("put:"):
                    allowed = [self.acknowledged.get(one.key), *self.doubtful.get(one.key, [])]
                    if content not in allowed:
                        wrong.append(f"{one.url}: an acknowledged result is lost or came back")
        return wrong

    def check_sums(self) -> list[str]:
        """After a recovery rows and files agree exactly."""
        index, charged, objects_seen = self.disk.index, 0, set()
        expected = set()
        for row in index.select("1"):
            charged += row.extra_bytes
            if (row.area, row.entry.root) not in objects_seen:
                charged += row.object_bytes
            objects_seen.add((row.area, row.entry.root))
            expected.add(object_path(row.area, row.entry.root))
        there = {
            name for name in self.files.seen if name.startswith(("pub/", "priv/", "put/")) and "." not in name
        }
        wrong = [f"orphan {name}" for name in there - expected]
        wrong += [f"lacks {name}" for name in expected - there]
        return wrong if charged == index.entry_bytes else [*wrong, "sums"]


def _history(seed: int) -> list[str]:
    world = World(seed)
    for _ in range(world.rng.randint(4, 16)):
        world.step()
        if wrong := world.judge():
            return wrong
    world.cut()
    if world.rng.random() < 0.5 and (wrong := world.judge()):
        return wrong
    world.recover()
    return world.judge() + world.check_sums()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of cuts drop thousands of entries; nobody reads that they did."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("part", range(5))
def test_power_cuts(part: int, p2p_seed: int) -> None:
    first = p2p_seed * 1_000_000 + part * HISTORIES
    bad = {seed: wrong for seed in range(first, first + HISTORIES) if (wrong := _history(seed))}
    assert bad == {}


PLANTED: dict[str, tuple[object, str, Callable[..., object]]] = {
    "no fsync of a result": (SimulatedFiles, "fsync", lambda files, fd: None),
    "no flush of folders": (SimulatedFiles, "sync_folder", lambda files, path: None),
    "flushed without a flush": (SimulatedFiles, "sync_all", lambda files: None),
    "every boot is this boot": (finding, "is_suspect", lambda disk, row: False),
    "an old index decides about results": (reconcile, "freshen", lambda disk, key, ver=None: None),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_missing_defence_is_noticed(planted: str) -> None:
    where, name, instead = PLANTED[planted]
    with mock.patch.object(where, name, instead):
        assert any(_history(seed) for seed in range(150))
