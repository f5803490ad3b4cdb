"""Foreign errors become ours, by what can be done about them."""

from __future__ import annotations

import errno
import sqlite3

import pytest

from p2pstore.errors import CacheUnusable, NoSpace, Overloaded, P2PStoreError
from p2pstore.storage import faults


def _sqlite(code: int, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    error = kind("it failed")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "kind", "full"),
    [
        (OSError(errno.ENOSPC, "full"), NoSpace, True),
        (OSError(errno.EDQUOT, "full"), NoSpace, True),
        (OSError(errno.EMFILE, "many"), Overloaded, False),
        (OSError(errno.EIO, "io"), CacheUnusable, False),
        (OSError(errno.EROFS, "ro"), CacheUnusable, False),
        (_sqlite(sqlite3.SQLITE_FULL), NoSpace, True),
        (_sqlite(sqlite3.SQLITE_IOERR_WRITE), CacheUnusable, False),
        (_sqlite(sqlite3.SQLITE_READONLY), CacheUnusable, False),
    ],
)
def test_translation(error: OSError | sqlite3.Error, kind: type[P2PStoreError], full: bool) -> None:
    found = faults.translated(error, "can't store http://example.org/a")
    assert type(found) is kind
    assert found.message.startswith("can't store http://example.org/a: ") and found.hint
    assert faults.is_full(error) == full
    assert not faults.is_damaged(error)


@pytest.mark.parametrize(
    "error",
    [
        _sqlite(sqlite3.SQLITE_CORRUPT, sqlite3.DatabaseError),
        _sqlite(sqlite3.SQLITE_CORRUPT_INDEX, sqlite3.DatabaseError),
        _sqlite(sqlite3.SQLITE_NOTADB, sqlite3.DatabaseError),
        sqlite3.OperationalError("no such table: entries"),
        sqlite3.IntegrityError("UNIQUE constraint failed"),
        faults.BadRow("a row"),
    ],
)
def test_damage(error: BaseException) -> None:
    assert faults.is_damaged(error)
    assert not faults.is_full(error)
