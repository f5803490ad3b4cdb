"""What was promised: every acknowledged result, and what each URL's bytes are; and the check that it was kept."""

from __future__ import annotations

import hashlib
import random
import threading
from dataclasses import dataclass, field
from typing import Final

from tests.faults.nginx import Nginx
from tests.faults.wire import AgentSaidNo, Wire

NOT_THERE: Final = frozenset({"not_found", "not_cached"})


def content(seed: str, size_bytes: int) -> bytes:
    """Bytes that only this seed gives."""
    return random.Random(seed).randbytes(size_bytes)


@dataclass(frozen=True)
class Promise:
    """One content by its digest."""

    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, data: bytes) -> Promise:
        """The promise to give these bytes back."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))

    def broken_by(self, data: bytes) -> str:
        """How `data` differs, or empty."""
        if len(data) != self.size_bytes:
            return f"{len(data)} bytes instead of {self.size_bytes}"
        if hashlib.sha256(data).hexdigest() != self.sha256:
            zeros = data.count(0)
            return f"other content ({zeros} of {len(data)} bytes are zero)"
        return ""


@dataclass
class Ledger:
    """Filled by the load, read by the check; one lock around both."""

    acknowledged: dict[str, Promise] = field(default_factory=dict)
    offered: dict[str, Promise] = field(default_factory=dict)
    """Sent but not acknowledged: there, whole, or not at all."""
    urls: dict[str, Promise] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    """URLs that were asked for: a copy may be cached."""
    wrong: list[str] = field(default_factory=list)
    """Wrong bytes seen while the load ran."""
    refused: dict[str, int] = field(default_factory=dict)
    """Error codes seen while the load ran."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    gets: int = 0

    def violations(self, wire: Wire, *, only: set[str] | None = None) -> list[str]:
        """Every promise that does not hold, in words; `only` names the results and URLs to look at."""
        found = list(self.wrong)
        for name, promise in self.acknowledged.items():
            if only is None or name in only:
                found += self._result(wire, name, promise, must=True)
        for name, promise in self.offered.items():
            if only is None or name in only:
                found += self._result(wire, name, promise, must=False)
        for url in sorted(self.asked if only is None else self.asked & only):
            try:
                broken = self.urls[url].broken_by(wire.get(url, offline=True))
            except AgentSaidNo as no:
                if no.code not in NOT_THERE:
                    found.append(f"cached {url}: {no}")
            else:
                if broken:
                    found.append(f"wrong: cached {url}: {broken}")
        return found

    def _result(self, wire: Wire, name: str, promise: Promise, *, must: bool) -> list[str]:
        try:
            broken = promise.broken_by(wire.get(f"put:{name}"))
        except AgentSaidNo as no:
            if no.code in NOT_THERE:
                return [f"lost: {name} was acknowledged"] if must else []
            return [f"unreadable: {name}: {no}"]
        return [f"wrong: {name}: {broken}"] if broken else []


@dataclass(frozen=True)
class Pool:
    """Files at an origin, enough that each one asked for is new to the cache for a while."""

    small: tuple[str, ...]
    large: tuple[str, ...]

    @classmethod
    def fill(cls, nginx: Nginx, ledger: Ledger, *, small: int, large: int, seed: str = "pool") -> Pool:
        """Make them and enter them in the ledger: small ones of up to 30 KB, large ones of 1.1 to 3 MiB."""
        rng = random.Random(seed)
        names: list[list[str]] = [[], []]
        for kind, count in enumerate((small, large)):
            for number in range(count):
                size = rng.randint(1_100_000, 3_000_000) if kind else rng.randint(1, 30_000)
                data = rng.randbytes(size)
                name = f"{seed}-{'large' if kind else 'small'}-{number}"
                nginx.file(name, data)
                url = nginx.url(f"fresh/{name}")
                ledger.urls[url] = Promise.of(data)
                names[kind].append(url)
        return cls(tuple(names[0]), tuple(names[1]))
