"""A real nginx with its own port, prefix and request log."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CONFIG: Final = """
daemon off; worker_processes 1; user root; pid {prefix}/nginx.pid; error_log {prefix}/error.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  log_format fields '$request_method\t$request_uri\t$http_range\t$http_if_range\t$status\t$body_bytes_sent\t$bytes_sent';
  access_log {prefix}/access.log fields;
  sendfile on; etag on; tcp_nopush on; keepalive_requests 1000000; default_type application/octet-stream;
  client_body_temp_path {prefix}/b; proxy_temp_path {prefix}/p; fastcgi_temp_path {prefix}/f;
  uwsgi_temp_path {prefix}/u; scgi_temp_path {prefix}/s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {prefix}/www;
    location / {{ }}
    location ~ ^/rate/(?<speed>[0-9]+[km]?)/(?<rest>.*)$ {{ limit_rate $speed; alias {prefix}/www/$rest; }}
    location ~ ^/fresh/(?<kept>.*)$ {{ add_header Cache-Control max-age=86400; alias {prefix}/www/$kept; }}
    location ~ ^/norange/(?<whole>.*)$ {{ max_ranges 0; alias {prefix}/www/$whole; }}
  }}
}}
"""


@dataclass(frozen=True)
class Request:
    """One line of the request log."""

    method: str
    uri: str
    range: tuple[int, int] | None
    """First byte and the byte after the last, of a `bytes=a-b` field."""
    if_range: str
    status: int
    body_bytes: int
    sent_bytes: int


class Nginx:
    """Serves `www`; `/rate/SPEED/NAME` serves NAME that slowly, `/fresh/NAME` with a lifetime of a day."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.www = directory / "www"
        self.www.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        config = directory / "nginx.conf"
        config.write_text(_CONFIG.format(prefix=directory, port=self.port))
        self._process = subprocess.Popen(
            ["nginx", "-p", str(directory), "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5):
                    return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.directory / "error.log").read_text()) from None
                time.sleep(0.01)

    def stop(self) -> None:
        """Stop master and worker."""
        self._process.terminate()
        self._process.wait(20)

    def url(self, name: str) -> str:
        """Where a file of `www` (or one of the other locations) is served."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def file(self, name: str, content: bytes, *, age_s: float = 86400.0) -> str:
        """Put a file there, old enough for its Last-Modified to be strong; returns its URL."""
        path = self.www / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        then = time.time() - age_s
        os.utime(path, (then, then))
        return self.url(name)

    def sparse(self, name: str, size_bytes: int, stamp: bytes) -> str:
        """A large file that takes no space here: a stamp, then zeros."""
        path = self.www / name
        with path.open("wb") as file:
            file.write(stamp)
            file.truncate(size_bytes)
        then = time.time() - 86400
        os.utime(path, (then, then))
        return self.url(name)

    def requests(self) -> list[Request]:
        """The log until now; a request is in it once it ended."""
        path = self.directory / "access.log"
        return [_parsed(line) for line in path.read_text().splitlines()] if path.exists() else []

    def settle(self, quiet_s: float = 0.3) -> list[Request]:
        """The log once nothing new has come into it for a while."""
        seen = self.requests()
        while True:
            time.sleep(quiet_s)
            now = self.requests()
            if len(now) == len(seen):
                return now
            seen = now


def _parsed(line: str) -> Request:
    method, uri, byte_range, if_range, status, body, sent = line.split("\t")
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", byte_range)
    span = (int(match[1]), int(match[2]) + 1) if match else None
    return Request(method, uri, span, "" if if_range == "-" else if_range, int(status), int(body), int(sent))
