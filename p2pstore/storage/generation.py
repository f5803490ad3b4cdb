"""The node's generation: a number that grows with each start and is on the disk before anybody sees it.

The rule: no generation is given out twice, whatever was cut off where. So the next one is written to a file of its own and
flushed, that file takes the place of the one before, the folder is flushed, and only then the number is told. What was
written and not told is skipped. The file for the next start lies ready, so that a full disk keeps no node from starting.
"""

from __future__ import annotations

import logging
import re
from hashlib import sha256
from typing import Final

from p2pstore.errors import CacheUnusable
from p2pstore.storage import faults
from p2pstore.storage.files import Files
from p2pstore.storage.layout import GENERATION
from p2pstore.storage.layout import GENERATION_SPARE as SPARE

MAX_GENERATION: Final = (1 << 32) - 1
LAST_FLOOR: Final = 3 << 30
"""A later clock than that (2072) is wrong, and believing it once would use the numbers up."""

_LINE_BYTES: Final = 48
_LINE: Final = re.compile(rb"p2pstore-generation ([0-9]{10}) ([0-9a-f]{16})\n\Z")
_HINT: Final = f"remove {GENERATION} together with the node's key: the node then starts anew under a new id"

log = logging.getLogger(__name__)


def next_generation(files: Files, floor: int) -> int:
    """The generation of this start: one more than the last, and not below `floor`; 1..MAX_GENERATION, and durable.

    `floor` is the wall clock's seconds since 1970: a directory that was lost or restored from a copy then does not give out what
    it gave out before. Blocks on the disk; the caller has the directory's lock. Raises CacheUnusable when the file
    is damaged, since what it said can't be guessed, and NoSpace, CacheUnusable or Overloaded when it can't be written.
    """
    try:
        last = _read(files)
        if last >= MAX_GENERATION:
            raise CacheUnusable(f"{GENERATION} has reached its largest number", hint=_HINT)
        generation = max(last + 1, floor if floor <= LAST_FLOOR else 1)
        _write(files, generation)
    except OSError as error:
        raise faults.translated(error, f"can't write {GENERATION}") from error
    _lay_ready(files)
    return generation


def _read(files: Files) -> int:
    """The last generation written; 0 when there was none."""
    try:
        line = files.read(GENERATION, 2 * _LINE_BYTES)
    except FileNotFoundError:
        return 0
    found = _LINE.match(line)
    if found is None or line != _line(int(found[1])):
        raise CacheUnusable(f"{GENERATION} is damaged", hint=_HINT)
    return int(found[1])


def _write(files: Files, generation: int) -> None:
    fd = _open_spare(files)
    try:
        files.pwrite(fd, _line(generation), 0)
        files.truncate(fd, _LINE_BYTES)
        files.fsync(fd)
    finally:
        files.close(fd)
    files.rename(SPARE, GENERATION)
    files.sync_folder(".")


def _open_spare(files: Files) -> int:
    try:
        return files.open_change(SPARE)
    except FileNotFoundError:
        return files.create(SPARE)


def _lay_ready(files: Files) -> None:
    """Give the next start its file, with its block."""
    try:
        fd = files.create(SPARE)
        try:
            files.pwrite(fd, bytes(_LINE_BYTES), 0)
        finally:
            files.close(fd)
    except OSError as error:
        # The next start tries again, and then needs the space.
        log.warning("no file for the next generation error=%s", error)


def _line(generation: int) -> bytes:
    text = f"p2pstore-generation {generation:010d} "
    return f"{text}{sha256(text.encode()).hexdigest()[:16]}\n".encode()
