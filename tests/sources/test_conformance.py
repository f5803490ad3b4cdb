"""What every way to an origin does alike: each test runs over lanes and through aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

import pytest

from p2pstore import errors
from p2pstore.sources import ranges_http, ranges_lane, request
from p2pstore.sources.base import Answer, Ask, unpaced
from p2pstore.sources.origin import OriginClient
from p2pstore.types import ByteRange
from tests.origin import Behaviour, Origin, basic, bearer, content

SMALL = content(10_000)
BIG = content(1_000_000)
MIB = ByteRange(0, 1 << 20)


async def got(client: OriginClient, ask: Ask, limit: int = 1 << 24) -> tuple[Answer, bytes]:
    answer = await client.first(ask)
    try:
        return answer, await answer.read(limit)
    finally:
        await answer.aclose()


async def failed(client: OriginClient, ask: Ask) -> errors.P2PStoreError:
    with pytest.raises(errors.P2PStoreError) as caught:
        await got(client, ask)
    return caught.value


# a good origin


@pytest.mark.parametrize("body", [b"", b"x", SMALL, BIG], ids=len)
async def test_reads_a_whole_file(client: OriginClient, origin: Origin, ask: Any, body: bytes) -> None:
    url = origin.serve("/f", body)
    answer, read = await got(client, ask(url))
    assert read == body
    assert (answer.status, answer.total, answer.span, answer.url) == (200, len(body), None, url)
    assert answer.ranges and answer.validator and answer.host == "127.0.0.1"
    assert dict(answer.headers)["content-length"] == str(len(body))
    assert answer.request_at <= answer.response_at


@pytest.mark.parametrize("body", [b"x", SMALL, BIG, content(2_000_000)], ids=len)
async def test_reads_the_first_range(client: OriginClient, origin: Origin, ask: Any, body: bytes) -> None:
    answer, read = await got(client, ask(origin.serve("/f", body), first=MIB))
    assert read == body[: 1 << 20]
    assert (answer.status, answer.total, answer.span) == (
        206,
        len(body),
        ByteRange(0, min(len(body), 1 << 20)),
    )
    assert answer.ranges
    assert origin.requests("/f")[0].range == "bytes=0-1048575"


async def test_pours_from_the_offset_of_its_range(
    client: OriginClient, origin: Origin, ask: Any, sink: Any
) -> None:
    url = origin.serve("/f", BIG, etag='"v"')
    span = ByteRange(sink.block_bytes * 3, sink.block_bytes * 7 + 5)
    answer = await client.first(ask(url, first=span, if_range='"v"'))
    assert await answer.pour(sink) == len(span)
    await answer.aclose()
    assert sink.data[span.start :] == BIG[span.start : span.stop]
    assert origin.requests("/f")[0].headers["if-range"] == '"v"'


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("body", [b"", SMALL, BIG], ids=len)
async def test_pours_any_framing_into_blocks(
    client: OriginClient, origin: Origin, ask: Any, sink: Any, framing: Any, body: bytes
) -> None:
    url = origin.serve("/f", body, behaviour=Behaviour(framing=framing))
    answer = await client.first(ask(url))
    assert answer.total == (len(body) if framing == "length" else None)
    assert answer.truncatable == (framing == "close")
    assert await answer.pour(sink) == len(body)
    await answer.aclose()
    assert sink.data == body
    assert sink.out == 0
    assert all(size == sink.block_bytes for _, size in sink.given[:-1])


async def test_passes_chunks_through(client: OriginClient, origin: Origin, ask: Any) -> None:
    answer = await client.first(ask(origin.serve("/f", BIG)))
    assert b"".join([chunk async for chunk in answer.chunks()]) == BIG
    await answer.aclose()


async def test_a_reader_that_leaves_in_the_middle_frees_the_connection(
    make_client: Any, origin: Origin, ask: Any
) -> None:
    client = make_client(connections=1)
    url = origin.serve("/f", content(8_000_000))
    for _ in range(2):
        answer = await client.first(ask(url))
        chunks = answer.chunks()
        assert await anext(chunks)
        await chunks.aclose()
        await answer.aclose()
    answer, read = await got(client, ask(origin.serve("/g", SMALL)))
    assert read == SMALL


async def test_waits_while_the_sink_has_no_room(
    client: OriginClient, origin: Origin, ask: Any, make_sink: Any
) -> None:
    sink = make_sink(blocks=2)
    sink.stuck = True
    answer = await client.first(ask(origin.serve("/f", BIG)))
    task = asyncio.create_task(answer.pour(sink))
    await sink.exhausted.wait()
    await asyncio.sleep(0.05)  # so that more could be given if nothing prevented it
    assert len(sink.given) == 2, "a block was used while it was being written"
    sink.unstick()
    assert await task == len(BIG)
    await answer.aclose()
    assert sink.data == BIG


async def test_keeps_the_pace(client: OriginClient, origin: Origin, ask: Any, sink: Any) -> None:
    seen: list[int] = []

    def pace(size: int) -> float:
        seen.append(size)
        return 0.001

    answer = await client.first(ask(origin.serve("/f", BIG)))
    assert await answer.pour(sink, pace) == len(BIG)
    await answer.aclose()
    assert sum(seen) == len(BIG)
    assert sink.data == BIG


async def test_a_pause_is_not_a_stall(make_client: Any, origin: Origin, ask: Any, sink: Any) -> None:
    client = make_client(stall_timeout_s=0.5)
    waits = iter([1.2, 0.0])
    answer = await client.first(ask(origin.serve("/f", BIG)))
    assert await answer.pour(sink, lambda size: next(waits, 0.0)) == len(BIG)
    await answer.aclose()


async def test_an_error_of_the_sink_ends_the_transfer(
    client: OriginClient, origin: Origin, ask: Any, sink: Any
) -> None:
    sink.error = errors.NoSpace("full")
    answer = await client.first(ask(origin.serve("/f", BIG)))
    with pytest.raises(errors.NoSpace):
        await answer.pour(sink)
    await answer.aclose()
    assert sink.out == 0


async def test_cancelling_gives_the_block_back(
    client: OriginClient, origin: Origin, ask: Any, sink: Any
) -> None:
    url = origin.serve("/f", BIG, behaviour=Behaviour(stall_after=300_000))
    answer = await client.first(ask(url))
    task = asyncio.create_task(answer.pour(sink))
    await origin.stalled("/f")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await answer.aclose()
    assert sink.out == 0
    assert (await got(client, ask(origin.serve("/g", SMALL))))[1] == SMALL


async def test_reuses_connections(client: OriginClient, origin: Origin, ask: Any) -> None:
    url = origin.serve("/f", SMALL)
    for _ in range(5):
        assert (await got(client, ask(url)))[1] == SMALL
    assert origin.connections == 1


async def test_a_connection_of_one_caller_is_not_another_ones(
    client: OriginClient, origin: Origin, ask: Any
) -> None:
    url = origin.serve("/f", SMALL)
    await got(client, ask(url))
    assert isinstance(await failed(client, ask(url, own_uid=False)), errors.GateRefused)
    assert len(origin.requests("/f")) == 1


async def test_bounds_connections_to_one_origin(make_client: Any, origin: Origin, ask: Any) -> None:
    client = make_client(connections=3)
    url = origin.serve("/f", SMALL, behaviour=Behaviour(delay_s=0.005))
    answers = await asyncio.gather(*(got(client, ask(url)) for _ in range(20)))
    assert [read for _, read in answers] == [SMALL] * 20
    assert origin.connections == 3


async def test_a_kept_connection_that_the_origin_closed_is_replaced(
    client: OriginClient, raw_server: Any, ask: Any
) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for turn in range(2):
            await reader.readuntil(b"\r\n\r\n")
            if turn == 0:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    url = f"http://127.0.0.1:{await raw_server(once)}/f"
    for _ in range(3):
        assert (await got(client, ask(url)))[1] == b"ok"


# what is asked


async def test_sends_identity_and_no_conditions(client: OriginClient, origin: Origin, ask: Any) -> None:
    await got(client, ask(origin.serve("/f", SMALL, behaviour=Behaviour(gzip="asked"))))
    sent = origin.requests("/f")[0].headers
    assert sent["accept-encoding"] == "identity"
    assert sent["user-agent"] == "p2pstore"
    assert sent["host"] == f"127.0.0.1:{origin.port}"
    assert not {"range", "if-range", "if-none-match", "cookie", "authorization"} & sent.keys()


async def test_sends_the_callers_headers_and_stores_what_comes(
    client: OriginClient, origin: Origin, ask: Any
) -> None:
    url = origin.serve("/f", SMALL * 20, behaviour=Behaviour(gzip="asked"))
    answer, read = await got(client, ask(url, headers=(("Accept-Encoding", "gzip"), ("X-Mine", "1"))))
    assert read[:2] == b"\x1f\x8b", "the body must stay as it was sent"
    assert dict(answer.headers)["content-encoding"] == "gzip"
    assert origin.requests("/f")[0].headers["x-mine"] == "1"


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"userinfo": ("me", "secret")}, basic("me", "secret")),
        ({"bearer": "token"}, bearer("token")),
        ({"headers": (("Authorization", "Custom x"),), "bearer": "token"}, "Custom x"),
    ],
)
async def test_sends_credentials(
    client: OriginClient, origin: Origin, ask: Any, more: Any, wanted: str
) -> None:
    url = origin.serve("/f", SMALL, behaviour=Behaviour(auth=wanted))
    assert (await got(client, ask(url, **more)))[1] == SMALL
    assert isinstance(await failed(client, ask(url)), errors.AccessDenied)


async def test_keeps_no_cookies(client: OriginClient, origin: Origin, ask: Any) -> None:
    url = origin.serve("/f", SMALL, headers={"Set-Cookie": "a=b"})
    await got(client, ask(url))
    await got(client, ask(url))
    assert "cookie" not in origin.requests("/f")[1].headers


@pytest.mark.parametrize(
    "header", [("X-A", "b\r\nX-B: c"), ("X A", "b"), ("Range", "bytes=0-1"), ("Host", "h")]
)
async def test_refuses_headers_that_break_the_request(
    client: OriginClient, origin: Origin, ask: Any, header: tuple[str, str]
) -> None:
    assert isinstance(
        await failed(client, ask(origin.serve("/f", SMALL), headers=(header,))), errors.BadRequest
    )
    assert not origin.log


# conditions


async def test_not_modified(client: OriginClient, origin: Origin, ask: Any) -> None:
    url = origin.serve("/f", SMALL, etag='"v1"')
    answer, read = await got(client, ask(url, conditional={"If-None-Match": '"v1"'}, first=MIB))
    assert (answer.status, answer.total, answer.span, read) == (304, None, None, b"")
    origin.change("/f", BIG, etag='"v2"')
    answer, read = await got(client, ask(url, conditional={"If-None-Match": '"v1"'}, first=MIB))
    assert (answer.status, read) == (206, BIG)


async def test_if_range_of_a_changed_file_brings_the_new_one(
    client: OriginClient, origin: Origin, ask: Any
) -> None:
    url = origin.serve("/f", BIG, etag='"v2"')
    answer, read = await got(client, ask(url, first=ByteRange(65536, 131072), if_range='"v1"'))
    assert (answer.status, answer.span, answer.validator, answer.ranges) == (200, None, '"v2"', True)
    assert read == BIG


async def test_a_part_of_another_version_is_asked_for_again(
    client: OriginClient, origin: Origin, ask: Any
) -> None:
    url = origin.serve("/f", BIG, etag='"v2"', behaviour=Behaviour(ignore_if_range=True))
    answer, read = await got(client, ask(url, first=ByteRange(65536, 131072), if_range='"v1"'))
    assert (answer.status, answer.span, read) == (200, None, BIG)


@pytest.mark.parametrize(
    ("etag", "last_modified", "validator"),
    [
        ('"v"', None, '"v"'),
        ('W/"v"', None, None),
        (None, "Sun, 13 Sep 2020 12:26:40 GMT", "Sun, 13 Sep 2020 12:26:40 GMT"),
        (None, None, None),
        ('"\xe9"', None, None),
    ],
)
async def test_only_strong_validators_count(
    client: OriginClient, origin: Origin, ask: Any, etag: Any, last_modified: Any, validator: Any
) -> None:
    answer, _ = await got(client, ask(origin.serve("/f", SMALL, etag=etag, last_modified=last_modified)))
    assert answer.validator == validator
    if validator is None:
        with pytest.raises(errors.LocalProtocolError):
            client.ranges(ask(answer.url), answer, unpaced)


# ranges that don't work


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(ranges=False),
        Behaviour(unsatisfiable=True),
        Behaviour(content_range="bytes 1-{end}/{total}"),
        Behaviour(content_range="bytes {start}-{end}/*"),
        Behaviour(content_range="bytes {start}-{end}/5"),
        Behaviour(content_range="bytes 0-99999999/999999999"),
        Behaviour(content_range="items 0-1/2"),
        Behaviour(content_range=" "),
    ],
    ids=str,
)
async def test_asks_again_for_the_whole(
    client: OriginClient, origin: Origin, ask: Any, behaviour: Behaviour
) -> None:
    url = origin.serve("/f", SMALL, behaviour=behaviour)
    answer, read = await got(client, ask(url, first=MIB))
    assert (answer.status, answer.span, answer.total, read) == (200, None, len(SMALL), SMALL)
    assert len(origin.log) == (1 if not behaviour.ranges else 2)
    assert not answer.ranges, "ranges were tried and did not work"


async def test_a_head_beyond_the_limits_is_asked_for_once(
    client: OriginClient, origin: Origin, ask: Any
) -> None:
    error = await failed(
        client, ask(origin.serve("/f", SMALL, behaviour=Behaviour(huge_header_bytes=70_000)))
    )
    assert type(error) is errors.OriginBroken
    assert len(origin.log) == 1


async def test_an_empty_file_is_asked_for_again_and_is_empty(
    client: OriginClient, origin: Origin, ask: Any
) -> None:
    answer, read = await got(client, ask(origin.serve("/f", b""), first=MIB))
    assert (answer.status, answer.total, read) == (200, 0, b"")


# redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_follows_redirects_with_range_and_conditions(
    make_client: Any, origin: Origin, other_origin: Origin, ask: Any, status: int
) -> None:
    there = other_origin.serve("/there", BIG)
    url = origin.serve("/f", b"x" * 10, behaviour=Behaviour(redirect=there, redirect_status=status))
    relative = origin.serve("/r", behaviour=Behaviour(redirect="f"))
    client = make_client(allow=("127.0.0.1",))
    conditional = {"If-None-Match": '"other"'}
    answer, read = await got(client, ask(relative, first=ByteRange(0, 1000), conditional=conditional))
    assert (answer.url, answer.status, answer.hops, read) == (there, 206, (relative, url), BIG[:1000])
    sent = other_origin.requests("/there")[0].headers
    assert (sent["range"], sent["if-none-match"]) == ("bytes=0-999", '"other"')


@pytest.mark.parametrize("planted", [False, True], ids=["", "planted"])
async def test_credentials_stay_with_their_origin(
    make_client: Any, origin: Origin, other_origin: Origin, ask: Any, planted: bool, monkeypatch: Any
) -> None:
    if planted:
        monkeypatch.setattr(request, "credential_goes_to", lambda one, other: True)
    client = make_client(allow=("127.0.0.1",))
    there = other_origin.serve("/there", SMALL)
    back = origin.serve("/same", behaviour=Behaviour(redirect=there))
    url = origin.serve("/f", behaviour=Behaviour(redirect=back))
    secret = {"headers": (("X-Api-Key", "k"), ("Cookie", "c")), "userinfo": ("u", "p")}
    assert (await got(client, ask(url, **secret)))[1] == SMALL
    names = {"x-api-key", "cookie", "authorization"}
    assert names <= origin.requests("/same")[0].headers.keys()
    leaked = names & other_origin.requests("/there")[0].headers.keys()
    assert bool(leaked) == planted


@pytest.mark.parametrize("planted", [False, True], ids=["", "planted"])
async def test_a_redirect_never_leads_to_loopback(
    client: OriginClient, origin: Origin, other_origin: Origin, ask: Any, planted: bool, monkeypatch: Any
) -> None:
    if planted:
        monkeypatch.setattr("p2pstore.sources.dial.judge_address", lambda hop, rules: None)
    url = origin.serve("/f", behaviour=Behaviour(redirect=other_origin.serve("/x", SMALL)))
    if planted:
        assert (await got(client, ask(url)))[1] == SMALL
        return
    error = await failed(client, ask(url))
    assert isinstance(error, errors.GateRefused)
    assert error.details["address"] == "127.0.0.1" and error.details["config"] == "origin.allow"
    assert "127.0.0.1" in str(error) and "--origin-allow" in str(error)
    assert not other_origin.log


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("/f", errors.OriginRefused),  # itself
        ("", errors.OriginBroken),
        ("http://h:99999/", errors.OriginBroken),
        ("http://a\\b/", errors.OriginBroken),
        ("x" * 8190, errors.OriginBroken),
        ("file:///etc/passwd", errors.GateRefused),
        ("gopher://127.0.0.1/", errors.GateRefused),
        ("http://169.254.169.254/latest", errors.GateRefused),
        ("http://[::ffff:169.254.169.254]/", errors.GateRefused),
    ],
)
async def test_redirects_that_lead_nowhere(
    make_client: Any, origin: Origin, ask: Any, location: str, kind: type[Exception]
) -> None:
    client = make_client(allow=("127.0.0.1",))
    error = await failed(client, ask(origin.serve("/f", behaviour=Behaviour(redirect=location))))
    assert isinstance(error, kind), error
    assert len(origin.log) <= 6


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"])
async def test_no_spelling_of_loopback_gets_past_the_gate(
    client: OriginClient, origin: Origin, ask: Any, host: str
) -> None:
    origin.serve("/x", SMALL)
    refused = (
        errors.OriginBroken if host == "2130706433" else ()
    )  # aiohttp does not take it for an address at all
    error = await failed(client, ask(f"http://{host}:{origin.port}/x", own_uid=False))
    assert isinstance(error, (errors.GateRefused, refused)), error
    url = origin.serve("/f", behaviour=Behaviour(redirect=f"http://{host}:{origin.port}/x"))
    assert isinstance(await failed(client, ask(url)), (errors.GateRefused, refused))
    assert not origin.requests("/x")


async def test_https_to_http_is_refused(
    make_client: Any, tls_origin: Origin, origin: Origin, ask: Any, tmp_path: Any
) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(tls_origin.ca_pem)
    client = make_client(ca_file=str(ca_file), allow=("127.0.0.1",))
    url = tls_origin.serve("/f", behaviour=Behaviour(redirect=origin.serve("/x", SMALL)))
    assert isinstance(await failed(client, ask(url)), errors.GateRefused)
    assert not origin.log
    up = origin.serve("/up", behaviour=Behaviour(redirect=tls_origin.serve("/y", SMALL)))
    assert (await got(client, ask(up)))[1] == SMALL


async def test_tls_needs_a_trusted_certificate(client: OriginClient, tls_origin: Origin, ask: Any) -> None:
    error = await failed(client, ask(tls_origin.serve("/f", SMALL)))
    assert isinstance(error, errors.OriginUnreachable)
    assert "ca_file" in str(error)
    assert not tls_origin.log


# statuses


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, errors.NotFound),
        (410, errors.NotFound),
        (401, errors.AccessDenied),
        (403, errors.AccessDenied),
        (400, errors.OriginRefused),
        (418, errors.OriginRefused),
        (500, errors.OriginError),
        (502, errors.OriginError),
        (204, errors.OriginBroken),
        (203, errors.OriginBroken),
        (300, errors.OriginBroken),
        (302, errors.OriginBroken),
        (304, errors.OriginBroken),
        (206, errors.OriginBroken),
        (999, errors.OriginBroken),
    ],
)
async def test_statuses_become_errors(
    client: OriginClient, origin: Origin, ask: Any, status: int, kind: type[Exception]
) -> None:
    url = origin.serve("/f", b"" if status in (204, 304) else b"text", behaviour=Behaviour(status=status))
    error = await failed(client, ask(url + "?X-Amz-Signature=secret"))
    assert type(error) is kind, error
    assert "127.0.0.1" in str(error) and "secret" not in str(error)
    assert len(origin.log) == 1


@pytest.mark.parametrize(
    ("status", "retry_after", "wait_s"), [(429, "7", 7.0), (503, None, None), (503, "soon", None)]
)
async def test_busy_says_when(
    client: OriginClient, origin: Origin, ask: Any, status: int, retry_after: Any, wait_s: Any
) -> None:
    behaviour = Behaviour(fail_times=-1, fail_status=status, retry_after=retry_after)
    error = await failed(client, ask(origin.serve("/f", SMALL, behaviour=behaviour)))
    assert type(error) is errors.OriginBusy and error.retryable
    assert error.details.get("retry_after_s") == wait_s


async def test_no_one_listens(client: OriginClient, unused_tcp_port: int, ask: Any) -> None:
    error = await failed(client, ask(f"http://127.0.0.1:{unused_tcp_port}/f"))
    assert type(error) is errors.OriginUnreachable
    error = await failed(client, ask("http://no-such-host.invalid/f"))
    assert type(error) is errors.OriginUnreachable


async def test_a_file_larger_than_allowed_is_refused(
    make_client: Any, origin: Origin, ask: Any, sink: Any
) -> None:
    client = make_client(max_object_bytes=len(SMALL))
    assert (await got(client, ask(origin.serve("/f", SMALL))))[1] == SMALL
    for framing in ("length", "chunked"):
        url = origin.serve(f"/{framing}", BIG, behaviour=Behaviour(framing=framing))
        with pytest.raises(errors.OriginRefused):
            await (await client.first(ask(url))).pour(sink)
    assert isinstance(
        await failed(client, ask(origin.serve("/p", BIG), first=ByteRange(0, 100))), errors.OriginRefused
    )


async def test_read_is_bounded(client: OriginClient, origin: Origin, ask: Any) -> None:
    for framing in ("length", "chunked"):
        answer = await client.first(
            ask(origin.serve(f"/{framing}", BIG, behaviour=Behaviour(framing=framing)))
        )
        with pytest.raises(errors.OriginBroken):
            await answer.read(len(BIG) - 1)
        await answer.aclose()


# bodies that are not what was announced


@pytest.mark.parametrize("size", [10_000, 1_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_short_body_is_broken(
    client: OriginClient, origin: Origin, ask: Any, sink: Any, framing: Any, size: int
) -> None:
    url = origin.serve("/f", content(size), behaviour=Behaviour(framing=framing, close_after=size // 2))
    answer = await client.first(ask(url))
    with pytest.raises(errors.OriginBroken):
        await answer.pour(sink)
    await answer.aclose()
    assert sink.out == 0
    assert sink.data == content(size)[: len(sink.data)]


async def test_a_close_delimited_body_may_be_cut(client: OriginClient, origin: Origin, ask: Any) -> None:
    url = origin.serve("/f", SMALL, behaviour=Behaviour(framing="close", close_after=5000))
    answer, read = await got(client, ask(url))
    assert answer.truncatable and answer.total is None
    assert read == SMALL[:5000]


@pytest.mark.parametrize("size", [10_000, 1_000_000])
async def test_bytes_beyond_the_announced_are_never_part_of_it(
    client: OriginClient, origin: Origin, ask: Any, sink: Any, size: int
) -> None:
    url = origin.serve("/f", content(size), behaviour=Behaviour(lie_bytes=-100))
    try:
        answer = await client.first(ask(url))
        await answer.pour(sink)
        await answer.aclose()
    except errors.OriginBroken:
        pass
    assert sink.data == content(size)[: min(len(sink.data), size - 100)]
    assert (await got(client, ask(origin.serve("/g", SMALL))))[1] == SMALL
    assert origin.connections == 2, "the connection was used again"


@pytest.mark.parametrize("planted", [False, True], ids=["", "planted"])
async def test_a_stalled_body_times_out(
    make_client: Any, origin: Origin, ask: Any, sink: Any, planted: bool, monkeypatch: Any
) -> None:
    if planted:
        monkeypatch.setattr("p2pstore.sources.stall.Stall.stalled", lambda self, now, received, paused: False)
    client = make_client(stall_timeout_s=0.2)
    answer = await client.first(ask(origin.serve("/f", BIG, behaviour=Behaviour(stall_after=500_000))))
    task = asyncio.create_task(answer.pour(sink))
    await origin.stalled("/f")
    done, _ = await asyncio.wait([task], timeout=1.5)
    assert bool(done) != planted
    task.cancel()
    if not planted:
        with pytest.raises(errors.OriginTimeout):
            await task
    await asyncio.wait([task])
    await answer.aclose()
    assert sink.out == 0


async def test_a_dripping_body_times_out(make_client: Any, origin: Origin, ask: Any, sink: Any) -> None:
    client = make_client(stall_timeout_s=0.3, min_rate_bytes_per_s=100_000)
    url = origin.serve("/f", BIG, behaviour=Behaviour(drip_bytes=10, drip_s=0.01))
    answer = await client.first(ask(url))
    with pytest.raises(errors.OriginTimeout):
        await answer.pour(sink)
    await answer.aclose()


async def test_a_silent_origin_times_out(make_client: Any, origin: Origin, ask: Any) -> None:
    client = make_client(header_timeout_s=0.2, connect_timeout_s=0.3)
    assert (
        type(await failed(client, ask(origin.serve("/f", behaviour=Behaviour(silent=True)))))
        is errors.OriginTimeout
    )


# ranges


@pytest.fixture
async def opened(client: OriginClient, origin: Origin, ask: Any) -> AsyncIterator[Callable[..., Any]]:
    """Serves BIG, asks for its beginning and gives the ranges of it."""

    async def opened(**more: Any) -> Any:
        url = origin.serve("/f", BIG, **{"etag": '"v1"', **more})
        asked = ask(url, first=ByteRange(0, 1000))
        answer = await client.first(asked)
        await answer.aclose()
        assert answer.ranges and answer.total == len(BIG)
        return client.ranges(asked, answer, unpaced)

    yield opened


def change_id(value: dict[str, Any] | type[Exception]) -> str:
    """A short name of what is changed, or of the error."""
    if isinstance(value, type):
        return value.__name__
    plain = asdict(Behaviour())
    odd = asdict(value["behaviour"]) if "behaviour" in value else {}
    said = [name for name in value if name != "behaviour"]
    return "-".join(said + [f"{name}={odd[name]}" for name in odd if odd[name] != plain[name]])


def all_of(_: int) -> int:
    return len(BIG)


async def test_fetches_ranges_at_once(opened: Any, origin: Origin, make_sink: Any) -> None:
    ranges, sink = await opened(), make_sink(blocks=8)
    step = sink.block_bytes * 3
    spans = [ByteRange(at, min(at + step, len(BIG))) for at in range(0, len(BIG), step)]
    await asyncio.gather(*(ranges.fetch(span, sink, all_of) for span in spans))
    assert sink.data == BIG
    assert sink.out == 0
    sent = origin.requests("/f")[1:]
    assert {one.headers["if-range"] for one in sent} == {'"v1"'}
    assert {one.range for one in sent} == {f"bytes={span.start}-{span.stop - 1}" for span in spans}


async def test_a_range_stops_at_its_limit(opened: Any, sink: Any) -> None:
    ranges = await opened()
    block = sink.block_bytes
    limit = 6 * block

    def shrinking(_: int) -> int:
        return int(limit if not sink.given else 2 * block)

    await ranges.fetch(ByteRange(0, 8 * block), sink, shrinking)
    assert sink.given == [(0, block), (block, block)]
    assert sink.out == 0
    await ranges.fetch(ByteRange(2 * block, 3 * block), sink, lambda _: 2 * block)
    assert len(sink.given) == 2
    await ranges.fetch(ByteRange(2 * block, 4 * block), sink, all_of)
    assert sink.data == BIG[: 4 * block]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"etag": '"v2"'}, errors.OriginChanged),  # a good origin: 200
        ({"etag": '"v2"', "behaviour": Behaviour(ignore_if_range=True)}, errors.OriginChanged),
        (
            {"etag": '"v1"', "last_modified": 1_600_000_001.0, "behaviour": Behaviour(ignore_if_range=True)},
            errors.OriginChanged,
        ),
        ({"etag": '"v1"', "body": BIG[:-1]}, errors.OriginChanged),  # the length
        ({"etag": '"v1"', "headers": {"Content-Encoding": "gzip"}}, errors.OriginChanged),
        ({"etag": '"v1"', "behaviour": Behaviour(unsatisfiable=True)}, errors.OriginChanged),
        ({"etag": '"v1"', "behaviour": Behaviour(status=412)}, errors.OriginChanged),
        ({"etag": '"v1"', "behaviour": Behaviour(content_range="bytes 0-9/1000000")}, errors.OriginBroken),
        (
            {"etag": '"v1"', "behaviour": Behaviour(content_range="bytes {start}-{end}/*")},
            errors.OriginBroken,
        ),
        ({"etag": '"v1"', "behaviour": Behaviour(status=206)}, errors.OriginBroken),
        ({"etag": '"v1"', "behaviour": Behaviour(close_after=100_000)}, errors.OriginBroken),
        ({"etag": '"v1"', "behaviour": Behaviour(hang_up=True)}, errors.OriginBroken),
        ({"etag": '"v1"', "behaviour": Behaviour(status=404)}, errors.NotFound),
        ({"etag": '"v1"', "behaviour": Behaviour(status=403)}, errors.AccessDenied),
        ({"etag": '"v1"', "behaviour": Behaviour(status=500)}, errors.OriginError),
        ({"etag": '"v1"', "behaviour": Behaviour(status=204)}, errors.OriginBroken),
        ({"etag": '"v1"', "behaviour": Behaviour(redirect="/g")}, errors.OriginBroken),
        (
            {"etag": '"v1"', "behaviour": Behaviour(fail_times=-1, fail_status=503, retry_after="3")},
            errors.OriginBusy,
        ),
    ],
    ids=change_id,
)
async def test_ranges_of_something_else_are_refused(
    opened: Any, origin: Origin, sink: Any, change: dict[str, Any], kind: type[Exception]
) -> None:
    ranges = await opened()
    change = {"body": bytes(len(BIG)), **change}
    origin.change("/f", change.pop("body"), **change)
    with pytest.raises(errors.P2PStoreError) as caught:
        await ranges.fetch(ByteRange(131072, 600_000), sink, all_of)
    assert type(caught.value) is kind, caught.value
    assert sink.out == 0
    if kind is errors.OriginChanged:
        assert not sink.given, "bytes of another version got in"


@pytest.mark.parametrize("planted", [False, True], ids=["", "planted"])
async def test_versions_are_never_spliced(
    opened: Any, origin: Origin, sink: Any, planted: bool, monkeypatch: Any
) -> None:
    if planted:
        for module in (ranges_lane, ranges_http):
            monkeypatch.setattr(module, "check_range", lambda *args: None)
    ranges = await opened()
    half = sink.block_bytes * 8
    await ranges.fetch(ByteRange(0, half), sink, all_of)
    origin.change("/f", bytes(len(BIG)), etag='"v2"', behaviour=Behaviour(ignore_if_range=True))
    try:
        await ranges.fetch(ByteRange(half, len(BIG)), sink, all_of)
    except errors.OriginChanged:
        assert sink.data == BIG[:half]
        assert not planted
    else:
        assert planted and sink.data != BIG


async def test_a_chunked_part_is_taken_all_the_same(opened: Any, origin: Origin, sink: Any) -> None:
    ranges = await opened()
    origin.behave("/f", Behaviour(framing="chunked"))
    span = ByteRange(sink.block_bytes, sink.block_bytes * 3 + 100)
    await ranges.fetch(span, sink, all_of)
    assert sink.data[span.start :] == BIG[span.start : span.stop]


async def test_ranges_go_to_the_redirects_target(
    make_client: Any, origin: Origin, other_origin: Origin, ask: Any, sink: Any
) -> None:
    client = make_client(allow=("127.0.0.1",))
    there = other_origin.serve("/there", BIG)
    asked = ask(origin.serve("/f", behaviour=Behaviour(redirect=there)), bearer="t", first=ByteRange(0, 10))
    answer = await client.first(asked)
    await answer.aclose()
    ranges = client.ranges(asked, answer, unpaced)
    await ranges.fetch(ByteRange(0, len(BIG)), sink, all_of)
    assert sink.data == BIG
    assert "authorization" not in other_origin.requests("/there")[1].headers
    other_origin.behave("/there", Behaviour(status=403))
    with pytest.raises(errors.OriginChanged):  # a signed target ran out: the first URL must be asked again
        await ranges.fetch(ByteRange(0, len(BIG)), sink, all_of)
