"""From a directory to a cache that can be used: checked, locked, swept and with an index, in a fraction of a second.

What takes longer than that (bringing rows and files together again) is left to `reconcile`, while entries are already served.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from p2pstore.config import CacheConfig
from p2pstore.errors import CacheUnusable
from p2pstore.storage import faults, layout, leftovers, quarantine, space
from p2pstore.storage.disk import Disk
from p2pstore.storage.faults import BadRow
from p2pstore.storage.files import Files
from p2pstore.storage.index import Index
from p2pstore.storage.lock import Lock

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cache:
    """What an open cache directory is besides its contents."""

    directory: str
    uuid: str
    lock: Lock

    @property
    def index_path(self) -> str:
        """The file of the index."""
        return os.path.join(self.directory, layout.INDEX)


def open_cache(
    config: CacheConfig,
    directory: str,
    *,
    boot_id: str,
    clock: Callable[[], float],
    monotonic: Callable[[], float] = time.monotonic,
) -> tuple[Cache, Disk]:
    """Make or check the directory, lock it, sweep it and open its index; raises CacheUnusable or CacheLocked."""
    directory = os.path.abspath(directory)
    space.refuse_network_fs(directory, allowed=config.allow_network_fs)
    root_fd = layout.open_directory(directory, os.geteuid())
    lock: Lock | None = None
    try:
        layout.read_format(root_fd)
        lock = Lock.take(root_fd)
        # Again, now that nobody else can change it.
        known = layout.read_format(root_fd)
        layout.make_tree(root_fd, os.geteuid())
        cache = Cache(directory, known or layout.write_format(root_fd), lock)
        files = Files(root_fd)
        leftovers.empty_folder(files, layout.TMP)
        leftovers.empty_folder(files, layout.TRASH)

        def take(index: Index) -> Disk:
            disk = Disk(files, index, config, boot_id=boot_id, clock=clock, monotonic=monotonic)
            _take_over(disk, cache, is_new=known is None)
            return disk

        return cache, _with_index(cache, take)
    except (OSError, sqlite3.Error) as error:
        _give_up(root_fd, lock)
        raise CacheUnusable(
            f"can't use {directory}: {error}",
            hint="look at the disk (df, mount) or choose another --cache-dir",
        ) from error
    except BaseException:
        _give_up(root_fd, lock)
        raise


def _give_up(root_fd: int, lock: Lock | None) -> None:
    if lock is not None:
        lock.release()
    os.close(root_fd)


def _with_index(cache: Cache, take: Callable[[Index], Disk]) -> Disk:
    """Use the index that is there, or a new one when that proves to be damaged."""
    index = _open_index(cache)
    try:
        return take(index)
    except (sqlite3.Error, BadRow) as error:
        index.close()
        if not faults.is_damaged(error):
            raise
        log.error("index is damaged and will be made anew error=%s", error)
    except BaseException:
        index.close()
        raise
    _put_aside(cache)
    index = _open_index(cache)
    try:
        return take(index)
    except BaseException:
        index.close()
        raise


def _open_index(cache: Cache) -> Index:
    try:
        index = Index.open(cache.index_path)
        uuid = index.fact("uuid")
        if uuid in (None, cache.uuid):
            return index
        index.close()
        log.error("index belongs to another cache uuid=%s", uuid)
    except sqlite3.DatabaseError as error:
        if not faults.is_damaged(error) and "schema" not in str(error):
            raise
        log.error("index can't be read and will be made anew error=%s", error)
    _put_aside(cache)
    return Index.open(cache.index_path)


def _put_aside(cache: Cache) -> None:
    try:
        os.replace(cache.index_path, os.path.join(cache.directory, layout.INDEX_ASIDE))
    except FileNotFoundError:
        # Somebody deleted it, as he may.
        log.warning("index was deleted and will be made anew")
    for suffix in ("-wal", "-shm"):
        try:
            os.unlink(cache.index_path + suffix)
        except FileNotFoundError:
            continue


def _take_over(disk: Disk, cache: Cache, *, is_new: bool) -> None:
    believe(disk, cache.uuid, cache.lock.previous, cache.lock.session, is_new=is_new)
    disk.floor_bytes = cache.lock.used_bytes
    disk.quarantine_bytes = quarantine.measure(disk)
    disk.must_fix_modes = bool(_umask() & 0o444)
    leftovers.find_idle(disk)
    cache.lock.note(disk.kept_bytes)


def believe(disk: Disk, uuid: str, previous: str, session: str, *, is_new: bool = False) -> None:
    """Decide how far the index can be believed, and write down that this session and this boot have it now.

    It is whole when it says so and the session that owned the cache last is the one it saw last, in this boot: a kill loses
    no transaction, a power cut may.
    """
    index = disk.index
    same_boot = index.fact("boot_id") == disk.boot_id
    disk.rebuilding = not is_new and not (
        same_boot and index.fact("session") == previous and index.fact("complete") == 1
    )
    with index.change():
        if not same_boot:
            index.suspect_all()
        _mark(disk, uuid, session)
    disk.last_seq = index.largest("seq")
    disk.unflushed_bytes = int(disk.last_seq > 0)


def _mark(disk: Disk, uuid: str, session: str) -> None:
    index = disk.index
    index.set_fact("uuid", uuid)
    index.set_fact("boot_id", disk.boot_id)
    index.set_fact("session", session)
    index.set_fact("complete", int(not disk.rebuilding))


def renew_index(disk: Disk, cache: Cache) -> None:
    """Begin a new index in place of a damaged one; on the store thread. Readers open it again afterwards."""
    disk.floor_bytes = disk.kept_bytes
    disk.rebuilding = True
    disk.index.close()
    _put_aside(cache)
    index = Index.open(cache.index_path)
    disk.set_index(index)
    with index.change():
        _mark(disk, cache.uuid, cache.lock.session)


def mark_complete(disk: Disk, cache: Cache) -> None:
    """The index agrees with the files: the next start may believe it. A damaged one that was put aside goes."""
    with disk.index.change():
        disk.index.set_fact("complete", 1)
    try:
        os.unlink(os.path.join(cache.directory, layout.INDEX_ASIDE))
    except FileNotFoundError:
        return


def is_sound(cache: Cache, limit_bytes: int) -> bool:
    """Read the whole index, unless it is larger than the limit, and say whether it hangs together. In any thread."""
    try:
        if os.stat(cache.index_path).st_size > limit_bytes:
            return True
        index = Index.open_for_reading(cache.index_path)
    except OSError:
        return True
    except sqlite3.Error as error:
        return not faults.is_damaged(error)
    try:
        return index.is_sound()
    finally:
        index.close()


def say_goodbye(disk: Disk, cache: Cache) -> None:
    """Write down what only memory knows: accesses, idle times, how much is kept."""
    disk.flush_touched()
    leftovers.age(disk, 0.0)
    cache.lock.note(disk.kept_bytes)


def shut(cache: Cache, disk: Disk) -> None:
    """Close everything; the lock last."""
    disk.index.close()
    disk.files.shut()
    cache.lock.release()


def _umask() -> int:
    """The umask, without changing it for a moment as umask(2) would."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("Umask:")), "Umask: 0777")
    except OSError:
        return 0o777
    return int(line.split()[1], 8)
