"""Who is at the other end of a unix connection, as the kernel says."""

from __future__ import annotations

import socket
import struct
from typing import Final

from p2pstore.types import Caller

_CREDENTIALS: Final = struct.Struct("iII")
_SO_PEERGROUPS: Final = 59
"""Linux 4.13 and later; the socket module has no name for it."""
_GROUPS_BYTES: Final = 1024
"""As much as Python's getsockopt takes: 256 groups."""


def caller_of(sock: socket.socket) -> Caller:
    """The principal that connected, fixed at connect time; raises OSError when the connection is gone already.

    Somebody with more than 256 supplementary groups counts as having none: fewer rights, never more.
    """
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    try:
        packed = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:
        packed = b""
    return Caller(uid=uid, gid=gid, pid=pid, groups=struct.unpack(f"{len(packed) // 4}I", packed))
