"""What was damaged is kept for a while, and results among it are remembered."""

from __future__ import annotations

import random

import pytest

from p2pstore.storage import quarantine
from p2pstore.storage.disk import Disk
from p2pstore.storage.layout import Area
from p2pstore.types import Key, Root
from tests.storage.samples import body, memory_disk, published, put_draft
from tests.storage.simulated import SimulatedFiles


@pytest.fixture
def disk() -> Disk:
    return memory_disk(SimulatedFiles(random.Random(0)), size_bytes=1 << 20)


def test_what_was_moved_is_counted_and_named(disk: Disk) -> None:
    entry = published(disk, put_draft("r"), body("r", 50_000))
    quarantine.move(disk, Area.PUT, entry.root)
    quarantine.note(disk, entry.root, entry.key)
    assert disk.quarantine_bytes == quarantine.measure(disk) >= 50_000
    assert quarantine.damaged(disk, entry.key) == f"quarantine/{entry.root}"
    assert quarantine.damaged(disk, Key("f" * 64)) is None


def test_a_note_outlives_the_object_until_it_is_forgotten(disk: Disk) -> None:
    key, root = Key("a" * 64), Root("b" * 64)
    quarantine.note(disk, root, key)
    quarantine.note(disk, root, Key("c" * 64))
    quarantine.trim(disk, 0)
    assert quarantine.damaged(disk, key) == ""
    quarantine.note(disk, Root("d" * 64), key)
    quarantine.forget(disk, key)
    assert quarantine.damaged(disk, key) is None
    assert quarantine.damaged(disk, Key("c" * 64)) == ""


def test_notes_are_bounded(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MAX_NOTES", 3)
    for number in range(5):
        quarantine.note(disk, Root("b" * 64), Key(f"{number:064}"))
    assert len(disk.files.names("quarantine")) == 3
