"""Errors of disk and index, translated once into ours."""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

from p2pstore.errors import CacheUnusable, IntegrityError, NoSpace, Overloaded, P2PStoreError

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors that making room may cure."""
TOO_MANY_OPEN: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors of a process or machine at its limits; the disk is not to blame."""
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA})


class BadRow(IntegrityError):
    """A row of the index holds what was never written; the index is to be made anew."""


def is_full(error: BaseException) -> bool:
    """Whether disk, inodes or a quota of the file system are used up."""
    if isinstance(error, OSError):
        return error.errno in NO_SPACE
    return isinstance(error, sqlite3.Error) and _code(error) == sqlite3.SQLITE_FULL


def is_damaged(error: BaseException) -> bool:
    """Whether the index can't be read any more and is to be made anew."""
    if not isinstance(error, sqlite3.DatabaseError):
        return isinstance(error, BadRow)
    # A page that was overwritten may also hide a table, or hold what no statement of ours wrote.
    odd = isinstance(error, sqlite3.OperationalError) and "no such" in str(error)
    return odd or isinstance(error, sqlite3.IntegrityError) or _code(error) in _DAMAGED


def translated(error: OSError | sqlite3.Error, doing: str) -> P2PStoreError:
    """The error to raise for a failed call; `doing` says what was tried, for the message."""
    why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    if is_full(error):
        return NoSpace(f"{doing}: {why}", hint="free disk space or lower cache.size")
    if isinstance(error, OSError) and error.errno in TOO_MANY_OPEN:
        return Overloaded(
            f"{doing}: {why}", hint="raise the limit on open files (ulimit -n) or ask again later"
        )
    return CacheUnusable(f"{doing}: {why}", hint="look at the disk: dmesg, df, mount; then p2pstore doctor")


def _code(error: sqlite3.Error) -> int:
    # The low byte is the primary code, the rest says more.
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
