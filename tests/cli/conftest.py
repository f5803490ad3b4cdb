"""A client that answers from a script, in the place of one that talks to an agent."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from p2pstore.cli import main
from p2pstore.client.got import Got
from p2pstore.errors import NotFound, P2PStoreError

BODY = b"0123456789" * 10
RESULT: dict[str, Any] = {
    "url": "https://h/x",
    "key": "k" * 64,
    "ver": "v" * 32,
    "root": "r" * 64,
    "size": len(BODY),
    "path": "/cache/pub/rr/r",
    "private": False,
    "stale": False,
    "why": "fresh for 59 s (RFC 9111 4.2)",
    "age_s": 1.0,
    "verified": "transfer",
    "seconds": 0.5,
    "bytes": {"cache": 0, "peers": 0, "origin": len(BODY)},
    "digests": {},
    "warnings": [],
    "content_type": "",
    "fd": False,
}


class ScriptedClient:
    """Remembers what it was asked in `asked`; a name in `answers` gives what a method returns or raises."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self.closed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed += 1

    def answer(self, url: str) -> Got:
        found = self.answers.get(url, RESULT)
        if isinstance(found, P2PStoreError):
            raise found
        return Got(RESULT | found | {"url": url}, asked=url)

    def fetch(self, url: str, *, output: Any, link: str, progress: Any, **wish: Any) -> Got:
        self.asked.append(("fetch", url, {"output": output, "link": link, **wish}))
        if progress is not None:
            progress({"event": "progress", "bytes": 1, "total": len(BODY), "rate": 1.0, "eta_s": 1.0})
        got = self.answer(url)
        if isinstance(output, int):
            sys.stdout.buffer.write(BODY)
        elif output is not None:
            Path(output).write_bytes(BODY)
        return got

    def get_many(
        self, urls: Iterable[str], jobs: int, *, output: Callable[[str], str] | None, link: str, **wish: Any
    ) -> Iterator[Got | P2PStoreError]:
        self.asked.append(("get_many", list(urls), {"jobs": jobs, "link": link, **wish}))
        # Whatever ends first comes first: here the last.
        for url in reversed(list(urls)):
            try:
                got = self.answer(url)
            except P2PStoreError as error:
                error.details["url"] = url
                yield error
                continue
            if output is not None:
                Path(output(url)).write_bytes(BODY)
            yield got

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*args: Any, **more: Any) -> Any:
            self.asked.append((name, args, more))
            found = self.answers[name]
            if callable(found):
                found = found(*args, **more)
            if isinstance(found, P2PStoreError):
                raise found
            return found

        return method


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> ScriptedClient:
    """The client that every command of this test gets."""
    one = ScriptedClient()
    for name in main.COMMANDS:
        module = importlib.import_module(main.COMMANDS[name])
        if hasattr(module, "connect"):
            monkeypatch.setattr(module, "connect", lambda given, quiet=False: one)
    return one


@pytest.fixture
def missing() -> NotFound:
    """What an origin says that has no such file."""
    return NotFound("https://h/none: 404", hint="check the URL")
