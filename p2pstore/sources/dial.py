"""The gate's hook: every connection to an origin, whichever way it goes, gets its socket here and only after the gate's yes.

The gate sees the address that will be connected to, after name resolution, so neither a spelling of an address nor a name that
resolves differently the second time gets around it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from p2pstore.errors import GateRefused, OriginError, OriginUnreachable
from p2pstore.trust.gate import GateRules, Hop, judge_address

AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]
"""As getaddrinfo gives it."""
MAX_ADDRESSES: Final = 16
"""Of one name, that are tried."""


@dataclass(frozen=True, slots=True)
class Route:
    """To whom a connection goes and by whose wish; kept connections are only used again for an equal route."""

    host: str
    port: int
    own_uid: bool
    redirected: bool


@dataclass(slots=True)
class Attempt:
    """One try to connect: what the gate refused on the way."""

    route: Route
    refused: list[tuple[str, str]] = field(default_factory=list)
    allowed: int = 0


class _Refused(OSError):
    """The gate's no, in a shape that lets the next address be tried."""


_attempt: ContextVar[Attempt] = ContextVar("attempt")


class Dialer:
    """Sockets for routes, judged by the gate's rules."""

    def __init__(self, rules: GateRules) -> None:
        self._rules = rules

    def judged_socket(self, attempt: Attempt, info: AddressInfo) -> socket.socket:
        """A non-blocking socket for an address; raises an OSError that `attempt` remembers when the gate refuses it."""
        route, address = attempt.route, str(info[4][0])
        hop = Hop(route.host, address, route.port, route.own_uid, route.redirected)
        why = judge_address(hop, self._rules)
        if why is not None:
            attempt.refused.append((address, why))
            raise _Refused(f"the gate refuses {address}")
        attempt.allowed += 1
        made = socket.socket(info[0], info[1], info[2])
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def socket_factory(self, info: AddressInfo) -> socket.socket:
        """The same for a connector that knows only the address: the attempt is that of the running context."""
        return self.judged_socket(_attempt.get(), info)

    def begin(self, route: Route) -> Attempt:
        """Make a new attempt the running context's, for `socket_factory`."""
        attempt = Attempt(route)
        _attempt.set(attempt)
        return attempt

    async def connect(self, route: Route, timeout_s: float) -> socket.socket:
        """A connected socket; raises GateRefused or OriginUnreachable. Addresses share the time."""
        attempt = Attempt(route)
        last: Exception = OSError("the name has no address")
        try:
            async with asyncio.timeout(timeout_s):
                infos = (await _addresses(route.host, route.port))[:MAX_ADDRESSES]
                for left, info in zip(range(len(infos), 0, -1), infos, strict=True):
                    try:
                        return await self._connect(attempt, info, timeout_s / left if left > 1 else None)
                    except OSError as exc:  # a TimeoutError of one address is one too
                        last = exc
        except TimeoutError as exc:
            last = exc
        except OSError as exc:  # name resolution
            last = exc
        raise unreachable(attempt, last, timeout_s) from last

    async def _connect(self, attempt: Attempt, info: AddressInfo, timeout_s: float | None) -> socket.socket:
        made = self.judged_socket(attempt, info)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_connect(made, info[4])
        except BaseException:
            made.close()
            raise
        return made


def _way_out(address: str, why: str) -> str:
    if "never" in why:
        return "no setting allows it"
    return f'the operator can allow it with [origin] allow = ["{address}"] (--origin-allow {address})'


def unreachable(attempt: Attempt, exc: BaseException, timeout_s: float) -> OriginError | GateRefused:
    """Why there is no connection, as one of our errors."""
    route = attempt.route
    if attempt.refused and not attempt.allowed:
        address, why = attempt.refused[0]
        return GateRefused(
            f"the gate refuses {route.host} ({address}): {why}",
            hint=_way_out(address, why),
            host=route.host,
            address=address,
            config="origin.allow",
        )
    where = f"{route.host}:{route.port}"
    if isinstance(exc, TimeoutError):
        return OriginUnreachable(f"no connection to {where} within {timeout_s:g} s", host=route.host)
    why = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    return OriginUnreachable(f"no connection to {where}: {why}", host=route.host)


async def _addresses(host: str, port: int) -> list[AddressInfo]:
    try:
        literal = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        return [(int(info[0]), int(info[1]), info[2], info[3], tuple(info[4])) for info in found]
    if literal.version == 6:
        return [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(literal), port, 0, 0))]
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(literal), port))]
