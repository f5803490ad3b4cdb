"""Rows, sums and transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pstore.storage.faults import BadRow
from p2pstore.storage.index import DOOMED, SUSPECT, Index, Row, short
from p2pstore.storage.layout import Area
from p2pstore.types import Entry, Root
from tests.storage.samples import draft, hexes, key_of, ver_of


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    index = Index.open(str(tmp_path / "index.sqlite"))
    yield index
    index.close()


def _entry(name: str, version: str = "1", root: str = "", **more: object) -> Entry:
    return draft(name, version, **more).entry(Root(hexes(f"root {root or name}", 64)), 100, 262144)


def _add(index: Index, entry: Entry, *, current: bool = True, seq: int = 1, access: int = 1) -> Row:
    with index.change():
        return index.insert(
            entry,
            current=current,
            seq=seq,
            access=access,
            object_bytes=4096,
            extra_bytes=100,
            mtime_ns=5,
        )


def test_a_row_comes_back(index: Index) -> None:
    row = _add(index, _entry("a"))
    assert index.current(key_of("a")) == row == index.version(key_of("a"), ver_of("a"))
    assert index.current(key_of("b")) is None
    assert index.version(key_of("a"), ver_of("a", "2")) is None


def test_a_flushed_row_is_durable(index: Index) -> None:
    _add(index, _entry("a"), seq=1)
    _add(index, _entry("b"), seq=2)
    _add(index, _entry("c"), seq=SUSPECT)
    _add(index, _entry("d"), seq=DOOMED)
    with index.change():
        assert index.set_durable(1) == 1
    seqs = {row.entry.url[-1]: row.seq for row in index.select("1")}
    assert seqs == {"a": 0, "b": 2, "c": SUSPECT, "d": DOOMED}
    row = index.current(key_of("a"))
    assert row is not None and row.entry.durable
    assert index.current(key_of("d")) is None, "what is being removed is not found"
    assert index.largest("seq") == 2
    with index.change():
        assert index.suspect_all() == 1
    assert index.largest("seq") == 0


def test_sums_count_a_shared_object_once(index: Index) -> None:
    one = _add(index, _entry("a", root="same"))
    two = _add(index, _entry("b", root="same"))
    private = _add(index, _entry("c", root="same", scope="uid:1"))
    assert (index.entries, index.entry_bytes) == (3, 2 * 4096 + 300)
    with index.change():
        assert not index.delete(one)
        assert not index.delete(one), "a second time changes nothing"
        assert index.delete(two)
        assert index.delete(private)
    assert (index.entries, index.entry_bytes) == (0, 0)
    assert not index.is_held(Area.PUB, one.entry.root)


def test_a_failed_change_leaves_everything(index: Index, tmp_path: Path) -> None:
    _add(index, _entry("a"))
    with pytest.raises(ZeroDivisionError), index.change():
        row = index.current(key_of("a"))
        assert row is not None
        index.delete(row)
        raise ZeroDivisionError
    assert index.entries == 1
    assert index.current(key_of("a")) is not None
    again = Index.open(str(tmp_path / "index.sqlite"))
    assert (again.entries, again.entry_bytes) == (1, 4196)
    again.close()


def test_names_are_compared_whole(index: Index) -> None:
    """The index looks for the first 60 bits only."""
    entry = _entry("a")
    twin = entry.with_changes(key=entry.key[:15] + "0" * 49, ver=entry.ver[:15] + "0" * 17)
    row = _add(index, entry)
    assert index.current(twin.key) is None
    assert index.version(entry.key, twin.ver) is None
    other = _add(index, twin)
    assert index.current(twin.key) == other
    assert index.current(entry.key) == row
    assert [one.id for one in index.versions(entry.key)] == [row.id]
    assert short(entry.key) == short(twin.key)


def test_accesses_are_noted(index: Index) -> None:
    _add(index, _entry("a"), access=1)
    _add(index, _entry("b"), access=2)
    with index.change():
        index.touch([(key_of("a"), ver_of("a"), 9), (key_of("absent"), ver_of("a"), 10)])
    assert [row.entry.url[-1] for row in index.select("1", order="access")] == ["b", "a"]
    assert index.largest("access") == 9


def test_a_reader_sees_what_was_committed_and_waits_for_nobody(index: Index, tmp_path: Path) -> None:
    reader = Index.open_for_reading(str(tmp_path / "index.sqlite"))
    row = _add(index, _entry("a"))
    with index.change():
        index.delete(row)
        assert reader.current(key_of("a")) == row
    assert reader.current(key_of("a")) is None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.set_fact("x", 1)
    reader.close()


def test_facts_and_idle_times(index: Index) -> None:
    assert index.fact("uuid") is None
    with index.change():
        index.set_fact("uuid", "one")
        index.set_fact("uuid", "two")
        index.set_idle_times({"a": 1.5, "b": 2.0})
        index.set_idle_times({"a": 3.0})
    assert index.fact("uuid") == "two"
    assert index.idle_times() == {"a": 3.0}


def test_a_damaged_record_in_a_row_is_noticed(index: Index) -> None:
    _add(index, _entry("a"))
    index._db.execute("UPDATE entries SET record = x'00'")
    with pytest.raises(BadRow):
        index.current(key_of("a"))


def test_another_schema_is_refused(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "other.sqlite")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(sqlite3.DatabaseError, match="schema 99"):
        Index.open(str(tmp_path / "other.sqlite"))


def test_nobody_else_may_read_it(index: Index, tmp_path: Path) -> None:
    _add(index, _entry("a"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600} and len(modes) == 3


def test_soundness_and_checkpoint(index: Index, tmp_path: Path) -> None:
    for number in range(200):
        _add(index, _entry(f"f{number}"))
    assert (tmp_path / "index.sqlite-wal").stat().st_size > 0
    index.checkpoint()
    assert (tmp_path / "index.sqlite-wal").stat().st_size == 0
    assert index.is_sound()
    with (tmp_path / "index.sqlite").open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xff" * 4096)
    other = Index.open_for_reading(str(tmp_path / "index.sqlite"))
    assert not other.is_sound()
    other.close()


def test_questions_of_the_scan(index: Index) -> None:
    entry = _entry("a")
    _add(index, entry)
    _add(index, _entry("put:a", url="put:a", scope="uid:1"))
    key8, root8 = short(entry.key), short(entry.root)
    assert list(index.shapes(key8, key8 + 1, put=False)) == [(key8, short(entry.ver), True, 1)]
    assert list(index.shapes(key8, key8 + 1, put=True)) == []
    assert len(list(index.shapes(0, 1 << 60, put=True))) == 1
    assert [root for _, root in index.objects(Area.PUB, 0, 1 << 60)] == [root8]
    assert index.objects(Area.PRIV, 0, 1 << 60) == []
