"""Accepts connections on the job socket, knows who they are, and bounds how many there are."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from p2pstore import __version__
from p2pstore.agent.session import Push, Reply, Session
from p2pstore.api.jobs.accounts import Account
from p2pstore.api.jobs.connection import Connection
from p2pstore.api.jobs.door import Door
from p2pstore.api.jobs.identity import caller_of
from p2pstore.api.jobs.listening import Listener
from p2pstore.api.jobs.verbs import JobAgent, Verbs
from p2pstore.config import JobsConfig
from p2pstore.errors import AccessDenied, Overloaded, P2PStoreError
from p2pstore.types import Caller
from p2pstore.wire.frames import encode
from p2pstore.wire.messages import FAILED, greeting

logger = logging.getLogger(__name__)

ACCEPTS_PER_WAKE: Final = 64
"""Connections accepted before others have their turn."""
ACCEPT_PAUSE_S: Final = 0.25
"""Pause when the process is out of descriptors or memory."""
CLOSE_TIMEOUT_S: Final = 5.0
"""Time for requests to end when the server closes."""
_OUT_OF: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class JobServer:
    """The job socket of one agent; `start` and `aclose` run on the loop that serves it."""

    def __init__(
        self,
        agent: JobAgent,
        config: JobsConfig,
        listener: Listener,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._listener, self._clock = config, listener, clock
        self._verbs = Verbs(agent)
        self._agent_status = self._verbs.slow["status"]
        self._verbs.slow["status"] = self._status
        self._connections: set[Connection] = set()
        self._accounts: dict[int, Account] = {}
        self._door: Door | None = None
        self._resume: asyncio.TimerHandle | None = None
        self.idle_since: float | None = clock()
        """Since when (monotonic) nobody has been connected; None while somebody is."""

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    async def start(self) -> None:
        """Begin to accept."""
        self._door = Door(
            loop=asyncio.get_running_loop(),
            verbs=self._verbs,
            max_requests=self._config.max_requests,
            greeting=greeting(__version__, os.getpid(), os.geteuid()),
            gone=self._gone,
        )
        self._door.loop.add_reader(self._listener.sock, self._accept)

    async def aclose(self) -> None:
        """Stop accepting, close every connection, wait for their requests to end."""
        door, self._door = self._door, None
        if door is None:
            return
        door.loop.remove_reader(self._listener.sock)
        if self._resume is not None:
            self._resume.cancel()
        self._listener.close()
        tasks = [task for connection in self._connections for task in connection.tasks.values()]
        for connection in list(self._connections):
            connection.close()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_WAKE):
            try:
                sock, _address = self._listener.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF:
                    raise
                self._pause(error)
                return
            sock.setblocking(False)
            self._welcome(sock)

    def _pause(self, error: OSError) -> None:
        """Leave the rest in the kernel's queue for a while; the socket would wake the loop without end."""
        assert self._door is not None
        logger.warning("can't accept connections for now: %s connections=%d", error, len(self._connections))
        self._door.loop.remove_reader(self._listener.sock)
        self._resume = self._door.loop.call_later(
            ACCEPT_PAUSE_S, self._door.loop.add_reader, self._listener.sock, self._accept
        )

    def _welcome(self, sock: socket.socket) -> None:
        assert self._door is not None
        try:
            caller = caller_of(sock)
            account = self._admit(caller)
        except OSError:
            sock.close()
            return
        except P2PStoreError as error:
            logger.info("connection refused uid=%d pid=%d why=%s", caller.uid, caller.pid, error)
            with contextlib.suppress(OSError):
                sock.send(encode([0, FAILED, error.to_wire()]))
            sock.close()
            return
        account.connections += 1
        self.idle_since = None
        connection = Connection(self._door, sock, caller, account)
        self._connections.add(connection)
        connection.start()

    def _admit(self, caller: Caller) -> Account:
        """The account of a caller that may connect; raises AccessDenied, Overloaded."""
        if not self._listener.everybody and caller.uid not in (0, os.geteuid()):
            raise AccessDenied(
                f"this agent serves uid {os.geteuid()} only, not uid {caller.uid}",
                hint="start your own with: p2pstore agent",
            )
        most, each = self._config.max_connections, self._config.max_connections_per_uid
        if len(self._connections) >= most:
            raise Overloaded(
                f"{most} connections are open", hint="raise [jobs] max_connections, or close what is not used"
            )
        account = self._accounts.get(caller.uid)
        if account is None:
            account = self._accounts[caller.uid] = Account(caller.uid)
        if account.connections >= each:
            raise Overloaded(
                f"uid {caller.uid} has {each} connections open",
                hint="raise [jobs] max_connections_per_uid, or close what is not used",
            )
        return account

    def _gone(self, connection: Connection) -> None:
        self._connections.discard(connection)
        account = connection.account
        account.connections -= 1
        # Its last requests may still be ending; they hold the account themselves.
        if not account.connections and not account.held_bytes:
            self._accounts.pop(account.uid, None)
        if not self._connections:
            self.idle_since = self._clock()

    async def _status(self, session: Session, args: dict[str, Any], push: Push, fd: int) -> Reply:
        reply = await self._agent_status(session, args, push, fd)
        body = reply.body
        if isinstance(body, dict):
            body = {**body, "connections": len(self._connections), "socket": self._listener.path}
        return Reply(body, reply.fd)
