"""Taking a caller's file as a stored result: our own copy, hashed as we hold it, flushed before anybody is told."""

from __future__ import annotations

import fcntl
import os
import stat
from dataclasses import dataclass
from typing import Final

from p2pstore.errors import BadRequest, NameTaken
from p2pstore.storage import evict, objects, quarantine, reconcile
from p2pstore.storage.disk import Disk
from p2pstore.storage.files import Files
from p2pstore.storage.publish import Publication, publish
from p2pstore.swarm import pieces
from p2pstore.types import Draft, Key, Version

STEP_BYTES: Final = 64 << 20
"""Copied by one call, so that a copy can be given up between two."""
_INODES: Final = 3


@dataclass(slots=True)
class Copy:
    """A caller's file on its way in; `reserved_bytes` are charged until it is published or given up."""

    draft: Draft
    path: str
    size_bytes: int
    reserved_bytes: int
    nodes: list[bytes]


def check_source(source_fd: int) -> int:
    """The size of a file that may be stored; raises BadRequest for what is no regular file or can't be read."""
    try:
        found = os.fstat(source_fd)
        readable = fcntl.fcntl(source_fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY
    except OSError as error:
        raise BadRequest(f"the descriptor can't be used: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode) or not readable:
        raise BadRequest(
            "only a regular file that is open for reading can be stored", hint="write it to a file first"
        )
    return found.st_size


def reserve(disk: Disk, draft: Draft, size_bytes: int, *, replace: bool) -> Copy:
    """Charge for a copy before its first byte; raises NameTaken or NoSpace. On the store thread."""
    disk.check_usable()
    if not replace and is_taken(disk, draft.key):
        raise NameTaken(f"{draft.url} exists", hint="choose another name, or replace it (--replace)")
    charged = disk.object_charge(size_bytes, pieces.piece_bytes(size_bytes))
    evict.make_room(disk, charged, _INODES)
    disk.partial_bytes += charged
    return Copy(draft, disk.temporary(), size_bytes, charged, [])


def is_taken(disk: Disk, key: Key) -> bool:
    """Whether a stored result of that key is there, indexed or not."""
    if disk.rebuilding:
        with disk.index.change():
            reconcile.freshen(disk, key)
    return disk.index.current(key) is not None


def copy(files: Files, source_fd: int, job: Copy) -> None:
    """Copy, hash the copy and flush it, in a worker thread; closes the source. One that is cut meanwhile gives a shorter result."""
    try:
        _copy(files, source_fd, job)
    finally:
        files.close(source_fd)
    fd = files.open_read(job.path)
    try:
        job.nodes = objects.piece_nodes(files, fd, job.size_bytes) or []
    finally:
        files.close(fd)


def _copy(files: Files, source_fd: int, job: Copy) -> None:
    fd = files.create(job.path, 0o400)
    try:
        if not files.clone_from(source_fd, fd):
            _copy_bytes(files, source_fd, fd, job)
        else:
            # What was shared may be longer than what was charged.
            files.truncate(fd, min(files.fstat(fd).size_bytes, job.size_bytes))
            job.size_bytes = files.fstat(fd).size_bytes
        if job.draft.url.startswith("put:"):
            files.fsync(fd)
    finally:
        files.close(fd)


def _copy_bytes(files: Files, source_fd: int, fd: int, job: Copy) -> None:
    files.allocate(fd, job.size_bytes)
    at = 0
    while at < job.size_bytes:
        done = files.copy_from(source_fd, fd, at, min(STEP_BYTES, job.size_bytes - at))
        if not done:
            break
        at += done
    if at < job.size_bytes:
        files.truncate(fd, at)
        job.size_bytes = at


def finish(disk: Disk, job: Copy, *, replace: bool) -> Publication:
    """Publish the copy: durable when this returns without `error`. On the store thread."""
    root = objects.root_of_nodes(job.nodes, job.size_bytes)
    entry = job.draft.entry(
        root,
        job.size_bytes,
        pieces.piece_bytes(job.size_bytes),
        stored_at=disk.clock(),
        boot_id=disk.boot_id,
    )
    if entry.is_put:
        # A result's version is its contents: replacing it never touches the file that it replaces.
        entry = entry.with_changes(ver=Version(root[:32]), durable=True)
    one = Publication(
        entry,
        source=job.path,
        manifest=objects.manifest_of(job.nodes),
        reserved_bytes=job.reserved_bytes,
        create_only=not replace,
    )
    try:
        publish(disk, [one])
        if entry.is_put and one.error is None:
            quarantine.forget(disk, entry.key)
    finally:
        release(disk, job)
    return one


def release(disk: Disk, job: Copy) -> None:
    """The copy is published or given up."""
    disk.partial_bytes -= job.reserved_bytes
    job.reserved_bytes = 0
    disk.discard(job.path)
