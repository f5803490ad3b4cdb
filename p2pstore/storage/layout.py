"""Where everything lies in the cache directory, how it is made, and what is refused.

    FORMAT  LOCK  index.sqlite  pub/XX/  priv/XX/  put/XX/  meta/XX/  part/  tmp/  trash/  quarantine/

An object's file is named by its root, a record by its key; XX are the first two characters of the name. All folders are made
at the beginning and FORMAT last, so that nothing published later needs its folder's folder on the disk.
"""

from __future__ import annotations

import os
import stat
import uuid
from enum import IntEnum
from typing import Final

from p2pstore.errors import CacheUnusable
from p2pstore.types import PUBLIC, Entry, Key, Root, Version

FORMAT_VERSION: Final = 1
FORMAT: Final = "FORMAT"
LOCK: Final = "LOCK"
INDEX: Final = "index.sqlite"
INDEX_ASIDE: Final = "index.sqlite.damaged"
META: Final = "meta"
PART: Final = "part"
TMP: Final = "tmp"
TRASH: Final = "trash"
QUARANTINE: Final = "quarantine"
GENERATION: Final = "GENERATION"
GENERATION_SPARE: Final = "GENERATION.next"

_WORD: Final = "p2pstore-cache"
_FANNED: Final = {"pub": 0o711, "priv": 0o700, "put": 0o700, META: 0o700}
_SINGLE: Final = (PART, TMP, TRASH, QUARANTINE)
_OURS: Final = frozenset({FORMAT, LOCK, "FORMAT.new", GENERATION, GENERATION_SPARE, *_FANNED, *_SINGLE})
FAN_OUT: Final = tuple(f"{number:02x}" for number in range(256))


class Area(IntEnum):
    """Who may see an object's file and how long it must last; the numbers are in the index."""

    PUB = 0
    PRIV = 1
    PUT = 2


AREA_NAMES: Final = ("pub", "priv", "put")


def area_of(entry: Entry) -> Area:
    """The area in which the entry's object lies."""
    if entry.is_put:
        return Area.PUT
    return Area.PUB if entry.scope == PUBLIC else Area.PRIV


def object_mode(area: Area) -> int:
    """The mode of an object's file: nobody writes it, and only public ones are read by path."""
    return 0o444 if area is Area.PUB else 0o400


def object_path(area: Area, root: Root) -> str:
    """The file of an object."""
    return f"{AREA_NAMES[area]}/{root[:2]}/{root}"


def manifest_path(area: Area, root: Root) -> str:
    """The digests of an object's pieces, when it has more than one."""
    return f"{AREA_NAMES[area]}/{root[:2]}/{root}.m"


def record_path(area: Area, key: Key, ver: Version | None = None) -> str:
    """The record of a key, or that of a superseded version; those of stored results lie beside their bytes."""
    name = key if ver is None else f"{key}.{ver}"
    return f"put/{key[:2]}/{name}.r" if area is Area.PUT else f"{META}/{key[:2]}/{name}"


def partial_name(key: Key, ver: Version) -> str:
    """The folder of an unfinished object below `part/`."""
    return f"{key}.{ver}"


def refuse_foreign_path(directory: str, uid: int) -> None:
    """Check every folder on the way to the cache: somebody else who may rename one of them could put his own in its place.

    A link is followed when root or we made it. Raises CacheUnusable.
    """
    at, rest = "/", [part for part in os.path.abspath(directory).split("/") if part]
    links = 0
    while rest:
        _check_owner(at, os.lstat(at), uid)
        step = os.path.join(at, rest.pop(0))
        try:
            found = os.lstat(step)
        except FileNotFoundError:
            return
        if not stat.S_ISLNK(found.st_mode):
            at = step
            continue
        links += 1
        if found.st_uid not in (0, uid) or links > 40:
            raise CacheUnusable(
                f"{step} is a link that uid {found.st_uid} made", hint="choose another --cache-dir"
            )
        target = os.readlink(step)
        rest = [part for part in target.split("/") if part] + rest
        at = "/" if target.startswith("/") else at


