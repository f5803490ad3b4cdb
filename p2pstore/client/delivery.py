"""One file on its way to the caller's own place: by descriptor from the cache, or through a pipe when the cache can't hold it."""

from __future__ import annotations

import contextlib
import os
from types import TracebackType
from typing import Any

from p2pstore.client.deliver import LINKS, Pour, copy, deliver, staged
from p2pstore.client.got import Got
from p2pstore.client.wishes import Output, Progress
from p2pstore.errors import AgentUnreachable, BadRequest


class Delivery:
    """Takes the events of a `get`, then its result; what came through a pipe is published when the block ends without error."""

    def __init__(
        self,
        url: str,
        output: Output | int,
        link: str,
        args: dict[str, Any],
        progress: Progress | None = None,
    ) -> None:
        if link not in LINKS:
            raise BadRequest(f"no kind of link {link!r}", hint=f"use one of {', '.join(LINKS)}")
        self._url, self._output, self._link, self._progress = url, output, link, progress
        self._digests = list(args.get("digests", ()))
        self._pour: Pour | None = None
        self._stack = contextlib.ExitStack()
        if link == "symlink":
            args["want"] = "path"
        # What goes to a descriptor can't be taken back, so it must not come before its digest agreed.
        args["stream"] = not (isinstance(output, int) and self._digests)

    def __enter__(self) -> Delivery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def on_event(self, event: dict[str, Any], fd: int) -> None:
        """Write a stream out to its end, tell of progress, and close every other descriptor."""
        if event.get("event") == "stream" and fd >= 0:
            self._stream(fd)
        elif fd >= 0:
            os.close(fd)
        elif self._progress is not None:
            self._progress(event)

    def finish(self, got: Got) -> Got:
        """Deliver what the result brings, or check what has come through the pipe; closes `got` when that fails."""
        try:
            if self._pour is not None:
                self._pour.check(got.size, self._url)
            elif isinstance(self._output, int):
                copy(got.fd, self._output, "copy")
            else:
                deliver(got.fd, self._output, link=self._link, path=got.path)
        except BaseException:
            got.close()
            raise
        got.output = "" if isinstance(self._output, int) else os.fspath(self._output)
        return got

    def _stream(self, pipe: int) -> None:
        again, self._pour = self._pour is not None, Pour(self._digests)
        try:
            if isinstance(self._output, int):
                if again:
                    # What is written can't be taken back.
                    raise AgentUnreachable(
                        f"{self._url}: the agent went away while the bytes came", hint="try again"
                    )
                out = self._output
            else:
                if again:
                    self.abandon()
                out = self._stack.enter_context(staged(os.fspath(self._output)))
        except BaseException:
            os.close(pipe)
            raise
        self._pour.run(pipe, out)

    def abandon(self) -> None:
        """Remove what was written so far; the file under the output's name stays what it was."""
        self._stack.__exit__(_Cut, _Cut(), None)


class _Cut(Exception):
    pass
