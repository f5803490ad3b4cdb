"""Origins that lie, stall and never end: each behaviour is one function on a raw socket."""

from __future__ import annotations

import contextlib
import gzip
import random
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

BODY: Final = random.Random("hostile").randbytes(3_000_000)
OTHER: Final = random.Random("other").randbytes(3_000_000)
Answer = Callable[[socket.socket, str, "tuple[int, int] | None", int], None]
"""Connection, If-Range, range asked for, number of the request for this path."""


@dataclass(frozen=True)
class Behaviour:
    """What the origin does, and how a get may end: `allowed` error codes, and whether these bytes may be handed out."""

    answer: Answer
    allowed: frozenset[str]
    bodies: tuple[bytes, ...] = ()
    within_s: float = 12.0


BEHAVIOURS: dict[str, Behaviour] = {}
_BROKEN: Final = (
    "origin_broken",
    "origin_error",
    "origin_unreachable",
    "origin_timeout",
    "origin_changed",
    "origin_refused",
)


def _behaviour(
    *allowed: str, bodies: tuple[bytes, ...] = (), within_s: float = 12.0
) -> Callable[[Answer], Answer]:
    def register(answer: Answer) -> Answer:
        codes = frozenset(allowed or _BROKEN)
        BEHAVIOURS[answer.__name__] = Behaviour(answer, codes, bodies, within_s)
        return answer

    return register


