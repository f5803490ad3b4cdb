"""Work on unfinished objects: a folder each below `part/`, with the data file at its full length and the log of its pieces.

Runs on the store thread, except `recheck`, which reads and takes long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from p2pstore.errors import IntegrityError, InternalError
from p2pstore.storage import evict, objects
from p2pstore.storage.disk import Disk, Idle
from p2pstore.storage.files import Files
from p2pstore.storage.layout import PART, partial_name
from p2pstore.storage.leftovers import charge, data_path, log_path, remove, remove_idle
from p2pstore.swarm import pieces
from p2pstore.types import Draft
from p2pstore.wire.records import (
    LogHeader,
    PieceLog,
    decode_log,
    encode_log_header,
    encode_piece,
)

GROW_BYTES: Final = 16 << 20
"""First reservation for an object of unknown length; each further one doubles what there is, up to GROW_MAX_BYTES more."""
GROW_MAX_BYTES: Final = 256 << 20
MAX_LOG_BYTES: Final = 256 << 20
"""A longer log is not read: its object starts anew."""
_INODES: Final = 3


@dataclass(slots=True)
class Work:
    """An unfinished object opened for work; its descriptors belong to whoever has it."""

    name: str
    draft: Draft
    data_fd: int
    log_fd: int
    log: PieceLog
    charged_bytes: int
    allocated_bytes: int
    must_recheck: bool
    """The pieces were written in another boot: they count only after they were read again."""


def prepare(disk: Disk, draft: Draft, length: int | None, piece_bytes: int) -> Work:
    """Go on with the pieces that are there, when they are of this version and a strong validator guards them; else anew.

    Raises NoSpace before anything is written.
    """
    name = partial_name(draft.key, draft.ver)
    if name in disk.working:
        raise InternalError(f"two loads of one version of {draft.url} at once")
    header = LogHeader(
        key=draft.key,
        ver=draft.ver,
        length=length,
        piece_bytes=piece_bytes,
        validator=draft.validator,
        boot_id=disk.boot_id,
    )
    if name in disk.idle:
        log = _log_to_resume(disk.files, name, header)
        if log is not None:
            work = _resume(disk, draft, name, log)
            disk.working.add(name)
            return work
        remove_idle(disk, name)
    size = GROW_BYTES if length is None else length
    charged = charge(disk, size, piece_bytes)
    evict.make_room(disk, charged, _INODES)
    work = _create(disk, draft, name, header, size)
    work.charged_bytes = charged
    disk.partial_bytes += charged
    disk.working.add(name)
    return work


def _log_to_resume(files: Files, name: str, header: LogHeader) -> PieceLog | None:
    if not header.validator or header.length is None:
        return None
    try:
        log = decode_log(files.read(log_path(name), MAX_LOG_BYTES))
    except (FileNotFoundError, IntegrityError):
        return None
    found = files.stat(data_path(name))
    # Only the boot may differ; a file cut short has lost what the log speaks of.
    same = replace(log.header, boot_id=header.boot_id) == header
    return log if same and found is not None and found.size_bytes == header.length else None


def _resume(disk: Disk, draft: Draft, name: str, log: PieceLog) -> Work:
    files = disk.files
    data_fd = files.open_change(data_path(name))
    try:
        log_fd = files.open_append(log_path(name))
    except OSError:
        files.close(data_fd)
        raise
    try:
        files.truncate(log_fd, log.good_bytes)
    except OSError:
        files.close(data_fd)
        files.close(log_fd)
        raise
    charged = disk.idle.pop(name).charged_bytes
    other_boot = log.header.boot_id != disk.boot_id
    size = log.header.length or 0
    return Work(name, draft, data_fd, log_fd, log, charged, size, must_recheck=other_boot)


def _create(disk: Disk, draft: Draft, name: str, header: LogHeader, size_bytes: int) -> Work:
    files = disk.files
    opened: list[int] = []
    try:
        files.make_folder(f"{PART}/{name}")
        opened.append(files.create(data_path(name)))
        files.allocate(opened[0], size_bytes)
        head, salt = encode_log_header(header)
        disk.write_file(log_path(name), head, 0o600, sync=False)
        opened.append(files.open_append(log_path(name)))
    except BaseException:
        for fd in opened:
            files.close(fd)
        remove(disk, name)
        raise
    log = PieceLog(header, salt, length=header.length, good_bytes=len(head))
    return Work(name, draft, opened[0], opened[1], log, 0, size_bytes, must_recheck=False)


def recheck(files: Files, work: Work) -> PieceLog:
    """Read the logged pieces again; the log of those that are right. Takes a second for a gigabyte or two."""
    header = work.log.header
    assert header.length is not None
    buffer = memoryview(bytearray(min(objects.READ_BYTES, header.piece_bytes)))
    good = {}
    for index, digest in work.log.pieces.items():
        rng = pieces.piece_range(index, header.length, header.piece_bytes)
        if objects.hash_range(files, work.data_fd, rng.start, rng.stop, buffer) == digest:
            good[index] = digest
    return PieceLog(header, work.log.salt, good, header.length, work.log.good_bytes)


def rewrite_log(disk: Disk, work: Work, log: PieceLog) -> None:
    """Replace the log by one of this boot that holds only the pieces of `log`."""
    files = disk.files
    header = replace(log.header, boot_id=disk.boot_id)
    head, salt = encode_log_header(header)
    lines = [encode_piece(index, digest, salt) for index, digest in log.pieces.items()]
    temporary = disk.temporary()
    content = head + b"".join(lines)
    disk.write_file(temporary, content, 0o600, sync=False)
    files.rename(temporary, log_path(work.name))
    files.close(work.log_fd)
    work.log_fd = files.open_append(log_path(work.name))
    work.log = PieceLog(header, salt, log.pieces, log.length, len(content))
    work.must_recheck = False


def grow(disk: Disk, work: Work) -> None:
    """Reserve more for an object of unknown length; raises NoSpace."""
    step = min(work.allocated_bytes, GROW_MAX_BYTES)
    size = work.allocated_bytes + step
    more = charge(disk, size, work.log.header.piece_bytes) - work.charged_bytes
    evict.make_room(disk, more, 0)
    disk.files.allocate(work.data_fd, size)
    work.allocated_bytes = size
    work.charged_bytes += more
    disk.partial_bytes += more


def release(disk: Disk, work: Work) -> None:
    """The object is published or gone: its charge and what is left of its folder go."""
    disk.working.discard(work.name)
    disk.partial_bytes -= work.charged_bytes
    work.charged_bytes = 0
    remove(disk, work.name)


def park(disk: Disk, work: Work) -> None:
    """Nobody works on it for now: keep it for another try, unless it could never be resumed."""
    if not work.draft.validator or work.log.header.length is None:
        release(disk, work)
        return
    disk.working.discard(work.name)
    disk.idle[work.name] = Idle(work.charged_bytes, 0.0)


def shut(disk: Disk, work: Work) -> None:
    """Close its descriptors; a second time does nothing."""
    for fd in (work.data_fd, work.log_fd):
        if fd >= 0:
            disk.files.close(fd)
    work.data_fd = work.log_fd = -1
