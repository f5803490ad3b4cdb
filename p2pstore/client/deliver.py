"""From the agent's descriptor to the caller's own file: shared blocks where the file system can, else a copy in the kernel.

The file appears under its name complete, by rename; what was there stays until then. It belongs to the caller: nothing that
happens to it touches the cache, except through a hard link, which is the same file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from p2pstore.errors import (
    AccessDenied,
    BadDigest,
    BadRequest,
    DigestMismatch,
    NodeError,
    NoSpace,
    OriginBroken,
)

LINKS: Final = ("auto", "reflink", "hard", "symlink", "copy")
"""How a file is delivered; `auto` is reflink, else copy."""
COPY_BYTES: Final = 64 << 20
"""Copied in one system call; an interrupt waits for no more than this."""
READ_BYTES: Final = 1 << 20
MAX_LINKS: Final = 40
"""As many as the kernel follows (path_resolution(7))."""
_FICLONE: Final = 0x40049409
"""ioctl_ficlone(2)."""
_CANT: Final = frozenset(
    {
        errno.EOPNOTSUPP,
        errno.ENOTTY,
        errno.EXDEV,
        errno.EINVAL,
        errno.ENOSYS,
        errno.EPERM,
        errno.EBADF,
        errno.ETXTBSY,
    }
)
"""This way does not work between these two files; another may."""


def deliver(fd: int, output: str | os.PathLike[str], *, link: str = "auto", path: str = "") -> str:
    """Make `output` of the complete file behind `fd`; returns the way it was done. `path` is the file's place in the cache.

    Raises BadRequest for an unknown or impossible kind of link, NoSpace, NodeError.
    """
    if link not in LINKS:
        raise BadRequest(f"no kind of link {link!r}", hint=f"use one of {', '.join(LINKS)}")
    target = os.fspath(output)
    if link in ("hard", "symlink"):
        return _link(fd, target, link, path)
    with staged(target) as out:
        return copy(fd, out, link)


def copy(fd: int, out: int, link: str = "auto") -> str:
    """Copy all bytes behind `fd` to `out` from where it stands; returns `reflink` or `copy`. The descriptors stay the caller's."""
    size = os.fstat(fd).st_size
    with translated("the output"):
        if link != "copy" and _cloned(fd, out):
            return "reflink"
        if link == "reflink":
            raise BadRequest(
                "the file system can't share blocks between these two files", hint="use --link auto"
            )
        done = 0
        for way in (_copy_file_range, _sendfile):
            done = _by(way, fd, out, done, size)
        while done < size:
            block = os.pread(fd, READ_BYTES, done)
            if not block:
                break
            _write_all(out, block)
            done += len(block)
        return "copy"


class Pour:
    """Bytes that pass through a pipe because the cache can't keep them: written out, counted, and hashed for the caller."""

    def __init__(self, digests: Iterable[str]) -> None:
        self._expected = dict(_split(text) for text in digests)
        self._hashes = {algorithm: _hasher(algorithm) for algorithm in self._expected}
        self.size_bytes = 0

    def run(self, pipe: int, out: int) -> None:
        """Write everything that comes out of the pipe to `out`, and close the pipe."""
        try:
            with translated("the output"):
                while block := os.read(pipe, READ_BYTES):
                    for one in self._hashes.values():
                        one.update(block)
                    _write_all(out, block)
                    self.size_bytes += len(block)
        finally:
            os.close(pipe)

    def check(self, size_bytes: int, url: str) -> None:
        """Compare with what the agent says at the end and with the caller's digests; raises OriginBroken, DigestMismatch."""
        if self.size_bytes != size_bytes:
            raise OriginBroken(
                f"{url}: {self.size_bytes} bytes came through, {size_bytes} were sent", hint="try again"
            )
        for algorithm, expected in self._expected.items():
            found = self._hashes[algorithm].hexdigest()
            if found != expected:
                raise DigestMismatch(
                    f"{url}: {algorithm} is {found}, expected {expected}",
                    hint="check the digest, or get it with --refresh",
                    algorithm=algorithm,
                    expected=expected,
                    found=found,
                    who="caller",
                )


