"""How the socket file comes to be: modes, stale sockets, sockets that systemd made."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Final

from p2pstore.errors import BadConfig, CacheLocked, CacheUnusable

BACKLOG: Final = 1024
"""Connections that the kernel holds until they are accepted."""
MAX_PATH_BYTES: Final = 107
"""What fits into sockaddr_un beside its final zero (unix(7))."""
_SYSTEMD_FIRST_FD: Final = 3


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket and who may use it; `close` ends both."""

    sock: socket.socket
    path: str
    everybody: bool
    """True: all users of the node (system mode). False: only the agent's own uid and root."""
    inode: tuple[int, int] | None = None
    """Device and inode of the socket file that is ours to remove; None when somebody else made it."""

    def close(self) -> None:
        """Close the socket and remove its file, unless another socket lies there by now."""
        self.sock.close()
        with contextlib.suppress(OSError):
            if self.inode is not None and _inode(self.path) == self.inode:
                os.unlink(self.path)


def listen(path: str, *, everybody: bool) -> Listener:
    """Make the socket: 0600 in a 0700 directory for one user, 0666 in a 0755 one for everybody.

    A socket file that nobody listens on is replaced. Raises CacheLocked when somebody does, BadConfig when the path can't
    be a socket's, CacheUnusable when the directory is not safe or can't be written.
    """
    path = os.path.abspath(path)
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise BadConfig(
            f"the socket path {path} is longer than {MAX_PATH_BYTES} bytes",
            hint="give a shorter one with --socket",
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _locked_directory(os.path.dirname(path), 0o755 if everybody else 0o700):
            _clear(path)
            sock.bind(path)
            # Nobody can connect before `listen`, so the mode is right in time.
            os.chmod(path, 0o666 if everybody else 0o600)
            sock.listen(BACKLOG)
            sock.setblocking(False)
            return Listener(sock, path, everybody, _inode(path))
    except OSError as error:
        sock.close()
        raise CacheUnusable(
            f"can't make the socket {path}: {error.strerror}", hint="give another place with --socket"
        ) from error
    except BaseException:
        sock.close()
        raise


def inherited(environ: MutableMapping[str, str]) -> Listener | None:
    """The listening socket that systemd passed (sd_listen_fds(3)), or None; its variables are taken out of `environ`.

    It is open to everybody when its file is writable for others. Raises BadConfig when more or other than one listening unix
    stream socket was passed.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count:
        return None
    if count != "1":
        raise BadConfig(
            f"systemd passed {count} sockets; p2pstore takes one", hint="see systemctl cat p2pstore.socket"
        )
    sock = socket.socket(fileno=_SYSTEMD_FIRST_FD)
    os.set_inheritable(sock.fileno(), False)
    if (
        sock.family != socket.AF_UNIX
        or sock.type != socket.SOCK_STREAM
        or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        sock.detach()
        raise BadConfig(
            "the socket that systemd passed is not a listening unix stream socket", hint="ListenStream=/PATH"
        )
    sock.setblocking(False)
    path = os.fsdecode(sock.getsockname())
    return Listener(sock, path, bool(os.stat(path).st_mode & stat.S_IWOTH))


@contextlib.contextmanager
def _locked_directory(directory: str, mode: int) -> Iterator[None]:
    """The directory, made when missing, ours alone while inside: two agents that start together don't unlink each other."""
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, mode)
        os.chmod(directory, mode)
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(held)
        others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
        if others_write or found.st_uid not in (0, os.geteuid()):
            raise CacheUnusable(
                f"others could replace a socket in {directory} (owner {found.st_uid}, mode {found.st_mode & 0o7777:o})",
                hint=f"chmod 700 {directory}, or give another place with --socket",
            )
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _clear(path: str) -> None:
    """Remove a socket that nobody listens on."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise BadConfig(f"{path} is there and is no socket", hint="give another place with --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Non-blocking: a listener whose queue is full answers EAGAIN, and lives.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise CacheLocked(f"another agent listens on {path}", hint=f"p2pstore --socket {path} status")


def _inode(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino
