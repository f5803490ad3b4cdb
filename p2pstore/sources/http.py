"""Requests through aiohttp: TLS, chunked, close-delimited and every other answer that a lane does not read.

aiohttp neither follows redirects, nor decodes, nor keeps cookies, nor looks at proxies here; each new connection passes the gate.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from p2pstore.config import OriginConfig
from p2pstore.errors import OriginBroken, OriginTimeout, OriginUnreachable, P2PStoreError
from p2pstore.sources.body import HttpBody
from p2pstore.sources.dial import Attempt, Dialer, Route, unreachable
from p2pstore.sources.heads import MAX_FIELDS, MAX_LINE_BYTES, Head, check_size
from p2pstore.sources.request import Fields
from p2pstore.sources.slots import Slots
from p2pstore.sources.targets import Target

READ_BYTES: Final = 256 << 10
"""What aiohttp may hold for a body whose reader is behind; it stops reading at twice as much."""
IDLE_S: Final = 15.0


class _Connector(aiohttp.TCPConnector):
    """A connector that does not reuse a connection on which something came unasked.

    aiohttp would take that for the answer to the next request, so one answer could be made to stand for another.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (its signature)
    ) -> Connection:
        """A kept or a new connection, with nothing on it."""
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()


class HttpWay:
    """One session for each kind of route, because a kept connection was judged for that kind only."""

    def __init__(self, config: OriginConfig, dialer: Dialer, slots: Slots, context: ssl.SSLContext) -> None:
        self._config = config
        self._dialer = dialer
        self._slots = slots
        self._context = context
        self._sessions: dict[tuple[bool, bool], aiohttp.ClientSession] = {}

    async def ask(self, target: Target, route: Route, fields: Fields, start: int) -> tuple[Head, HttpBody]:
        """Send a GET; the body's bytes will count from `start` of the object unless it is whole.

        Takes one of the origin's slots until the body is read or closed. Raises OriginUnreachable, OriginTimeout, OriginBroken
        and GateRefused.
        """
        await self._slots.take(target.origin)
        try:
            response = await self._send(target, route, fields)
        except BaseException:
            self._slots.free(target.origin)
            raise
        try:
            head = _head(response)
            _, length = head.framing()
        except BaseException:
            response.close()
            self._slots.free(target.origin)
            raise
        start = start if head.status == 206 else 0
        body = HttpBody(
            response, target.url, start, length, self._config, lambda: self._slots.free(target.origin)
        )
        return head, body

    async def aclose(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def _send(self, target: Target, route: Route, fields: Fields) -> aiohttp.ClientResponse:
        config = self._config
        attempt = self._dialer.begin(route)
        try:
            async with asyncio.timeout(config.connect_timeout_s + config.header_timeout_s):
                return await self._session(route).get(
                    URL(target.url, encoded=True), headers=fields, allow_redirects=False
                )
        except (aiohttp.ClientError, OSError, ValueError) as exc:  # a TimeoutError is an OSError
            raise self._translated(exc, attempt) from exc

    def _translated(self, exc: Exception, attempt: Attempt) -> P2PStoreError:
        config = self._config
        if isinstance(exc, aiohttp.ClientConnectorCertificateError):
            hint = "trust its authority with [origin] ca_file (--origin-ca-file FILE)"
            return OriginUnreachable(
                f"the origin's certificate is not trusted: {exc.certificate_error}", hint=hint
            )
        if isinstance(exc, aiohttp.ClientConnectorError):
            return unreachable(attempt, exc.os_error, config.connect_timeout_s)
        if isinstance(exc, aiohttp.ConnectionTimeoutError):
            return unreachable(attempt, TimeoutError(), config.connect_timeout_s)
        if isinstance(exc, TimeoutError):
            return OriginTimeout(f"no answer within {config.header_timeout_s:g} s")
        return OriginBroken(f"no HTTP answer: {str(exc) or type(exc).__name__}")

    def _session(self, route: Route) -> aiohttp.ClientSession:
        kind = (route.own_uid, route.redirected)
        session = self._sessions.get(kind)
        if session is None:
            session = self._sessions[kind] = self._new_session()
        return session

    def _new_session(self) -> aiohttp.ClientSession:
        connector = _Connector(
            limit=0,  # the slots bound it
            ssl=self._context,
            resolver=aiohttp.ThreadedResolver(),
            use_dns_cache=False,
            keepalive_timeout=IDLE_S,
            socket_factory=self._dialer.socket_factory,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BYTES,
            timeout=aiohttp.ClientTimeout(total=None, connect=self._config.connect_timeout_s),
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_FIELDS,
        )


def _head(response: aiohttp.ClientResponse) -> Head:
    raw = response.raw_headers
    headers = tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")) for name, value in raw
    )
    check_size(headers)
    return Head(response.status, headers)