@contextlib.contextmanager
def staged(target: str) -> Iterator[int]:
    """A descriptor to write to; at the end what was written is `target`, after an error it is gone.

    What is no regular file (a pipe, a terminal, /dev/null) is written to as it is. A link is followed if it is the caller's
    or root's; anybody else's is replaced.
    """
    with translated(target):
        target = _followed(target)
        if _is_special(target):
            out = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
            temporary = ""
        else:
            temporary = _beside(target)
            out = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666
            )
        try:
            try:
                yield out
            finally:
                os.close(out)
            if temporary:
                os.rename(temporary, target)
        except BaseException:
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            raise


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Errors of the system as ours; `what` is the file that can't be written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"no space for {what}: {error.strerror}", hint="make room there, or choose another place"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise AccessDenied(
                f"can't write {what}: {error.strerror}", hint="choose another place"
            ) from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
            raise BadRequest(f"can't write {what}: {error.strerror}", hint="choose another place") from error
        raise NodeError(f"can't write {what}: {error.strerror}") from error


def _link(fd: int, target: str, link: str, path: str) -> str:
    if not path:
        raise BadRequest(f"{target}: this user can't reach the file in the cache", hint="use --link auto")
    with translated(target):
        temporary = _beside(target)
        try:
            if link == "symlink":
                os.symlink(path, temporary)
            else:
                _hard_link(fd, path, temporary)
            os.rename(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    # Renaming one link over another of the same file does nothing and leaves both (rename(2)).
    with contextlib.suppress(OSError):
        os.unlink(temporary)
    return link


def _hard_link(fd: int, path: str, temporary: str) -> None:
    try:
        os.link(path, temporary)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise BadRequest(
                "a hard link can't lead to another file system", hint="use --link auto"
            ) from error
        raise
    if fd >= 0 and not os.path.samestat(os.fstat(fd), os.stat(temporary)):
        raise NodeError("the file in the cache was replaced meanwhile", hint="try again")


def _cloned(fd: int, out: int) -> bool:
    if not stat.S_ISREG(os.fstat(out).st_mode):
        return False
    try:
        fcntl.ioctl(out, _FICLONE, fd)
    except OSError as error:
        if error.errno in _CANT:
            return False
        raise
    return True


def _by(way: Callable[[int, int, int, int], int], fd: int, out: int, done: int, size: int) -> int:
    """Copy in the kernel as far as this way goes; returns how far that is."""
    try:
        while done < size:
            count = way(fd, out, done, min(COPY_BYTES, size - done))
            if not count:
                break
            done += count
    except OSError as error:
        if error.errno not in _CANT:
            raise
    return done


def _copy_file_range(fd: int, out: int, offset: int, count: int) -> int:
    return os.copy_file_range(fd, out, count, offset)


def _sendfile(fd: int, out: int, offset: int, count: int) -> int:
    return os.sendfile(out, fd, offset, count)


def _write_all(out: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(out, view) :]


def _beside(target: str) -> str:
    """A name in the same directory that nobody uses."""
    directory, name = os.path.split(target)
    return os.path.join(directory, f".{name[:80]}.{os.getpid()}-{os.urandom(4).hex()}")


def _followed(target: str) -> str:
    """Where the links at a path lead that the caller or root made: others' may have been put there to have a file overwritten.

    The link is held by a descriptor meanwhile, so that nobody puts another one in its place.
    """
    for _ in range(MAX_LINKS):
        try:
            link = os.open(target, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return target
        try:
            found = os.fstat(link)
            if not stat.S_ISLNK(found.st_mode) or found.st_uid not in (0, os.geteuid()) or _is_stream(target):
                return target
            target = os.path.join(os.path.dirname(target), os.readlink("", dir_fd=link))
        finally:
            os.close(link)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _is_stream(target: str) -> bool:
    """Whether a path leads to what is no file and no directory; /dev/stdout does not say where it leads."""
    try:
        mode = os.stat(target).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _is_special(target: str) -> bool:
    try:
        found = os.lstat(target)
        if stat.S_ISLNK(found.st_mode):
            return found.st_uid in (0, os.geteuid())
        mode = found.st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise BadRequest(f"{target} is a directory", hint="name a file, or use --dir")
    return not stat.S_ISREG(mode)


def _split(digest: str) -> tuple[str, str]:
    algorithm, _, hexadecimal = digest.partition(":" if ":" in digest else "=")
    algorithm = algorithm.strip().lower().replace("sha-", "sha")
    return algorithm, hexadecimal.strip().lower()


def _hasher(algorithm: str) -> Any:
    if algorithm == "blake3":
        from blake3 import blake3

        return blake3()
    if algorithm not in ("sha256", "sha512", "sha1", "md5"):
        raise BadDigest(f"can't compute {algorithm!r} digests", hint="use sha256, sha512, blake3 or md5")
    return hashlib.new(algorithm, usedforsecurity=False)
