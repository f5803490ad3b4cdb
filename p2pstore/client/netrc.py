"""Credentials from the user's netrc file, read here because the agent must not read users' files."""

from __future__ import annotations

import os
import time
from typing import Final

from p2pstore.errors import BadConfig

_LOOK_AGAIN_S: Final = 1.0


class Netrc:
    """One file as it was last seen; looked at again when a second has passed."""

    def __init__(self) -> None:
        self._path = ""
        self._seen = (0, 0)
        self._hosts: dict[str, tuple[str, str]] = {}
        self._readable_by_others = False
        self._look_at = 0.0

    def credentials(self, url: str) -> dict[str, str] | None:
        """The `auth` argument for the host of an http or https URL, or None.

        The file is the one that `NETRC` names, else `~/.netrc`. Raises BadConfig when it can't be understood, or when others may
        read the password in it that would be used.
        """
        if time.monotonic() >= self._look_at:
            self._look()
        if not self._hosts or not url.startswith(("http://", "https://")):
            return None
        from urllib.parse import urlsplit

        parts = urlsplit(url)
        found = self._hosts.get(parts.hostname or "") or self._hosts.get("default")
        if found is None or parts.username is not None:
            return None
        if self._readable_by_others:
            raise BadConfig(f"others may read the passwords in {self._path}", hint=f"chmod 600 {self._path}")
        return {"user": found[0], "password": found[1]}

    def _look(self) -> None:
        self._look_at = time.monotonic() + _LOOK_AGAIN_S
        path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
        try:
            found = os.stat(path)
        except OSError:
            self._seen, self._hosts = (0, 0), {}
            return
        if self._path == path and self._seen == (found.st_ino, found.st_mtime_ns):
            return
        self._hosts = _read(path)
        self._path, self._seen = path, (found.st_ino, found.st_mtime_ns)
        self._readable_by_others = bool(found.st_mode & 0o077) or found.st_uid not in (0, os.geteuid())


def _read(path: str) -> dict[str, tuple[str, str]]:
    import netrc

    try:
        read = netrc.netrc(path)
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
        raise BadConfig(
            f"can't read {path}: {error}", hint="repair it, or name another with NETRC"
        ) from error
    return {host: (login, password or "") for host, (login, _, password) in read.hosts.items()}
