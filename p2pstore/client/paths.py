"""Where the agent's socket is when nobody says."""

from __future__ import annotations

import os
import stat
from typing import Final

from p2pstore.errors import AgentUnreachable

SYSTEM_SOCKET: Final = "/run/p2pstore/agent.sock"
"""Where an agent for the whole node listens."""
VARIABLE: Final = "P2PSTORE_SOCKET"


def own_socket() -> str:
    """Where this user's own agent listens: root's is the node's; others have theirs in their runtime directory."""
    uid = os.geteuid()
    if uid == 0:
        return SYSTEM_SOCKET
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return f"{runtime}/p2pstore/agent.sock" if runtime else f"/tmp/p2pstore-{uid}/agent.sock"


def find_socket() -> str:
    """The socket to ask: the one that `P2PSTORE_SOCKET` names, else this user's own, else the node's.

    Raises AgentUnreachable when the own one lies in a directory that somebody else made: in /tmp anybody can.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return named
    own = own_socket()
    try:
        found = os.lstat(os.path.dirname(own))
    except OSError:
        return SYSTEM_SOCKET if os.path.exists(SYSTEM_SOCKET) else own
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, os.geteuid()):
        raise AgentUnreachable(
            f"{os.path.dirname(own)} is not yours: whoever listens there is not trusted",
            hint="remove it, or name a socket with --socket",
        )
    return own if os.path.exists(own) or not os.path.exists(SYSTEM_SOCKET) else SYSTEM_SOCKET