def _head(status: str, *fields: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode("latin-1")


def _send_forever(connection: socket.socket, chunk: bytes, *, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        connection.sendall(chunk)


def _range(
    connection: socket.socket, asked: tuple[int, int] | None, body: bytes = BODY, tag: str = '"v1"'
) -> None:
    """An honest answer."""
    if asked is None:
        connection.sendall(
            _head("200 OK", f"Content-Length: {len(body)}", f"ETag: {tag}", "Accept-Ranges: bytes") + body
        )
        return
    start, stop = asked[0], min(asked[1], len(body))
    connection.sendall(
        _head(
            "206 Partial Content",
            f"Content-Length: {stop - start}",
            f"Content-Range: bytes {start}-{stop - 1}/{len(body)}",
            f"ETag: {tag}",
        )
        + body[start:stop]
    )


@_behaviour(
    "origin_refused", "origin_broken", "no_space", "node_error", "origin_timeout", "deadline", within_s=6.0
)
def endless_without_length(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    connection.sendall(_head("200 OK", "Connection: close"))
    _send_forever(connection, bytes(1 << 20))


@_behaviour(
    "origin_refused", "origin_broken", "no_space", "node_error", "origin_timeout", "deadline", within_s=6.0
)
def endless_chunks(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(_head("200 OK", "Transfer-Encoding: chunked"))
    _send_forever(connection, b"100000\r\n" + bytes(1 << 20) + b"\r\n")


@_behaviour("origin_refused", "origin_broken", "no_space", "node_error")
def enormous_length(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(_head("200 OK", f"Content-Length: {1 << 62}"))
    _send_forever(connection, bytes(1 << 20), limit_s=3)


@_behaviour()
def length_too_long_for_body(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    connection.sendall(_head("200 OK", f"Content-Length: {len(BODY) + 1}", "Connection: close") + BODY)


@_behaviour(*_BROKEN, bodies=(BODY[:1000],))
def body_longer_than_length(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    connection.sendall(_head("200 OK", "Content-Length: 1000") + BODY)


@_behaviour()
def negative_length(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(_head("200 OK", "Content-Length: -5") + BODY)


@_behaviour()
def two_lengths(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(_head("200 OK", "Content-Length: 5", "Content-Length: 6") + b"123456")


@_behaviour(*_BROKEN, bodies=(b"12345",))
def length_and_chunked(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    connection.sendall(
        _head("200 OK", "Content-Length: 50", "Transfer-Encoding: chunked", "Connection: close")
        + b"5\r\n12345\r\n0\r\n\r\n"
    )


@_behaviour()
def chunks_cut_short(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(_head("200 OK", "Transfer-Encoding: chunked") + b"5\r\n12345\r\n")


@_behaviour()
def bad_chunk_size(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(_head("200 OK", "Transfer-Encoding: chunked") + b"zz\r\n12345\r\n0\r\n\r\n")


@_behaviour()
def head_line_of_a_megabyte(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    connection.sendall(_head("200 OK", "X-Long: " + "a" * (1 << 20), "Content-Length: 0"))


@_behaviour()
def ten_thousand_fields(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    connection.sendall(_head("200 OK", *(f"X-{n}: y" for n in range(10_000)), "Content-Length: 0"))


@_behaviour()
def endless_head(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for field in range(1 << 20):
        connection.sendall(b"X-%d: %s\r\n" % (field, b"z" * 1000))


@_behaviour()
def dribbled_head(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(600):
        time.sleep(0.1)
        connection.sendall(b"X")


@_behaviour()
def dribbled_body(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(_head("200 OK", f"Content-Length: {len(BODY)}"))
    for _ in range(600):
        time.sleep(0.1)
        connection.sendall(b"X")


@_behaviour()
def silence(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    time.sleep(30)


@_behaviour()
def stops_in_the_middle(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    connection.sendall(_head("200 OK", f"Content-Length: {len(BODY)}") + BODY[:100_000])
    time.sleep(30)


@_behaviour()
def not_http(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(100))


@_behaviour()
def noise(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(random.Random(number).randbytes(100_000))


@_behaviour()
def closes_at_once(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    del connection


@_behaviour()
def resets(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


@_behaviour()
def redirects_for_ever(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    connection.sendall(_head("302 Found", "Location: /redirects_for_ever", "Content-Length: 0"))


@_behaviour()
def redirects_without_target(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    connection.sendall(_head("302 Found", "Content-Length: 0"))


@_behaviour()
def switches_protocols(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    connection.sendall(_head("101 Switching Protocols", "Upgrade: x", "Connection: upgrade"))


@_behaviour()
def interim_for_ever(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    for _ in range(100_000):
        connection.sendall(_head("102 Processing"))


@_behaviour(*_BROKEN)
def empty_304(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(_head("304 Not Modified", 'ETag: "never"'))


@_behaviour(*_BROKEN)
def always_206(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(
        _head(
            "206 Partial Content",
            "Content-Length: 10",
            f"Content-Range: bytes 5-14/{len(BODY)}",
            'ETag: "v1"',
        )
        + BODY[5:15]
    )


@_behaviour(*_BROKEN, bodies=(BODY,))
def range_without_content_range(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    if asked is None:
        _range(connection, None)
        return
    part = BODY[asked[0] : asked[1]]
    connection.sendall(_head("206 Partial Content", f"Content-Length: {len(part)}", 'ETag: "v1"') + part)


@_behaviour(*_BROKEN, bodies=(BODY,))
def shifted_ranges(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    """Every answer but the first brings bytes from elsewhere than asked, and says so."""
    if asked is None or number == 1:
        _range(connection, asked)
    else:
        _range(connection, (max(0, asked[0] - 4096), max(1, asked[1] - 4096)))


@_behaviour(*_BROKEN, bodies=(BODY,))
def other_total(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    _range(connection, asked, BODY + bytes(number), '"v1"')


@_behaviour(*_BROKEN, bodies=(BODY, OTHER))
def new_version_every_time(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    _range(connection, asked, BODY if number % 2 else OTHER, f'"v{number}"')


@_behaviour(*_BROKEN, bodies=(BODY, OTHER))
def new_version_ignoring_if_range(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    """From the second request on another file, and If-Range is not looked at."""
    _range(connection, asked, BODY if number == 1 else OTHER, '"v1"' if number == 1 else '"v2"')


@_behaviour(*_BROKEN, bodies=(BODY,))
def short_ranges(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    """A range answer ends before it should, each time a little further."""
    if asked is None or number == 1:
        _range(connection, asked)
        return
    start, stop = asked[0], min(asked[1], len(BODY))
    connection.sendall(
        _head(
            "206 Partial Content",
            f"Content-Length: {stop - start}",
            f"Content-Range: bytes {start}-{stop - 1}/{len(BODY)}",
            'ETag: "v1"',
        )
        + BODY[start : start + (stop - start) // 2]
    )


@_behaviour(*_BROKEN, bodies=(BODY,))
def long_ranges(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    """A range answer goes on after its end."""
    if asked is None:
        _range(connection, None)
        return
    _range(connection, asked)
    with contextlib.suppress(OSError):
        connection.sendall(bytes(100_000))


@_behaviour("origin_busy", "origin_error", "deadline", "origin_unreachable")
def busy_for_a_century(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    connection.sendall(_head("503 Service Unavailable", "Retry-After: 3153600000", "Content-Length: 0"))


@_behaviour("origin_busy", "origin_error", "deadline")
def busy_with_nonsense(
    connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int
) -> None:
    connection.sendall(_head("429 Too Many Requests", "Retry-After: -1e999", "Content-Length: 0"))


_BOMB: Final = gzip.compress(bytes(100 << 20), 9)


@_behaviour(bodies=(_BOMB,))
def compressed_bomb(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    """100 KB that would unpack to 100 MB: kept as it came."""
    connection.sendall(_head("200 OK", "Content-Encoding: gzip", f"Content-Length: {len(_BOMB)}") + _BOMB)


@_behaviour("integrity", "digest_mismatch")
def lying_digest(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    connection.sendall(
        _head("200 OK", "Content-Length: 1000", f"Repr-Digest: sha-256=:{zero}:") + BODY[:1000]
    )


@_behaviour(bodies=(BODY[:1000],))
def nonsense_digests(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(
        _head(
            "200 OK",
            "Content-Length: 1000",
            "Repr-Digest: sha-256=:!!!:, x",
            "x-goog-hash: md5=zz,crc32c=",
            "x-amz-checksum-sha256: -",
        )
        + BODY[:1000]
    )


@_behaviour(bodies=(BODY[:1000],))
def nonsense_caching(connection: socket.socket, tag: str, asked: tuple[int, int] | None, number: int) -> None:
    connection.sendall(
        _head(
            "200 OK",
            "Content-Length: 1000",
            "Cache-Control: max-age=99999999999999999999999, max-age=-1, ,,==,",
            "Age: -5",
            "Age: nonsense",
            "Date: yesterday",
            "Expires: 0",
            "Last-Modified: Tue, 99 Foo 99999 99:99:99 GMT",
            "ETag: unquoted",
            "Vary: ,,*,",
        )
        + BODY[:1000]
    )


class HostileOrigin:
    """Serves `/NAME` by the behaviour of that name, each connection in a thread of its own."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listening.getsockname()[1]
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def url(self, name: str, serial: int) -> str:
        """A URL of that behaviour that was not asked before."""
        return f"http://127.0.0.1:{self.port}/{name}?{serial}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(35)
        with connection, contextlib.suppress(OSError, ValueError):
            head = b""
            while True:
                while b"\r\n\r\n" not in head:
                    more = connection.recv(65536)
                    if not more:
                        return
                    head += more
                request, _, head = head.partition(b"\r\n\r\n")
                if not self._answer(connection, request.decode("latin-1")):
                    return

    def _answer(self, connection: socket.socket, request: str) -> bool:
        target = request.split(" ")[1]
        name = target.lstrip("/").split("?")[0]
        span = re.search(r"(?im)^range: *bytes=(\d+)-(\d*)\r?$", request)
        tag = re.search(r"(?im)^if-range: *(.*?)\r?$", request)
        asked = (int(span[1]), int(span[2]) + 1 if span[2] else 1 << 62) if span else None
        with self._lock:
            number = self._counts[target] = self._counts.get(target, 0) + 1
        BEHAVIOURS[name].answer(connection, tag[1] if tag else "", asked, number)
        return name in {
            "shifted_ranges",
            "other_total",
            "new_version_every_time",
            "new_version_ignoring_if_range",
        }

    def close(self) -> None:
        """Stop listening; threads end with their connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._accepting.join(5)
