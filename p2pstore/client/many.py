"""Many files over one connection, some at a time, in the order in which they are there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from p2pstore.client import wishes
from p2pstore.client.channel import GRACE_S, WAIT_S, Channel
from p2pstore.client.delivery import Delivery
from p2pstore.client.got import Got
from p2pstore.client.wishes import Output, Wish
from p2pstore.errors import P2PStoreError, from_wire
from p2pstore.wire.messages import DONE, EVENT, FAILED


@dataclass(slots=True, eq=False)
class _Asked:
    url: str
    delivery: Delivery | None
    error: P2PStoreError | None = None
    """What failed on this side while the agent was still at it."""

    def on_event(self, event: dict[str, object], fd: int) -> None:
        try:
            if self.delivery is not None and self.error is None:
                self.delivery.on_event(event, fd)
            elif fd >= 0:
                os.close(fd)
        except P2PStoreError as error:
            self.error = error

    def ended(self, got: Got) -> Got | P2PStoreError:
        if self.delivery is None:
            return got
        try:
            with self.delivery as delivery:
                if self.error is not None:
                    got.close()
                    raise self.error
                return delivery.finish(got)
        except P2PStoreError as error:
            return self.failed(error)

    def failed(self, error: P2PStoreError) -> P2PStoreError:
        error = self.error or error
        if self.delivery is not None:
            self.delivery.abandon()
        error.details["url"] = self.url
        return error


def get_many(
    channel: Channel,
    urls: Iterable[str],
    jobs: int,
    output: Callable[[str], Output] | None,
    link: str,
    wish: Wish,
) -> Iterator[Got | P2PStoreError]:
    """Keep `jobs` requests in flight; each URL ends in a Got or in its error. The channel is used up."""
    timeout_s = wish.get("timeout_s")
    limit_s = WAIT_S if timeout_s is None else timeout_s + GRACE_S
    asked: dict[int, _Asked] = {}
    left = iter(urls)
    exhausted = False
    try:
        while True:
            while not exhausted and len(asked) < max(jobs, 1):
                url = next(left, None)
                if url is None:
                    exhausted = True
                    break
                one = _Asked(url, None)
                try:
                    asked[_send(channel, one, output, link, wish)] = one
                except P2PStoreError as error:
                    if channel.closed:
                        raise
                    yield one.failed(error)
            if not asked:
                return
            end = _next_end(channel, asked, limit_s)
            if end is not None:
                yield end
    finally:
        for one in asked.values():
            one.failed(P2PStoreError("given up"))


def _next_end(channel: Channel, asked: dict[int, _Asked], limit_s: float) -> Got | P2PStoreError | None:
    """Take one frame; what it ended, if it ended one."""
    request_id, code, body, fd = channel.receive(limit_s)
    known = asked.get(request_id)
    if known is not None and code == EVENT:
        known.on_event(body, fd)
    elif known is not None and code in (DONE, FAILED):
        del asked[request_id]
        return known.ended(Got(body, fd, known.url)) if code == DONE else known.failed(from_wire(body))
    elif fd >= 0:
        os.close(fd)
    return None


def _send(
    channel: Channel, one: _Asked, output: Callable[[str], Output] | None, link: str, wish: Wish
) -> int:
    args = wishes.arguments(one.url, wish)
    if output is not None:
        one.delivery = Delivery(one.url, output(one.url), link, args)
    fd = wishes.open_local(one.url)
    if fd >= 0:
        args["fd"] = True
    try:
        return channel.send("get", args, fd)
    finally:
        if fd >= 0:
            os.close(fd)
