"""The index: which entries there are, quickly. Derived from records and objects; deleting it loses only who was used when.

One connection belongs to one thread at a time. A row's `seq` tells how far its files are:
0 durable; > 0 written in this boot and not yet flushed, in that order; DOOMED being removed; SUSPECT written in a boot that
ended before they were flushed. A row is committed before its files get their names and goes after they are gone.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from p2pstore.errors import IntegrityError
from p2pstore.storage.faults import BadRow
from p2pstore.storage.layout import Area, area_of
from p2pstore.types import PUBLIC, Entry, Key, Root, Version
from p2pstore.wire.records import decode_record, encode_record

DOOMED: Final = -1
SUSPECT: Final = -2
SCHEMA_VERSION: Final = 1
CHECKPOINT_PAGES: Final = 1000
"""The write-ahead log is folded into the index at this length at the latest; the flusher does it sooner."""

REBUILD_PAGES: Final = 8192
"""The same while the index is made anew: every fold flushes, and nothing is lost if that happens late."""
BUSY_MS: Final = 10_000
"""How long a connection waits for the other's lock; they hold it for milliseconds."""

_SCHEMA: Final = """
CREATE TABLE entries (
  id INTEGER PRIMARY KEY, key8 INTEGER NOT NULL, ver8 INTEGER NOT NULL, root8 INTEGER NOT NULL, area INTEGER NOT NULL,
  current INTEGER NOT NULL, seq INTEGER NOT NULL, access INTEGER NOT NULL, size INTEGER NOT NULL, stored REAL NOT NULL,
  owner INTEGER NOT NULL, object_bytes INTEGER NOT NULL, extra_bytes INTEGER NOT NULL, mtime INTEGER NOT NULL,
  url TEXT NOT NULL, record BLOB NOT NULL);
CREATE INDEX by_key ON entries (key8);
CREATE INDEX by_root ON entries (root8);
CREATE INDEX by_url ON entries (url);
CREATE INDEX by_access ON entries (access);
CREATE INDEX by_size ON entries (size);
CREATE INDEX by_stored ON entries (stored);
CREATE INDEX unsettled ON entries (seq) WHERE seq != 0;
CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE idle (name TEXT PRIMARY KEY, idle_s REAL NOT NULL) WITHOUT ROWID;
"""
ROW_COLUMNS: Final = "id, current, seq, access, object_bytes, extra_bytes, mtime, record"


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as the index has it; `object_bytes` are blocks of the object and its manifest, `extra_bytes` all the rest."""

    id: int
    entry: Entry
    current: bool
    seq: int
    access: int
    object_bytes: int
    extra_bytes: int
    mtime_ns: int

    @property
    def area(self) -> Area:
        """Where the object lies."""
        return area_of(self.entry)


def short(name: str) -> int:
    """The first 60 bits of a hexadecimal name: half the index of a whole one; whoever uses it compares the names then."""
    return int(name[:15], 16)


def row_of(columns: tuple[Any, ...]) -> Row:
    """The row of ROW_COLUMNS; raises BadRow."""
    number, current, seq, access, object_bytes, extra_bytes, mtime, record = columns
    try:
        entry = decode_record(record)
        if seq == 0 and not entry.durable:
            entry = entry.with_changes(durable=True)
        return Row(number, entry, bool(current), seq, access, object_bytes, extra_bytes, mtime)
    except (IntegrityError, TypeError, ValueError) as error:
        raise BadRow(f"a row of the index is damaged: {error}") from error


class Index:
    """One connection to the index.

    Changes happen inside `change()`, which commits the sums with them. Errors are sqlite3's own and BadRow.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.entries = 0
        """Number of entries."""
        self.entry_bytes = 0
        """What all entries take on the disk; an object that several share counts once."""

    @classmethod
    def open(cls, path: str) -> Self:
        """Open the index for changes, or make it; raises sqlite3.DatabaseError when it is none of ours."""
        if path != ":memory:":
            # Made by us, so that it and its log are nobody else's to read.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        db = _connect(path)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            db.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_PAGES * 4096}")
            index = cls(db)
            index._prepare()
        except BaseException:
            db.close()
            raise
        return index

    @classmethod
    def open_for_reading(cls, path: str) -> Self:
        """A second connection that changes nothing and waits for nobody."""
        db = _connect(path)
        db.execute("PRAGMA query_only = ON")
        return cls(db)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
        elif version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"the index has schema {version}, not {SCHEMA_VERSION}")
        self._load_sums()

    def _load_sums(self) -> None:
        self.entries = int(self.fact("entries") or 0)
        self.entry_bytes = int(self.fact("entry_bytes") or 0)

    # facts

    def fact(self, name: str) -> Any:
        """A single value kept beside the entries, or None."""
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]

    def set_fact(self, name: str, value: str | int) -> None:
        """Keep a single value."""
        self._db.execute("REPLACE INTO facts VALUES (?, ?)", (name, value))

    # changes

    @contextmanager
    def change(self) -> Iterator[None]:
        """A transaction: all of what happens inside, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        before = self.entries, self.entry_bytes
        try:
            yield
            if before != (self.entries, self.entry_bytes):
                self.set_fact("entries", self.entries)
                self.set_fact("entry_bytes", self.entry_bytes)
            self._db.execute("COMMIT")
        except BaseException:
            self.entries, self.entry_bytes = before
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def insert(
        self,
        entry: Entry,
        *,
        current: bool,
        seq: int,
        access: int,
        object_bytes: int,
        extra_bytes: int,
        mtime_ns: int,
        record: bytes | None = None,
    ) -> Row:
        """Add an entry that is not there; `record` is its encoded form when the caller has it."""
        shared = self.is_held(area_of(entry), entry.root)
        values = (
            short(entry.key),
            short(entry.ver),
            short(entry.root),
            int(area_of(entry)),
            int(current),
            seq,
            access,
            entry.size_bytes,
            entry.stored_at,
            -1 if entry.scope == PUBLIC else entry.owner_uid,
            object_bytes,
            extra_bytes,
            mtime_ns,
            entry.url,
            record or encode_record(entry),
        )
        done = self._db.execute(
            f"INSERT INTO entries VALUES (NULL{', ?' * len(values)})",
            values,
        )
        self.entries += 1
        self.entry_bytes += extra_bytes + (0 if shared else object_bytes)
        return Row(done.lastrowid or 0, entry, current, seq, access, object_bytes, extra_bytes, mtime_ns)

    def delete(self, row: Row) -> bool:
        """Remove a row; returns whether the object has no entry left."""
        if not self._db.execute("DELETE FROM entries WHERE id = ?", (row.id,)).rowcount:
            return False
        alone = not self.is_held(row.area, row.entry.root)
        self.entries -= 1
        self.entry_bytes -= row.extra_bytes + (row.object_bytes if alone else 0)
        return alone

    def replace_record(self, row: Row, record: bytes, extra_bytes: int) -> None:
        """Give a row another record of the same version and object."""
        values = (record, extra_bytes, row.id)
        self._db.execute("UPDATE entries SET record = ?, extra_bytes = ? WHERE id = ?", values)
        self.entry_bytes += extra_bytes - row.extra_bytes

    def set_current(self, row: Row, current: bool) -> None:
        """Make a row its key's current version, or a superseded one."""
        self._db.execute("UPDATE entries SET current = ? WHERE id = ?", (int(current), row.id))

    def set_seq(self, rows: Iterable[Row], seq: int) -> None:
        """Say how far the files of these rows are."""
        self._db.executemany("UPDATE entries SET seq = ? WHERE id = ?", [(seq, row.id) for row in rows])

    def set_proven(self, row: Row, entry: Entry, seq: int, mtime_ns: int) -> None:
        """The object of a suspect row was read again and is right."""
        values = (seq, mtime_ns, encode_record(entry), row.id)
        self._db.execute("UPDATE entries SET seq = ?, mtime = ?, record = ? WHERE id = ?", values)

    def set_durable(self, upto: int) -> int:
        """Everything written up to this number is on the disk; returns how many rows that was."""
        return self._db.execute("UPDATE entries SET seq = 0 WHERE seq > 0 AND seq <= ?", (upto,)).rowcount

    def suspect_all(self) -> int:
        """What was not yet flushed was written in a boot that has ended; returns how many rows that is."""
        return self._db.execute(f"UPDATE entries SET seq = {SUSPECT} WHERE seq > 0").rowcount

    def touch(self, touched: Iterable[tuple[Key, Version, int]]) -> None:
        """Note the last access of entries, on the logical clock."""
        values = [(access, short(key), short(ver)) for key, ver, access in touched]
        self._db.executemany("UPDATE entries SET access = ? WHERE key8 = ? AND ver8 = ?", values)

    # questions

    def current(self, key: Key) -> Row | None:
        """The current version of a key; nothing that is being removed."""
        found = self._db.execute(
            f"SELECT {ROW_COLUMNS} FROM entries WHERE key8 = ? AND current = 1 AND seq != {DOOMED}",
            (short(key),),
        )
        return next((row for row in map(row_of, found) if row.entry.key == key), None)

    def version(self, key: Key, ver: Version) -> Row | None:
        """One version of a key."""
        found = self._db.execute(
            f"SELECT {ROW_COLUMNS} FROM entries WHERE key8 = ? AND ver8 = ? AND seq != {DOOMED}",
            (short(key), short(ver)),
        )
        rows = map(row_of, found)
        return next((row for row in rows if row.entry.key == key and row.entry.ver == ver), None)

    def versions(self, key: Key) -> list[Row]:
        """All rows of a key, also those being removed; oldest first."""
        return [
            row for row in self.select("key8 = ?", (short(key),), order="stored, id") if row.entry.key == key
        ]

    def is_held(self, area: Area, root: Root) -> bool:
        """Whether any row names this object."""
        found = self._db.execute(
            "SELECT record FROM entries WHERE root8 = ? AND area = ?", (short(root), int(area))
        )
        return found.fetchone() is not None

    def holders(self, area: Area, root: Root) -> list[Row]:
        """The rows that name this object."""
        rows = self.select("root8 = ? AND area = ?", (short(root), int(area)))
        return [row for row in rows if row.entry.root == root]

    def select(
        self, where: str, values: tuple[Any, ...] = (), *, order: str = "id", limit: int = -1
    ) -> list[Row]:
        """Rows by a condition of ours; `where` and `order` are never built from what others say."""
        found = self._db.execute(
            f"SELECT {ROW_COLUMNS} FROM entries WHERE {where} ORDER BY {order} LIMIT {limit}",
            values,
        )
        return [row_of(one) for one in found]

    def largest(self, column: str) -> int:
        """The largest `seq` of what is not flushed, or the largest `access`; 0 without rows."""
        where = "WHERE seq > 0" if column == "seq" else ""
        return int(self._db.execute(f"SELECT max({column}) FROM entries {where}").fetchone()[0] or 0)

    def shapes(self, low: int, high: int, *, put: bool) -> Iterator[tuple[int, int, bool, int]]:
        """Short key, short version, current or not, and `seq` of the rows with short keys in a range; stored results or others."""
        found = self._db.execute(
            "SELECT key8, ver8, current, seq FROM entries WHERE key8 >= ? AND key8 < ? AND (area = ?) = ?",
            (low, high, int(Area.PUT), int(put)),
        )
        return ((key8, ver8, bool(current), seq) for key8, ver8, current, seq in found)

    def objects(self, area: Area, low: int, high: int) -> list[tuple[int, int]]:
        """Id and short root of the rows of an area with short roots in a range."""
        return self._db.execute(
            "SELECT id, root8 FROM entries WHERE root8 >= ? AND root8 < ? AND area = ?",
            (low, high, int(area)),
        ).fetchall()

    # unfinished objects

    def idle_times(self) -> dict[str, float]:
        """For how long each unfinished object has not been worked on, in seconds of running agents."""
        return dict(self._db.execute("SELECT name, idle_s FROM idle"))

    def set_idle_times(self, idle: dict[str, float]) -> None:
        """Replace those times."""
        self._db.execute("DELETE FROM idle")
        self._db.executemany("INSERT INTO idle VALUES (?, ?)", idle.items())

    # care

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the index, and cut it off if nobody reads just now; waits for the disk."""
        self._db.execute("PRAGMA busy_timeout = 0")
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")

    def hurry(self, on: bool) -> None:
        """Fold the log in less often, while the index is made anew, or as often as usual."""
        self._db.execute(f"PRAGMA wal_autocheckpoint = {REBUILD_PAGES if on else CHECKPOINT_PAGES}")

    def is_sound(self) -> bool:
        """Read the whole index and say whether it hangs together."""
        try:
            return bool(self._db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        except sqlite3.DatabaseError:
            return False


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=64, timeout=BUSY_MS / 1000
    )