def _check_owner(path: str, found: os.stat_result, uid: int) -> None:
    sticky = found.st_mode & stat.S_ISVTX
    if found.st_uid not in (0, uid):
        raise CacheUnusable(f"{path} belongs to uid {found.st_uid}", hint="choose another --cache-dir")
    if found.st_mode & 0o022 and not sticky:
        raise CacheUnusable(f"others may write to {path}", hint=f"chmod go-w {path}")


def open_directory(directory: str, uid: int) -> int:
    """Make the cache directory if it is missing and open it; raises CacheUnusable when it is not ours alone."""
    refuse_foreign_path(directory, uid)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(directory)), mode=0o700, exist_ok=True)
        made = not os.path.isdir(directory)
        if made:
            os.mkdir(directory, 0o711)
        # The last component may be our own link, checked above; what it leads to is checked by descriptor.
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if made:
            os.fchmod(fd, 0o711)
    except OSError as error:
        raise CacheUnusable(
            f"can't use {directory}: {error.strerror}", hint="choose another --cache-dir"
        ) from error
    try:
        _check_ours(directory, os.fstat(fd), uid)
    except CacheUnusable:
        os.close(fd)
        raise
    return fd


def _check_ours(path: str, found: os.stat_result, uid: int) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise CacheUnusable(f"{path} is no directory", hint="choose another --cache-dir")
    if found.st_uid != uid:
        raise CacheUnusable(
            f"{path} belongs to uid {found.st_uid}, not to {uid}", hint="choose another --cache-dir"
        )
    if found.st_mode & 0o022:
        raise CacheUnusable(f"others may write to {path}", hint=f"chmod go-w {path}")


def read_format(root_fd: int) -> str | None:
    """The cache's uuid, or None when nothing was ever finished here; raises CacheUnusable for any other format.

    Writes nothing, so that a newer program's cache stays as it is.
    """
    try:
        fd = os.open(FORMAT, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root_fd)
    except FileNotFoundError:
        foreign = [name for name in os.listdir(root_fd) if name not in _OURS and not name.startswith(INDEX)]
        if foreign:
            raise CacheUnusable(
                f"the directory is no cache and holds other files, {sorted(foreign)[0]!r} for one",
                hint="name an empty directory with --cache-dir",
            ) from None
        return None
    try:
        words = os.read(fd, 200).decode("ascii", "replace").split()
    finally:
        os.close(fd)
    if len(words) != 3 or words[0] != _WORD or not words[1].isdecimal():
        raise CacheUnusable(f"{FORMAT} can't be read: {' '.join(words)!r}", hint="choose another --cache-dir")
    if int(words[1]) != FORMAT_VERSION:
        raise CacheUnusable(
            f"the cache has format {words[1]}; this program knows format {FORMAT_VERSION}",
            hint="use the newer p2pstore, or another --cache-dir",
        )
    return words[2]


def make_tree(root_fd: int, uid: int) -> None:
    """Make the folders that are missing and check those that are there; raises CacheUnusable when one is not ours alone."""
    for name, mode in _FANNED.items():
        _make_folder(root_fd, name, mode, uid)
        for part in FAN_OUT:
            _make_folder(root_fd, f"{name}/{part}", mode, uid)
    for name in _SINGLE:
        _make_folder(root_fd, name, 0o700, uid)


def _make_folder(root_fd: int, path: str, mode: int, uid: int) -> None:
    try:
        found = os.lstat(path, dir_fd=root_fd)
    except FileNotFoundError:
        os.mkdir(path, mode, dir_fd=root_fd)
        # The umask took bits away; a folder of our own that was there before keeps its mode.
        os.chmod(path, mode, dir_fd=root_fd)
        return
    _check_ours(path, found, uid)


def write_format(root_fd: int) -> str:
    """Finish a new cache: all its folders are on the disk, then FORMAT; returns the new uuid."""
    for name in (*_FANNED, "."):
        _sync(root_fd, name)
    name = str(uuid.uuid4())
    temporary = f"{FORMAT}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o644, dir_fd=root_fd)
    try:
        os.write(fd, f"{_WORD} {FORMAT_VERSION} {name}\n".encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, FORMAT, src_dir_fd=root_fd, dst_dir_fd=root_fd)
    _sync(root_fd, ".")
    return name


def _sync(root_fd: int, path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root_fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
