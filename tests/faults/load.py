"""Callers that put and get until the agent goes away, and write down what they were promised."""

from __future__ import annotations

import errno
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.ledger import Ledger, Promise, content
from tests.faults.wire import AgentSaidNo, Wire


class Caller(threading.Thread):
    """One connection that repeats `step` until it breaks or `stop` is called; failures of the test itself are kept."""

    def __init__(self, socket: Path, step: Callable[[Wire], None]) -> None:
        super().__init__(daemon=True)
        self._socket = socket
        self._step = step
        self._stopping = threading.Event()
        self.steps = 0
        self.defect: BaseException | None = None

    def run(self) -> None:
        """The thread."""
        try:
            with Wire(self._socket) as wire:
                while not self._stopping.is_set():
                    self._step(wire)
                    self.steps += 1
        except (ConnectionError, FileNotFoundError):
            return
        except OSError as error:
            # The disk went away under a descriptor that was handed out before.
            if error.errno != errno.EIO:
                self.defect = error
        except BaseException as error:
            self.defect = error

    def stop(self) -> None:
        """End after the present step."""
        self._stopping.set()

    def finish(self, timeout_s: float = 60.0) -> None:
        """Wait for the end; raises what went wrong in the thread, or when it hangs."""
        self.join(timeout_s)
        if self.is_alive():
            raise AssertionError(f"a caller hangs: no answer within {timeout_s} s")
        if self.defect is not None:
            raise self.defect


class Putter:
    """Puts results of 1 byte to `most` bytes under ever new names; `prefix` makes them unique."""

    def __init__(self, ledger: Ledger, prefix: str, most: int = 200_000) -> None:
        self._ledger = ledger
        self.prefix = prefix
        self._most = most
        self._rng = random.Random(prefix)
        self._numbers = itertools.count()
        self.names: set[str] = set()

    def __call__(self, wire: Wire) -> None:
        """One put."""
        name = f"{self.prefix}-{next(self._numbers)}"
        data = content(name, self._rng.randint(1, self._most))
        promise = Promise.of(data)
        with self._ledger.lock:
            self._ledger.offered[name] = promise
            self.names.add(name)
        try:
            wire.put(name, data)
        except AgentSaidNo as no:
            _count(self._ledger, no)
            return
        with self._ledger.lock:
            self._ledger.acknowledged[name] = self._ledger.offered.pop(name)


class Getter:
    """Gets URLs one after the other and compares what comes."""

    def __init__(self, ledger: Ledger, urls: Iterator[str]) -> None:
        self._ledger = ledger
        self._urls = urls

    def __call__(self, wire: Wire) -> None:
        """One get."""
        url = next(self._urls)
        with self._ledger.lock:
            self._ledger.asked.add(url)
        try:
            data = wire.get(url)
        except AgentSaidNo as no:
            _count(self._ledger, no)
            return
        broken = self._ledger.urls[url].broken_by(data)
        with self._ledger.lock:
            self._ledger.gets += 1
            if broken:
                self._ledger.wrong.append(f"wrong: handed out {url}: {broken}")


def _count(ledger: Ledger, no: AgentSaidNo) -> None:
    with ledger.lock:
        ledger.refused[no.code] = ledger.refused.get(no.code, 0) + 1


class Writeback(threading.Thread):
    """The kernel's whim: some records reach the disk early, long before the bytes that they speak of."""

    def __init__(self, cache: Path, seed: str) -> None:
        super().__init__(daemon=True)
        self._folders = [cache / "meta" / f"{number:02x}" for number in range(256)]
        self._rng = random.Random(seed)
        self._stopping = threading.Event()
        self._seen: set[int] = set()

    def run(self) -> None:
        """The thread: looks into a few folders at a time."""
        while not self._stopping.wait(0.01):
            for folder in self._rng.sample(self._folders, 64):
                try:
                    self._flush(folder)
                except OSError:
                    continue

    def _flush(self, folder: Path) -> None:
        for name in os.listdir(folder):
            fd = os.open(folder / name, os.O_RDONLY)
            try:
                inode = os.fstat(fd).st_ino
                if inode not in self._seen and self._rng.random() < 0.5:
                    os.fsync(fd)
                self._seen.add(inode)
            finally:
                os.close(fd)

    def finish(self) -> None:
        """End it."""
        self._stopping.set()
        self.join(30)
