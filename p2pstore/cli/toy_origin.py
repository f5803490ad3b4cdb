"""A small web server for the demonstration: ranges, validators, a count of what it sent, and a brake.

Serves bytes from memory on 127.0.0.1; of a request it believes nothing but its path and its range.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import shake_256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self

CHUNK_BYTES: Final = 1 << 18
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)\Z")


@dataclass(frozen=True)
class Page:
    """One file; `rate_bytes_per_s` is what each request gets, 0 for as fast as it goes."""

    body: bytes
    rate_bytes_per_s: int = 0


def sample(size_bytes: int, seed: str) -> bytes:
    """Bytes that no compression shortens, the same for the same seed."""
    return shake_256(seed.encode()).digest(size_bytes)


class ToyOrigin:
    """The server, on a thread of its own while inside `with`."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self.pages = pages
        self.requests = 0
        self.sent_bytes = 0
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def count(self, requests: int, sent_bytes: int) -> None:
        """Add to what was asked and sent; called from the server's threads."""
        with self._lock:
            self.requests += requests
            self.sent_bytes += sent_bytes

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, origin: ToyOrigin) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.origin = origin

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that left early is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Answer with the whole page or with the range that was asked for."""
        page = self.server.origin.pages.get(self.path)
        self.server.origin.count(1, 0)
        if page is None:
            self.send_error(404)
            return
        start, stop = self._range(len(page.body))
        part = stop - start < len(page.body)
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(page.body)}")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{shake_256(page.body[:4096]).hexdigest(8)}"')
        self.send_header("Cache-Control", "max-age=3600")
        self.end_headers()
        self._send(page, start, stop)

    def _range(self, length: int) -> tuple[int, int]:
        found = _RANGE.match(self.headers.get("Range", ""))
        if found is None:
            return 0, length
        start = int(found[1])
        stop = min(length, int(found[2]) + 1) if found[2] else length
        return (start, stop) if start < stop else (0, length)

    def _send(self, page: Page, start: int, stop: int) -> None:
        view = memoryview(page.body)
        for at in range(start, stop, CHUNK_BYTES):
            chunk = view[at : min(at + CHUNK_BYTES, stop)]
            # Counted first: whoever has received a byte must find it counted.
            self.server.origin.count(0, len(chunk))
            self.wfile.write(chunk)
            if page.rate_bytes_per_s:
                time.sleep(len(chunk) / page.rate_bytes_per_s)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the demonstration tells the story itself."""
