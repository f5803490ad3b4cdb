"""Origins that mean harm: whatever they send, a get ends in time, in little memory, and with an error or just the bytes announced."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from dataclasses import dataclass
from typing import Any

import pytest

from p2pstore import errors
from p2pstore.types import ByteRange

OK = b"HTTP/1.1 200 OK\r\n"
MAX_OBJECT_BYTES = 1 << 18
MAX_MEMORY_BYTES = 8 << 20
TIME_S = 20.0
"""Far more than the timeouts below together; a hang fails, a busy machine does not."""

BOMB = gzip.compress(bytes(10_000_000))


@dataclass(frozen=True)
class Hostile:
    """What the origin sends after a request, and what may come of it: the body, or an error of this kind."""

    name: str
    sends: bytes
    repeats: bytes = b""
    """Then this for ever."""
    drips: bytes = b""
    """Then this for ever, slowly."""
    hangs: bool = False
    """Keeps the connection open in the end."""
    body: bytes | None = None
    error: type[errors.P2PStoreError] = errors.OriginBroken


HOSTILE = [
    # no HTTP
    Hostile("nothing", b""),
    Hostile("nothing and stays", b"", hangs=True, error=errors.OriginTimeout),
    Hostile("zeros", bytes(100)),
    Hostile("endless zeros", b"", repeats=bytes(65536)),
    Hostile("a page of HTTP/0.9", b"<html>hello</html>\r\n\r\n"),
    Hostile("a banner of SSH", b"SSH-2.0-x\r\n\r\n", hangs=True),
    Hostile("a TLS alert", b"\x15\x03\x01\x00\x02\x02\x46" + b"\r\n\r\n"),
    Hostile("a half head", OK + b"Content-Length: 5\r\n"),
    Hostile("a half head that stays", OK + b"Content-Length: 5\r\n", hangs=True, error=errors.OriginTimeout),
    Hostile("a head that drips", OK, drips=b"X", error=errors.OriginTimeout),
    # status lines
    Hostile("version 2", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", body=b"hi"),
    Hostile("version 1.9", b"HTTP/1.99 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    Hostile("no status", b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nhi"),
    Hostile("status 99", b"HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nhi", hangs=True, error=errors.OriginError),
    Hostile("status 2000", b"HTTP/1.1 2000 X\r\nContent-Length: 2\r\n\r\nhi"),
    Hostile("an endless status line", b"HTTP/1.1 200 ", repeats=b"o" * 65536),
    Hostile("switches protocols", b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", repeats=b"x" * 65536),
    Hostile("an early hint", b"HTTP/1.1 103 X\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nhi", body=b"hi"),
    Hostile("endless hints", b"", repeats=b"HTTP/1.1 103 X\r\n\r\n" * 100, error=errors.OriginError),
    Hostile("dripping hints", b"", drips=b"HTTP/1.1 103 X\r\n\r\n", error=errors.OriginTimeout),
    # heads
    Hostile("endless fields", OK, repeats=b"X: y\r\n" * 1000),
    Hostile("an endless field", OK + b"X: ", repeats=b"y" * 65536),
    Hostile("an endless field name", OK, repeats=b"y" * 65536),
    Hostile("200 fields", OK + b"X: y\r\n" * 200 + b"Content-Length: 2\r\n\r\nhi"),
    Hostile("200 cookies", OK + b"Set-Cookie: a=b\r\n" * 200 + b"Content-Length: 2\r\n\r\nhi"),
    Hostile("a long field", OK + b"X: " + b"y" * 9000 + b"\r\nContent-Length: 2\r\n\r\nhi"),
    Hostile("a long head", OK + (b"X: " + b"y" * 800 + b"\r\n") * 100 + b"Content-Length: 2\r\n\r\nhi"),
    Hostile("a NUL in a field", OK + b"X: a\0b\r\nContent-Length: 2\r\n\r\nhi"),
    Hostile("a CR in a field", OK + b"X: a\rb\r\nContent-Length: 2\r\n\r\nhi"),
    Hostile("a space before the colon", OK + b"Content-Length : 2\r\n\r\nhi", body=b"hi"),
    Hostile("a folded length", OK + b"Content-Length:\r\n 2\r\n\r\nhi", body=b"hi"),
    # framing
    Hostile("two lengths", OK + b"Content-Length: 2\r\nContent-Length: 4\r\n\r\nhiho"),
    Hostile("a list of lengths", OK + b"Content-Length: 2, 4\r\n\r\nhiho"),
    Hostile("a negative length", OK + b"Content-Length: -2\r\n\r\nhi"),
    Hostile("a signed length", OK + b"Content-Length: +2\r\n\r\nhi"),
    Hostile("a hexadecimal length", OK + b"Content-Length: 0x2\r\n\r\nhi"),
    Hostile("an empty length", OK + b"Content-Length: \r\n\r\nhi"),
    Hostile("a length of 30 digits", OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nhi"),
    Hostile("a length of a petabyte", OK + b"Content-Length: %d\r\n\r\nhi" % (1 << 50), error=errors.OriginRefused),
    Hostile("length and chunks", OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    Hostile("chunks and length", OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    Hostile("gzip as transfer coding", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    Hostile("chunked twice", OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    Hostile("chunked not last", OK + b"Transfer-Encoding: chunked, identity\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    Hostile("chunk size zz", OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n0\r\n\r\n"),
    Hostile("chunk size -2", OK + b"Transfer-Encoding: chunked\r\n\r\n-2\r\nhi\r\n0\r\n\r\n"),
    Hostile("chunk size of 20 digits", OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\nhi\r\n0\r\n\r\n"),
    Hostile("chunk without its end", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhiho\r\n0\r\n\r\n"),
    Hostile("no last chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"),
    Hostile("an endless chunk extension", OK + b"Transfer-Encoding: chunked\r\n\r\n2;", repeats=b"x" * 65536, error=errors.OriginError),
    Hostile("endless trailers", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n", repeats=b"X: y\r\n" * 1000),
    Hostile("dripping empty chunk sizes", OK + b"Transfer-Encoding: chunked\r\n\r\n", drips=b"0", error=errors.OriginError),
    # bodies
    Hostile("a short body", OK + b"Content-Length: 100\r\n\r\nhi"),
    Hostile("a short body that stays", OK + b"Content-Length: 100\r\n\r\nhi", hangs=True, error=errors.OriginTimeout),
    Hostile("a body that drips", OK + b"Content-Length: 100000\r\n\r\n", drips=b"x", error=errors.OriginTimeout),
    Hostile("a long body", OK + b"Content-Length: 2\r\n\r\nhi" + b"x" * 1000, body=b"hi"),
    Hostile("an endless long body", OK + b"Content-Length: 2\r\n\r\nhi", repeats=b"x" * 65536, body=b"hi"),
    Hostile("an endless body", OK + b"\r\n", repeats=b"x" * 65536, error=errors.OriginRefused),
    Hostile(
        "endless chunks",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        repeats=b"10000\r\n" + b"x" * 65536 + b"\r\n",
        error=errors.OriginRefused,
    ),
    Hostile("endless small chunks", OK + b"Transfer-Encoding: chunked\r\n\r\n", repeats=b"1\r\nx\r\n" * 10000, error=errors.OriginRefused),
    Hostile("a bomb", OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(BOMB), BOMB), body=BOMB),
    Hostile("no content with content", b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nhi"),
    Hostile("not modified with content", b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\nhi"),
    # parts
    Hostile("a part without a range", b"HTTP/1.1 206 P\r\nContent-Length: 2\r\n\r\nhi"),
    Hostile(
        "several parts",
        b"HTTP/1.1 206 P\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 3\r\n\r\n--x",
    ),
    Hostile("a part shorter than its range", b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 2\r\n\r\nhi"),
    Hostile("a part longer than its range", b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-0/10\r\nContent-Length: 2\r\n\r\nhi"),
    Hostile("a part of a negative range", b"HTTP/1.1 206 P\r\nContent-Range: bytes 5-0/10\r\nContent-Length: 2\r\n\r\nhi"),
    Hostile("two ranges", b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-1/2\r\nContent-Range: bytes 0-1/2\r\nContent-Length: 2\r\n\r\nhi"),
    # redirects
    Hostile("nowhere", b"HTTP/1.1 302 F\r\nContent-Length: 0\r\n\r\n"),
    Hostile("a redirect with an endless body", b"HTTP/1.1 302 F\r\nLocation: /f\r\n\r\n", repeats=b"x" * 65536, error=errors.OriginRefused),
    Hostile("an error with an endless body", b"HTTP/1.1 500 E\r\n\r\n", repeats=b"x" * 65536, error=errors.OriginError),
    Hostile("no such file, with an endless body", b"HTTP/1.1 404 E\r\nContent-Length: 99999999\r\n\r\n", repeats=b"x" * 65536, error=errors.NotFound),
]  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda one: one.name)
async def test_ends_in_time_and_memory(
    make_client: Any, make_sink: Any, raw_server: Any, ask: Any, hostile: Hostile
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(hostile.sends)
        await writer.drain()
        while hostile.repeats:
            writer.write(hostile.repeats)
            await writer.drain()
        while hostile.drips:
            writer.write(hostile.drips)
            await writer.drain()
            await asyncio.sleep(0.02)
        if hostile.hangs:
            await reader.read()

    # Only those that are meant to run into a timeout have a short one, lest a busy machine be blamed on the origin.
    patience_s = 0.3 if hostile.error in (errors.OriginTimeout, errors.OriginError) else 8.0
    client = make_client(
        header_timeout_s=patience_s,
        connect_timeout_s=patience_s,
        stall_timeout_s=patience_s,
        min_rate_bytes_per_s=2000,
        max_object_bytes=MAX_OBJECT_BYTES,
        allow=("127.0.0.1",),
    )
    url = f"http://127.0.0.1:{await raw_server(script)}/f"
    sink = make_sink()
    tracemalloc.start()
    try:
        async with asyncio.timeout(TIME_S):
            answer = await client.first(ask(url, first=ByteRange(0, 1000)))
            try:
                await answer.pour(sink)
            finally:
                await answer.aclose()
        assert bytes(sink.data) == hostile.body
    except errors.P2PStoreError as error:
        assert isinstance(error, hostile.error), error
        assert url in str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < MAX_MEMORY_BYTES
    assert sink.out == 0


async def test_an_answer_nobody_asked_for_is_never_used(client: Any, raw_server: Any, ask: Any) -> None:
    """A second answer sent along with the first must not become the answer to the next request."""
    secret = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        body = b"good" if b"/good" in request else b"first"
        writer.write(OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        if body == b"first":
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(OK + b"Content-Length: 4\r\n\r\nevil")
            await writer.drain()
            secret.set()
        await reader.read()

    url = f"http://127.0.0.1:{await raw_server(script)}"
    answer = await client.first(ask(url + "/first"))
    assert await answer.read(100) == b"first"
    await answer.aclose()
    await secret.wait()
    await asyncio.sleep(0.05)
    answer = await client.first(ask(url + "/good"))
    assert await answer.read(100) == b"good"
    await answer.aclose()


@pytest.mark.parametrize("close", [False, True], ids=["keeps", "closes"])
async def test_two_answers_at_once(client: Any, raw_server: Any, ask: Any, close: bool) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if b"/good" in request:
            writer.write(OK + b"Content-Length: 4\r\n\r\ngood")
        else:
            writer.write((OK + b"Content-Length: 4\r\n\r\nevil") * 2)
        if not close:
            await reader.read()

    url = f"http://127.0.0.1:{await raw_server(script)}"
    try:
        answer = await client.first(ask(url + "/first"))
        assert await answer.read(100) == b"evil"
        await answer.aclose()
    except errors.OriginBroken:
        pass
    answer = await client.first(ask(url + "/good"))
    assert await answer.read(100) == b"good"
    await answer.aclose()
