"""`p2pstore demo`: the whole story on this machine in a few seconds, with a transcript, and nothing left behind."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import click

import p2pstore
from p2pstore.cli.quantities import show_seconds, show_size
from p2pstore.cli.toy_origin import Page, ToyOrigin, sample
from p2pstore.errors import AgentUnreachable, IntegrityError

SIZE_BYTES: Final = 48 << 20
SLOW_BYTES: Final = 32 << 20
SLOW_RATE: Final = 4 << 20
"""Bytes a second that each request for the slow file gets."""
PEEK_AT: Final = SLOW_BYTES - (3 << 20)
PEEK_BYTES: Final = 1 << 20
MAX_COPIES: Final = 1.5
"""What an origin on loopback may have on its way when a stream ends early is much of a small file."""
START_TIMEOUT_S: Final = 20.0
COMMAND_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 10.0


@click.command(short_help="Show it at work, here and now.")
def command() -> int:
    """Show it at work: a toy origin, an agent, a file from the origin, again from the cache, and read while it comes.

    Everything happens on 127.0.0.1 and in a temporary directory that is removed at the end, also on Ctrl-C.

    \b
    Example:
      p2pstore demo
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    with ExitStack() as cleanup:
        directory = Path(tempfile.mkdtemp(prefix="p2pstore-demo-"))
        cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
        Demo(directory).run()
    click.echo(f"\nAll as it should be, in {show_seconds(time.monotonic() - began)}. Nothing is left behind.")
    return 0


class Demo:
    """The story, in a directory of its own; raises P2PStoreError when anything is not as it should be."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "agent.sock"
        self.body = sample(SIZE_BYTES, "sample")
        self.slow = sample(SLOW_BYTES, "slow")
        self.origin = ToyOrigin({"/sample.bin": Page(self.body), "/slow.bin": Page(self.slow, SLOW_RATE)})

    def run(self) -> None:
        """Tell it from the beginning to the end."""
        digest = f"sha256:{hashlib.sha256(self.body).hexdigest()}"
        with self.origin, self._agent():
            url = f"{self.origin.url}/sample.bin"
            click.echo(f"\nA toy origin serves {url}: {show_size(SIZE_BYTES)}, {digest[:19]}…")
            self._get(url, digest, "first.bin", "the first time, from the origin")
            sent = self._told(0)
            # A stream that ends early for another's sake may have had some bytes on their way already.
            _must(
                SIZE_BYTES <= sent <= SIZE_BYTES * MAX_COPIES,
                f"the origin sent {sent} bytes for {SIZE_BYTES}",
            )
            self._get(url, digest, "second.bin", "again, from the cache")
            more = self._told(sent)
            _must(more == 0, f"the origin sent {more} bytes for a file that was in the cache")
            self._read_while_it_comes()
            self._run("status")

    @contextmanager
    def _agent(self) -> Iterator[None]:
        """An agent of our own, ended whatever happens."""
        cache = self.directory / "cache"
        argv = ["agent", "--cache-dir", str(cache), "--socket", str(self.socket), "--cache-size", "1G"]
        click.echo(f"$ {self._shown(['p2pstore', *argv])} &")
        log = self.directory / "agent.log"
        with open(log, "wb") as out:
            child = subprocess.Popen(
                _command(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=_environ(),
                start_new_session=True,
            )
        try:
            self._wait_ready(child, log)
            yield
        finally:
            child.terminate()
            try:
                child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _wait_ready(self, child: subprocess.Popen[bytes], log: Path) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not (ready := self._ready_line(log)):
            if child.poll() is not None or time.monotonic() > give_up_at:
                raise AgentUnreachable(f"the agent did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        click.echo(ready)

    def _ready_line(self, log: Path) -> str:
        lines = log.read_text(errors="replace").splitlines()
        return next(
            (line.replace(f"{self.directory}/", "") for line in lines if line.startswith("ready ")), ""
        )

    def _shown(self, argv: list[str]) -> str:
        """A command line as a reader wants it: names without their directory, digests short."""
        return _shortened(shlex.join(argv).replace(f"{self.directory}/", ""))

    def _get(self, url: str, digest: str, name: str, how: str) -> None:
        click.echo(f"\n# {how}")
        path = self.directory / name
        self._run("get", url, "--digest", digest, "-o", str(path))
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        _must(digest == f"sha256:{found}", f"{path} has the digest sha256:{found}")

    def _run(self, *argv: str) -> None:
        """A command as anybody would type it, its output below it."""
        click.echo(f"$ {self._shown(['p2pstore', *argv])}")
        done = subprocess.run(
            _command(["--socket", str(self.socket), *argv]),
            env=_environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        click.echo(done.stdout.replace(f"{self.directory}/", "").rstrip())
        _must(done.returncode == 0, f"p2pstore {argv[0]} ended with code {done.returncode}")

    def _told(self, before: int) -> int:
        sent = self.origin.sent_bytes - before
        click.echo(
            f"  (the origin counted {self.origin.requests} requests, {show_size(sent)} sent for this one)"
        )
        return sent

    def _read_while_it_comes(self) -> None:
        """A read near the end of a slow file, long before the end has its turn."""
        from p2pstore.client.sync import Client

        url = f"{self.origin.url}/slow.bin"
        click.echo(
            f"\n# a read at {show_size(PEEK_AT)} of a slow file of {show_size(SLOW_BYTES)}, while it comes"
        )
        click.echo(f'>>> file = p2pstore.open("{url}"); file.seek({PEEK_AT}); file.read({PEEK_BYTES})')
        began = time.monotonic()
        with Client(str(self.socket)) as client:
            with client.open(url) as file:
                file.seek(PEEK_AT)
                piece = file.read(PEEK_BYTES)
                read_s = time.monotonic() - began
            got = client.fetch(url)
            whole_s = time.monotonic() - began
            got.close()
        _must(
            piece == self.slow[PEEK_AT : PEEK_AT + PEEK_BYTES],
            "the bytes read while it came are not the file's",
        )
        _must(got.size == SLOW_BYTES, f"the slow file has {got.size} bytes")
        click.echo(
            f"{show_size(len(piece))} there after {show_seconds(read_s)}, the whole file after {show_seconds(whole_s)}\n"
        )


def _command(argv: list[str]) -> list[str]:
    return [sys.executable, "-m", "p2pstore", *argv]


def _environ() -> dict[str, str]:
    """The environment without settings of ours, in which the package is found that this program runs from."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("P2PSTORE_")}
    package = str(Path(p2pstore.__file__).parents[1])
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environ.get("PYTHONPATH", "")]))
    # A configuration file of the user's could say anything; the demonstration is to be the same everywhere.
    return environ | {"P2PSTORE_CONFIG": os.devnull}


def _shortened(line: str) -> str:
    return " ".join(
        word if len(word) < 60 or "sha256:" not in word else word[:15] + "…" for word in line.split(" ")
    )


def _must(true: bool, otherwise: str) -> None:
    if not true:
        raise IntegrityError(f"not as it should be: {otherwise}")
