"""Which verb is which method of the agent, and what this door asks of an agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, Protocol, TypeAlias

from p2pstore.agent.session import Push, Reply, Session
from p2pstore.errors import BadRequest
from p2pstore.types import Caller
from p2pstore.wire.messages import check_arguments

Verb: TypeAlias = Callable[[Session, dict[str, Any], Push, int], Awaitable[Reply]]
"""A request that takes its time; the descriptor, or -1, becomes the verb's."""
HotVerb: TypeAlias = Callable[[Session, dict[str, Any]], Reply | None]
"""A request answered at once, or None: take the long way."""


class Readers(Protocol):
    """Whoever keeps the files that connections have open."""

    def forget(self, session: Session) -> None:
        """The connection is gone."""


class JobAgent(Protocol):
    """What the door calls; `p2pstore.agent.agent.Agent` is one."""

    @property
    def readers(self) -> Readers: ...
    @property
    def try_get(self) -> HotVerb: ...
    @property
    def try_stat(self) -> HotVerb: ...
    @property
    def open(self) -> Verb: ...
    @property
    def ready(self) -> Verb: ...
    @property
    def close(self) -> Verb: ...
    @property
    def prefetch(self) -> Verb: ...
    @property
    def wait(self) -> Verb: ...
    @property
    def cancel_url(self) -> Verb: ...
    @property
    def stat(self) -> Verb: ...
    @property
    def ls(self) -> Verb: ...
    @property
    def rm(self) -> Verb: ...
    @property
    def put(self) -> Verb: ...
    @property
    def check(self) -> Verb: ...
    @property
    def status(self) -> Verb: ...
    @property
    def show_config(self) -> Verb: ...
    @property
    def subscribe(
        self,
    ) -> Callable[[Collection[str], Caller, Callable[[dict[str, Any]], None]], Callable[[], None]]: ...

    async def get(self, session: Session, args: dict[str, Any], push: Push, fd: int = -1) -> Reply:
        """The file of a URL."""


class Verbs:
    """The agent's methods by verb."""

    def __init__(self, agent: JobAgent) -> None:
        self.forget = agent.readers.forget
        self.subscribe = agent.subscribe
        self.hot: Final[dict[str, HotVerb]] = {"get": agent.try_get, "stat": agent.try_stat}
        self.slow: Final[dict[str, Verb]] = {
            "get": agent.get,
            "open": agent.open,
            "ready": agent.ready,
            "close": agent.close,
            "prefetch": agent.prefetch,
            "wait": agent.wait,
            "cancel": agent.cancel_url,
            "stat": agent.stat,
            "ls": agent.ls,
            "rm": agent.rm,
            "put": agent.put,
            "check": agent.check,
            "status": agent.status,
            "config": agent.show_config,
        }


def checked(verb: str, args: dict[str, Any], fd: int) -> None:
    """Raises BadRequest unless the arguments can be meant and a descriptor came where one is needed."""
    check_arguments(verb, args)
    if verb == "put" and fd < 0:
        raise BadRequest("put needs a descriptor of the file, announced by 'fd': true")
