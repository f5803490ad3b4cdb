"""The blocking client: one connection a thread, made when first needed, made anew after a fork or a restart of the agent."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Unpack

from p2pstore.client import wishes
from p2pstore.client.channel import Channel, ConnectionLost, OnEvent, unpacked
from p2pstore.client.got import Got
from p2pstore.client.opening import Idle
from p2pstore.client.paths import find_socket
from p2pstore.client.wishes import Outcome, Output, Progress, Wish
from p2pstore.errors import AgentUnreachable, DeadlineExceeded, P2PStoreError

if TYPE_CHECKING:
    from pathlib import Path

SHORT_TIMEOUT_S: Final = 60.0
"""For requests that wait for nobody: stat, ls, rm, status."""
PATIENCE_S: Final = 5.0
"""An agent that went away in the middle of a harmless request has this long to come back: restarts are routine."""
HARMLESS: Final = frozenset({"get", "stat", "ls", "wait", "prefetch", "status", "config"})
RETRY_WAIT_S: Final = 0.1
MAX_JOBS: Final = 64
"""Requests at once in `get_many`: as many descriptors as an agent sends before they are read."""


class Client:
    """Asks the agent on this node. Threads and forked children may use the same one; each has connections of its own.

    `socket` is the path of the agent's socket; left out, it is looked for as `find_socket` says. All methods raise the errors of
    p2pstore.errors: the agent's own, and AgentUnreachable when there is none.
    """

    def __init__(self, socket: Output | None = None) -> None:
        self._socket = None if socket is None else os.fspath(socket)
        self._local = threading.local()
        self._idle = Idle()
        self._all: weakref.WeakSet[Channel] = weakref.WeakSet()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._socket or 'of the agent that is found'}>"

    def close(self) -> None:
        """Close all connections, of all threads; the next request makes a new one."""
        for channel in list(self._all):
            channel.close()

    # Getting

    def get(
        self,
        url: str,
        *,
        output: Output | None = None,
        link: str = "auto",
        progress: Progress | None = None,
        **wish: Unpack[Wish],
    ) -> Path:
        """The path of the complete, verified file: `output` when given, else its place in the cache.

        `output` is the caller's own file, delivered as `link` says (p2pstore.client.deliver.LINKS). A place in the cache stays for
        ten minutes at least; never write there. `wish` takes the names of `Wish`.
        """
        from pathlib import Path

        if output is not None:
            with self.fetch(url, output=output, link=link, progress=progress, **wish) as got:
                return Path(got.output)
        args = wishes.arguments(url, wish)
        args["want"] = "path"
        with self._got(url, args, wish, progress) as got:
            return Path(wishes.must_be_local(got.path, url))

    def fetch(
        self,
        url: str,
        *,
        output: Output | int | None = None,
        link: str = "auto",
        progress: Progress | None = None,
        **wish: Unpack[Wish],
    ) -> Got:
        """The complete, verified file by descriptor, with everything that is known of it; the caller closes it.

        With `output`, a path or a descriptor to write to, the file is delivered there too, even when the cache can't hold it.
        """
        if output is None:
            args = wishes.arguments(url, wish)
            if progress is None and not wish and not url.startswith("file:"):
                # What jobs do all day.
                body, fd = self._request("get", args, None)
                return Got(body, fd, url)
            return self._got(url, args, wish, progress)
        from p2pstore.client.delivery import Delivery

        args = wishes.arguments(url, wish)
        with Delivery(url, output, link, args, progress) as delivery:
            return delivery.finish(self._got(url, args, wish, progress, delivery.on_event))

    def get_many(
        self,
        urls: Iterable[str],
        jobs: int = 16,
        *,
        output: Callable[[str], Output] | None = None,
        link: str = "auto",
        **wish: Unpack[Wish],
    ) -> Generator[Got | P2PStoreError, None, None]:
        """The files of many URLs over one connection, `jobs` at a time, in the order in which they are there.

        A URL that failed gives its error, whose `details["url"]` is the URL as it was asked for, like `Got.asked`. `output`
        says for each URL where to deliver it. The caller closes each Got.
        """
        from p2pstore.client.many import get_many

        channel = self._connect()
        try:
            yield from get_many(channel, urls, min(jobs, MAX_JOBS), output, link, wish)
        finally:
            channel.close()

    def open(self, url: str, **wish: Unpack[Wish]) -> BinaryIO:
        """A file object, seekable, that can be read while the file downloads: a read waits for its own bytes only.

        With a digest it is given when the file is complete and agrees, because bytes are not handed out before.
        """
        from p2pstore.client.opening import open_url

        return open_url(self._idle, self._connect, url, wishes.arguments(url, wish), wish.get("timeout_s"))

    # Storing

    def put(
        self, name: str, source: Output | int, *, replace: bool = False, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Store a file under a name; when this returns it is on disk to stay. `source` is a path or a descriptor.

        Raises NameTaken when the name is in use and `replace` was not asked for.
        """
        fd = wishes.source_fd(source)
        try:
            return self._ask("put", wishes.storing(name, replace), timeout_s, fd=fd)
        finally:
            os.close(fd)

    # Staging

    def prefetch(self, urls: str | Iterable[str], **wish: Unpack[Wish]) -> dict[str, int]:
        """Begin to bring URLs and return at once: how many were `accepted`, how many were `cached` already."""
        args = wishes.arguments(None, wish)
        total = {"accepted": 0, "cached": 0}
        for batch in wishes.batches([urls] if isinstance(urls, str) else urls):
            result = self._ask("prefetch", {**args, "urls": batch}, SHORT_TIMEOUT_S)
            for name in total:
                total[name] += int(result[name])
        return total

    def wait(
        self, urls: str | Iterable[str], *, progress: Progress | None = None, **wish: Unpack[Wish]
    ) -> list[Outcome]:
        """Wait until each URL that is being brought is there or failed; each has its own outcome."""
        args = wishes.arguments(None, wish)
        if progress is not None:
            args["progress"] = True
        timeout_s = wish.get("timeout_s")
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        ended: list[Outcome] = []
        for batch in wishes.batches([urls] if isinstance(urls, str) else urls):
            if give_up_at is not None:
                timeout_s = args["deadline_s"] = max(give_up_at - time.monotonic(), 0.001)
            ended += wishes.outcomes(
                self._ask("wait", {**args, "urls": batch}, timeout_s, wishes.told(progress))
            )
        return ended

    def cancel(self, url: str, **wish: Unpack[Wish]) -> bool:
        """Take back a prefetch of this user; whether there was one."""
        return bool(self._ask("cancel", wishes.arguments(url, wish), SHORT_TIMEOUT_S)["cancelled"])

    def events(
        self, kinds: Iterable[str] = (), *, timeout_s: float | None = None
    ) -> Generator[dict[str, Any], None, None]:
        """What happens in the agent, as it happens: maps with `event`, `url`, `key`, `at`; all kinds when none are named.

        Ends by closing the iterator. Raises DeadlineExceeded when nothing happened for `timeout_s`.
        """
        channel = self._connect()
        try:
            number = channel.send("events", {"kinds": list(kinds)})
            while True:
                try:
                    event = channel.event_of(number, timeout_s)
                except DeadlineExceeded:
                    raise DeadlineExceeded(
                        f"nothing happened in the agent on {channel.path} for {timeout_s} s",
                        hint="wait longer",
                    ) from None
                yield event
        finally:
            channel.close()

    # Looking and tidying

    def stat(self, url: str, *, ver: str | None = None, **wish: Unpack[Wish]) -> dict[str, Any]:
        """What is known of a URL or of `put:NAME`, without asking the origin."""
        return self._ask("stat", wishes.looking(url, ver, wish), SHORT_TIMEOUT_S)

    def ls(
        self,
        prefix: str = "",
        *,
        sort: str = "url",
        descending: bool = False,
        versions: bool = False,
        limit: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The entries that this user may see, page by page, `limit` at most."""
        args: dict[str, Any] = {
            "prefix": prefix,
            "sort": sort,
            "descending": descending,
            "versions": versions,
        }
        left = limit
        while left is None or left > 0:
            args["limit"] = wishes.PAGE if left is None else min(left, wishes.PAGE)
            page = self._ask("ls", args, SHORT_TIMEOUT_S)
            yield from page["entries"]
            if page["next"] is None:
                return
            args["after"] = page["next"]
            left = None if left is None else left - len(page["entries"])

    def rm(
        self,
        url: str | None = None,
        *,
        prefix: str | None = None,
        versions: bool = False,
        **wish: Unpack[Wish],
    ) -> dict[str, int]:
        """Remove a URL, `put:NAME` or everything that begins with `prefix`: {removed, bytes}."""
        return self._ask("rm", wishes.removal(url, prefix, versions, wish), None)

    def check(
        self, *, subset: float | None = None, prefix: str = "", on_checked: Progress | None = None
    ) -> dict[str, Any]:
        """Read entries again and compare them with their names; damaged ones are set aside: {checked, bad, bytes, unreadable}."""
        args: dict[str, Any] = {"prefix": prefix}
        if subset is not None:
            args["subset"] = subset
        return self._ask("check", args, None, wishes.told(on_checked))

    def status(self) -> dict[str, Any]:
        """The agent's version, usage, counters."""
        return self._ask("status", {}, SHORT_TIMEOUT_S)

    def config(self) -> dict[str, Any]:
        """The configuration in force."""
        config: dict[str, Any] = self._ask("config", {}, SHORT_TIMEOUT_S)["config"]
        return config

    # Connections

    def _connect(self) -> Channel:
        channel = Channel(self._socket if self._socket is not None else find_socket())
        self._all.add(channel)
        return channel

    def _channel(self) -> Channel:
        """This thread's connection; a fork closes its parent's, so that it finds none."""
        channel: Channel | None = getattr(self._local, "channel", None)
        if channel is None or channel.closed:
            channel = self._local.channel = self._connect()
        return channel

    def _request(
        self,
        verb: str,
        args: dict[str, Any],
        timeout_s: float | None,
        on_event: OnEvent | None = None,
        fd: int = -1,
    ) -> tuple[dict[str, Any] | bytes, int]:
        """Ask on this thread's connection; on a new one when the agent was restarted since."""
        channel: Channel | None = getattr(self._local, "channel", None)
        if channel is None or channel.closed:
            channel = self._channel()
        started_at = 0.0 if timeout_s is None else time.monotonic()
        try:
            return channel.request(verb, args, fd, timeout_s, on_event)
        except ConnectionLost as lost:
            if lost.sent and verb not in HARMLESS:
                raise
        patience_s = PATIENCE_S if timeout_s is None else min(PATIENCE_S, timeout_s)
        give_up_at = time.monotonic() + patience_s
        while True:
            if timeout_s is not None and "deadline_s" in args:
                args = {**args, "deadline_s": max(started_at + timeout_s - time.monotonic(), 0.001)}
            try:
                return self._channel().request(verb, args, fd, timeout_s, on_event)
            except AgentUnreachable:
                if time.monotonic() >= give_up_at:
                    raise
            time.sleep(RETRY_WAIT_S)

    def _got(
        self,
        url: str,
        args: dict[str, Any],
        wish: Wish,
        progress: Progress | None,
        on_event: OnEvent | None = None,
    ) -> Got:
        fd = wishes.open_local(url)
        if fd >= 0:
            args["fd"] = True
        if progress is not None:
            args["progress"] = True
            on_event = on_event or wishes.told(progress)
        try:
            body, descriptor = self._request("get", args, wish.get("timeout_s"), on_event, fd)
        finally:
            if fd >= 0:
                os.close(fd)
        return Got(body, descriptor, url)

    def _ask(
        self,
        verb: str,
        args: dict[str, Any],
        timeout_s: float | None,
        on_event: OnEvent | None = None,
        fd: int = -1,
    ) -> dict[str, Any]:
        body, descriptor = self._request(verb, args, timeout_s, on_event, fd)
        if descriptor >= 0:
            os.close(descriptor)
        return unpacked(body)
