"""What the store thread works on: the files, the index and the sums, with the counters that give entries their order.

Only the store thread changes it, except `touched` and `leases`, which the loop writes and the store thread reads.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2pstore.cache.eviction import Marks, Usage
from p2pstore.config import CacheConfig
from p2pstore.errors import CacheUnusable, IntegrityError
from p2pstore.storage import space
from p2pstore.storage.files import Files, FileState
from p2pstore.storage.index import Index, Row, short
from p2pstore.storage.layout import TMP, Area, manifest_path, object_path, record_path
from p2pstore.types import Entry, Key, Root, Version
from p2pstore.wire.records import MAX_RECORD_BYTES, decode_record

MAX_TOUCHED: Final = 8192
"""Accesses remembered between two flushes; more are forgotten, which only makes eviction less exact."""
MAX_LEASES: Final = 65536
"""Entries that eviction is told to spare at once; beyond that the oldest lease ends early."""
SYNC_FAILURES: Final = 3
SYNC_FAILURES_S: Final = 600.0
"""So many failed flushes within so many seconds make the cache unusable for a while."""
RETRY_S: Final = 60.0
"""How long an unusable cache is left alone before it is tried again."""
DIGEST_BYTES: Final = 32

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Idle:
    """An unfinished object that nobody works on."""

    charged_bytes: int
    idle_s: float


class Disk:
    """The cache directory in the hands of one thread."""

    must_fix_modes = False
    """Whether the umask takes reading away from new public files."""
    partial_bytes = 0
    quarantine_bytes = 0
    floor_bytes = 0
    """While the index is being made again: what the cache is known to hold, indexed or not."""
    unflushed_bytes = 0
    last_seq = 0
    rebuilding = False
    """Whether a miss in the index may be a hit on the disk."""
    evicting = False
    """Whether background eviction is on its way from the high mark to the low one."""
    has_trash = False
    """Whether something could be moved to `trash/` but not removed from there."""
    degraded = ""
    """Why nothing can be written."""

    def __init__(
        self,
        files: Files,
        index: Index,
        config: CacheConfig,
        *,
        boot_id: str,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.files = files
        self.index = index
        self.config = config
        self.boot_id = boot_id
        self.clock = clock
        self.monotonic = monotonic
        room = files.room()
        self.block_bytes = room.block_bytes
        self.quota_bytes = space.quota(config, room)
        self.marks = Marks(
            config.high_ratio, config.low_ratio, space.kept_free(config, room), config.free_inodes_ratio
        )
        self.idle: dict[str, Idle] = {}
        self.working: set[str] = set()
        """Unfinished objects that somebody works on."""
        self.tick: Callable[[], int] = lambda: 0
        self.touched: dict[tuple[Key, Version], int] = {}
        self.leases: dict[tuple[Key, Version], float] = {}
        self.notify: Callable[[str, list[Entry]], None] = lambda kind, entries: None
        self._retry_at = 0.0
        self._sync_failures: deque[float] = deque(maxlen=SYNC_FAILURES)
        self._names = itertools.count()
        self.set_index(index)

    def set_index(self, index: Index) -> None:
        """Use this index from now on; the counters go on where its rows end."""
        self.index = index
        self.last_seq = max(self.last_seq, index.largest("seq"))
        self.tick = itertools.count(max(index.largest("access"), self.tick()) + 1).__next__

    # names and charges

    def temporary(self) -> str:
        """A path below `tmp/` that nobody used since the start."""
        return f"{TMP}/{next(self._names)}"

    def next_seq(self) -> int:
        """The number of a write that is not flushed yet."""
        self.last_seq += 1
        return self.last_seq

    def object_charge(self, size_bytes: int, piece_bytes: int) -> int:
        """Disk blocks of an object and its manifest."""
        pieces = -(-size_bytes // piece_bytes) if piece_bytes else 0
        manifest = pieces * DIGEST_BYTES if pieces > 1 else 0
        return space.blocks(size_bytes, self.block_bytes) + space.blocks(manifest, self.block_bytes)

    def extra_charge(self, record: bytes) -> int:
        """Disk blocks of a record, and what an entry takes in index and folders."""
        return space.blocks(len(record), self.block_bytes) + space.ROW_BYTES

    # sums

    @property
    def kept_bytes(self) -> int:
        """What complete entries take."""
        return max(self.index.entry_bytes, self.floor_bytes) if self.rebuilding else self.index.entry_bytes

    @property
    def used_bytes(self) -> int:
        """Everything that we keep, in disk blocks; unfinished objects count whole."""
        return self.kept_bytes + self.partial_bytes + self.quarantine_bytes

    def usage(self) -> Usage:
        """What is used and what is left."""
        room = self.files.room()
        return Usage(self.used_bytes, self.quota_bytes, room.free_bytes, room.free_inodes, room.total_inodes)

    def is_leased(self, row: Row) -> bool:
        """Whether somebody was promised that the entry stays for now."""
        until = self.leases.get((row.entry.key, row.entry.ver))
        return until is not None and until > self.monotonic()

    def flush_touched(self) -> None:
        """Write the accesses since the last time into the index."""
        touched, self.touched = self.touched, {}
        if touched:
            # The loop may still hold the old table for one more entry; a list is taken at once.
            now = [(key, ver, access) for (key, ver), access in list(touched.items())]
            with self.index.change():
                self.index.touch(now)

    # files of entries

    def read_record(self, area: Area, key: Key, ver: Version | None = None) -> Entry | None:
        """The entry of a record file; None when there is none or it is torn."""
        try:
            data = self.files.read(record_path(area, key, ver), MAX_RECORD_BYTES)
            entry = decode_record(data)
        except (FileNotFoundError, IsADirectoryError, IntegrityError):
            return None
        return entry if entry.key == key and (ver is None or entry.ver == ver) else None

    def has_object(self, area: Area, entry: Entry) -> bool:
        """Whether the object's file is there and of the right size."""
        return self.object_state(area, entry) is not None

    def object_state(self, area: Area, entry: Entry) -> FileState | None:
        """The state of an object's file; None when it is not there or of another size."""
        found = self.files.stat(object_path(area, entry.root))
        return found if found is not None and found.size_bytes == entry.size_bytes else None

    def is_free(self, area: Area, root: Root) -> bool:
        """Whether nothing names an object. While the index is made anew, stored results may that it does not know yet."""
        return not self.index.is_held(area, root) and not (self.rebuilding and area is Area.PUT)

    def unlink_object(self, area: Area, root: Root) -> None:
        """Remove an object's file and its manifest."""
        self.files.unlink(object_path(area, root))
        self.files.unlink(manifest_path(area, root))

    def write_file(self, path: str, data: bytes | bytearray | memoryview, mode: int, *, sync: bool) -> int:
        """Write a new file; returns its modification time in nanoseconds. Nothing remains of it after an error."""
        fd = self.files.create(path, mode)
        try:
            try:
                self.files.write(fd, data)
                if self.must_fix_modes:
                    self.files.chmod(fd, mode)
                if sync:
                    self.files.fsync(fd)
                return self.files.fstat(fd).mtime_ns
            finally:
                self.files.close(fd)
        except BaseException:
            self.discard(path)
            raise

    def discard(self, path: str) -> None:
        """Remove a temporary file if the disk lets us; the next start does it otherwise."""
        try:
            self.files.unlink(path)
        except OSError as error:
            log.warning("temporary file stays path=%s error=%s", path, error)

    # trouble

    def check_usable(self) -> None:
        """Raises CacheUnusable while a broken disk is being left alone."""
        if self.degraded and self.monotonic() < self._retry_at:
            raise CacheUnusable(
                f"the cache can't be written: {self.degraded}",
                hint="reading goes on; writing is tried again within a minute",
            )

    def note_broken(self, why: str) -> None:
        """The disk failed to write: leave it alone for a while."""
        if not self.degraded:
            log.error("cache degraded why=%s", why)
        self.degraded = why
        self._retry_at = self.monotonic() + RETRY_S

    def note_usable(self) -> None:
        """A write went well."""
        if self.degraded:
            log.warning("cache usable again was=%s", self.degraded)
            self.degraded = ""

    def note_sync_failure(self, why: str) -> None:
        """An fsync failed: one may happen, several mean that the disk is broken."""
        now = self.monotonic()
        self._sync_failures.append(now)
        log.error("flush failed why=%s", why)
        if len(self._sync_failures) == SYNC_FAILURES and now - self._sync_failures[0] < SYNC_FAILURES_S:
            self.note_broken(why)


def in_folder(name: str) -> tuple[int, int]:
    """The range of short names of everything whose name begins with these two characters: from, up to but not including."""
    first = short(name.ljust(15, "0"))
    return first, first + (1 << 52)
