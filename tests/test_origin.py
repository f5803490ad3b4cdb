"""The toy origin itself: if it is wrong, tests that use it prove nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.origin import Behaviour, Origin, basic, content
from tests.origin_script import parse_range

BODY = content(300_000)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as one:
        yield one


async def test_a_file_has_length_validators_and_ranges(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", BODY, headers={"X-Own": "1", "Content-Type": "text/x"})
    got = await client.get(url)
    assert (got.status_code, got.content) == (200, BODY)
    assert got.headers["content-length"] == str(len(BODY))
    assert got.headers["accept-ranges"] == "bytes"
    assert got.headers["etag"].startswith('"')
    assert (got.headers["x-own"], got.headers["content-type"]) == ("1", "text/x")
    (one,) = origin.requests("/f")
    assert (one.method, one.status, one.bytes_sent, one.range) == ("GET", 200, len(BODY), None)
    assert one.headers["host"] == f"127.0.0.1:{origin.port}"


async def test_connections_are_kept(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", b"x")
    for _ in range(3):
        await client.get(url)
    assert (origin.connections, len(origin.requests("/f"))) == (1, 3)


async def test_head_and_unknown_paths_and_methods(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", BODY)
    head = await client.head(url)
    assert (head.headers["content-length"], head.content) == (str(len(BODY)), b"")
    assert (await client.get(origin.url("/no"))).status_code == 404
    assert (await client.post(url)).status_code == 405
    origin.remove("/f")
    assert (await client.get(url)).status_code == 404


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=5-", (5, 10)),
        ("bytes=5-99", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=10-", (10, 10)),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
    ],
)
def test_ranges_are_read_as_rfc_9110_says(text: str, span: tuple[int, int] | None) -> None:
    assert parse_range(text, 10) == span


async def test_parts(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", BODY)
    got = await client.get(url, headers={"Range": "bytes=100-199"})
    assert (got.status_code, got.content) == (206, BODY[100:200])
    assert got.headers["content-range"] == f"bytes 100-199/{len(BODY)}"
    assert origin.bytes_sent("/f") == 100
    beyond = await client.get(url, headers={"Range": f"bytes={len(BODY)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(BODY)}")


async def test_if_range_compares_strongly(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", BODY, etag='"one"')
    weak = origin.serve("/weak", BODY, etag='W/"one"')
    date = (await client.get(url)).headers["last-modified"]

    async def status(target: str, validator: str) -> int:
        return (await client.get(target, headers={"Range": "bytes=0-9", "If-Range": validator})).status_code

    assert await status(url, '"one"') == 206
    assert await status(url, '"two"') == 200
    assert await status(url, date) == 206
    assert await status(url, "Thu, 01 Jan 1970 00:00:00 GMT") == 200
    assert await status(weak, 'W/"one"') == 200
    origin.behave("/f", Behaviour(ignore_if_range=True))
    assert await status(url, '"two"') == 206


async def test_conditional_requests(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", BODY, etag='W/"one"', last_modified=1000.0)

    async def status(**headers: str) -> int:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await client.get(url, headers=given)).status_code

    assert await status(if_none_match='"zero", "one"') == 304
    assert await status(if_none_match='"zero"', if_modified_since="Thu, 01 Jan 1970 01:00:00 GMT") == 200
    assert await status(if_modified_since="Thu, 01 Jan 1970 00:16:40 GMT") == 304
    assert await status(if_modified_since="Thu, 01 Jan 1970 00:16:39 GMT") == 200
    assert origin.bytes_sent("/f") == 2 * len(BODY)


@pytest.mark.parametrize("framing", ["close", "chunked"])
async def test_without_length(origin: Origin, client: httpx.AsyncClient, framing: Any) -> None:
    url = origin.serve("/f", BODY, behaviour=Behaviour(framing=framing, ranges=False))
    got = await client.get(url, headers={"Range": "bytes=0-9"})
    assert (got.status_code, got.content) == (200, BODY)
    assert "content-length" not in got.headers
    assert "accept-ranges" not in got.headers


async def test_gzip_when_asked_and_when_not(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", b"abc" * 1000, behaviour=Behaviour(gzip="asked"))
    always = origin.serve("/always", b"abc" * 1000, behaviour=Behaviour(gzip="always"))
    plain = await client.get(url, headers={"Accept-Encoding": "identity"})
    packed = await client.get(url, headers={"Accept-Encoding": "gzip"})
    assert plain.headers["etag"] != packed.headers["etag"]
    assert (plain.headers["vary"], packed.headers["vary"]) == ("Accept-Encoding", "Accept-Encoding")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content == b"abc" * 1000
    forced = await client.get(always, headers={"Accept-Encoding": "identity"})
    assert forced.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(gzip.compress(b"abc" * 1000, mtime=0))


async def test_faults_strike_so_many_requests_only(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", BODY, behaviour=Behaviour(close_after=1000, faults=2))
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(url)
    assert (await client.get(url)).content == BODY
    assert [one.bytes_sent for one in origin.requests("/f")] == [1000, 1000, len(BODY)]


@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(hang_up=True), Behaviour(raw=b"HTTP/1.1 200\x00OK\r\n\r\n"), Behaviour(lie_bytes=5)],
    ids=["hang_up", "raw", "too_long"],
)
async def test_broken_answers(origin: Origin, client: httpx.AsyncClient, behaviour: Behaviour) -> None:
    url = origin.serve("/f", BODY, behaviour=behaviour)
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(url)


async def test_too_short_a_length(origin: Origin) -> None:
    origin.serve("/f", b"0123456789", behaviour=Behaviour(lie_bytes=-4))
    reader, writer = await asyncio.open_connection("127.0.0.1", origin.port)
    writer.write(b"GET /f HTTP/1.1\r\nHost: x\r\n\r\n")
    answered = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b"Content-Length: 6\r\n" in answered
    assert answered.endswith(b"\r\n\r\n0123456789")


async def test_a_stall_ends_when_released(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", BODY, behaviour=Behaviour(stall_after=1000))
    fetch = asyncio.create_task(client.get(url))
    await origin.stalled("/f")
    assert origin.bytes_sent("/f") == 1000
    assert not fetch.done()
    origin.release("/f")
    assert (await fetch).content == BODY


async def test_a_stall_ends_when_the_client_goes(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", BODY, behaviour=Behaviour(silent=True))
    fetch = asyncio.create_task(client.get(url))
    await origin.stalled("/f")
    fetch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await fetch
    await origin.finished("/f")
    assert origin.log[0].status == 0


async def test_busy_then_well(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", b"x", behaviour=Behaviour(fail_times=2, fail_status=429, retry_after="7"))
    got = [await client.get(url) for _ in range(3)]
    assert [one.status_code for one in got] == [429, 429, 200]
    assert [one.headers.get("retry-after") for one in got] == ["7", "7", None]


async def test_redirects_relative_across_and_in_a_loop(
    origin: Origin, other_origin: Origin, client: httpx.AsyncClient
) -> None:
    end = other_origin.serve("/end", b"there")
    origin.serve("/second", behaviour=Behaviour(redirect=end, redirect_status=307))
    first = origin.serve("/first", behaviour=Behaviour(redirect="second"))
    got = await client.get(first, follow_redirects=True)
    assert (str(got.url), got.content) == (end, b"there")
    assert [one.status_code for one in got.history] == [302, 307]
    loop = origin.serve("/loop", behaviour=Behaviour(redirect="/loop"))
    with pytest.raises(httpx.TooManyRedirects):
        await client.get(loop, follow_redirects=True)


async def test_authorization(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", b"secret", behaviour=Behaviour(auth=basic("me", "pa:ss")))
    refused = await client.get(url)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Basic realm="toy"')
    assert (await client.get(url, auth=("me", "pa:ss"))).content == b"secret"


async def test_content_changes_at_a_request(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", b"old", headers={"Cache-Control": "no-cache"})
    origin.change("/f", b"newer", at_request=2)
    got = [await client.get(url) for _ in range(3)]
    assert [one.content for one in got] == [b"old", b"newer", b"newer"]
    assert got[0].headers["etag"] != got[1].headers["etag"]
    assert got[2].headers["cache-control"] == "no-cache"


async def test_an_answer_under_way_keeps_its_content(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", BODY, behaviour=Behaviour(stall_after=1000))
    fetch = asyncio.create_task(client.get(url))
    await origin.stalled("/f")
    origin.change("/f", b"other", etag=None, last_modified=None)
    origin.release("/f")
    assert (await fetch).content == BODY
    fresh = await client.get(url)
    assert fresh.content == b"other"
    assert "etag" not in fresh.headers
    assert "last-modified" not in fresh.headers


async def test_wrong_parts_and_statuses(origin: Origin, client: httpx.AsyncClient) -> None:
    url = origin.serve("/f", BODY, behaviour=Behaviour(content_range="bytes 7-{end}/*"))
    got = await client.get(url, headers={"Range": "bytes=0-9"})
    assert (got.status_code, got.headers["content-range"]) == (206, "bytes 7-9/*")
    origin.behave("/f", Behaviour(unsatisfiable=True))
    assert (await client.get(url, headers={"Range": "bytes=0-9"})).status_code == 416
    origin.behave("/f", Behaviour(status=418))
    assert (await client.get(url)).status_code == 418


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_endless_body(origin: Origin, client: httpx.AsyncClient, framing: Any) -> None:
    url = origin.serve("/f", b"0123456789", behaviour=Behaviour(endless=True, framing=framing))
    got = b""
    async with client.stream("GET", url) as stream:
        async for part in stream.aiter_bytes():
            got += part
            if len(got) > 1000:
                break
    assert got[:1000] == b"0123456789" * 100


async def test_slowness_and_huge_headers(origin: Origin, client: httpx.AsyncClient) -> None:
    slow = Behaviour(drip_bytes=3, drip_s=0.001, delay_s=0.001, huge_header_bytes=5000)
    got = await client.get(origin.serve("/f", b"0123456789", behaviour=slow))
    assert got.content == b"0123456789"
    assert len(got.headers["x-huge"]) == 5000


async def test_queries_have_their_own_content_or_that_of_the_path(
    origin: Origin, client: httpx.AsyncClient
) -> None:
    origin.serve("/f", b"any")
    origin.serve("/f?v=2", b"two")
    assert (await client.get(origin.url("/f?v=1"))).content == b"any"
    assert (await client.get(origin.url("/f?v=2"))).content == b"two"
    assert [one.target for one in origin.requests("/f")] == ["/f?v=1", "/f?v=2"]


async def test_tls(tls_origin: Origin) -> None:
    url = tls_origin.serve("/f", BODY)
    async with httpx.AsyncClient(verify=tls_origin.client_context(), trust_env=False) as client:
        assert (await client.get(url)).content == BODY
    async with httpx.AsyncClient(trust_env=False) as stranger:
        with pytest.raises(httpx.ConnectError):
            await stranger.get(url)


def test_from_a_thread(threaded_origin: Origin) -> None:
    threaded_origin.serve("/f", BODY, behaviour=Behaviour(stall_after=10))
    connection = http.client.HTTPConnection("127.0.0.1", threaded_origin.port, timeout=10)
    connection.request("GET", "/f")
    threaded_origin.wait(threaded_origin.stalled("/f"))
    threaded_origin.release("/f")
    assert connection.getresponse().read() == BODY
    connection.close()


async def test_it_ends_though_clients_hang_on() -> None:
    async with Origin() as origin:
        origin.serve("/f", b"x" * 50_000_000)
        origin.serve("/mute", behaviour=Behaviour(silent=True))
        writers: list[asyncio.StreamWriter] = []
        for path in ("/f", "/mute"):
            _, writer = await asyncio.open_connection("127.0.0.1", origin.port, limit=1)
            writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            writers.append(writer)
            await origin.asked(path)
    for writer in writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    assert all(one.finished for one in origin.log)
