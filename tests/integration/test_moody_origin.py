"""Files that change, drop and stall at random moments while several ask, read and give up: never a mix, never a hang."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from p2pstore.config import MIB
from p2pstore.errors import OriginError
from tests.agent.rig import LARGE, OWN_UID, Rig, config_of, content
from tests.conftest import SOAKING
from tests.origin import Behaviour, Origin

TRIES: Final = 400 if SOAKING else 12
TRY_TIMEOUT_S: Final = 60.0
MOMENT_S: Final = 0.04
"""What happens in a try happens within about so long."""
BODIES: Final = [*(content(LARGE, seed) for seed in range(4)), content(LARGE + 5000), content(50_000)]
READ_BYTES: Final = 300_000
VALIDATORS: Final[list[dict[str, Any]]] = [
    {},
    {"etag": None},
    {"etag": None, "last_modified": None},
    {"etag": "weak"},
]
POLICIES: Final = ["max-age=60", "no-cache", "max-age=0", "private, max-age=60", "no-store"]


class Mood:
    """One file of the origin: what it is and how it is sent, and what becomes of that."""

    def __init__(self, origin: Origin, rng: random.Random, number: int) -> None:
        self.origin, self.rng = origin, rng
        self.path = f"/{number}"
        self.validators = rng.choice(VALIDATORS)
        headers = {"Cache-Control": rng.choice(POLICIES)}
        self.url = origin.serve(
            self.path, rng.choice(BODIES), headers=headers, behaviour=self.behaviour(), **self.named(0)
        )

    def named(self, version: int) -> dict[str, Any]:
        """The validators of a version: of the kind that this file has."""
        named = dict(self.validators)
        if named.get("etag") == "weak":
            named["etag"] = f'W/"{version}"'
        if version and named.get("last_modified", "") is not None:
            named["last_modified"] = 1e9 + 1e5 * version
        return named

    def behaviour(self) -> Behaviour:
        """A good server most of the time."""
        rng = self.rng
        more: dict[str, Any] = {}
        match rng.randrange(8):
            case 0 | 1:
                more = {"close_after": rng.randrange(1, LARGE), "faults": rng.randrange(1, 12)}
            case 2:
                more = {"stall_after": rng.randrange(1, LARGE), "faults": rng.randrange(1, 4)}
            case 3:
                more = {"hang_up": True, "faults": rng.randrange(1, 6)}
        return Behaviour(
            ranges=rng.random() < 0.85,
            framing="chunked" if rng.random() < 0.2 else "length",
            drip_bytes=rng.choice([0, 0, 40_000, 200_000]),
            drip_s=0.0005,
            **more,
        )

    async def change(self) -> None:
        """Become another file a few times."""
        for version in range(1, self.rng.randrange(2, 4)):
            await asyncio.sleep(self.rng.random() * MOMENT_S)
            self.origin.change(
                self.path, self.rng.choice(BODIES), behaviour=self.behaviour(), **self.named(version)
            )


async def ask(rig: Rig, url: str, rng: random.Random) -> None:
    """One job: gets the file, or reads it while it comes, or gives up."""
    uid = OWN_UID + rng.choice([0, 0, 7])
    await asyncio.sleep(rng.random() * MOMENT_S)
    try:
        if rng.random() < 0.3:
            await read(rig, url, uid)
            return
        getting = asyncio.create_task(rig.get(url, uid=uid, refresh=rng.random() < 0.2))
        if rng.random() < 0.2:
            await asyncio.sleep(rng.random() * MOMENT_S)
            getting.cancel()
        outcome = (await asyncio.gather(getting, return_exceptions=True))[0]
    except OriginError:
        return  # it changed or broke too often; that is said, and no bytes are handed out
    if isinstance(outcome, BaseException):
        assert isinstance(outcome, asyncio.CancelledError | OriginError), repr(outcome)
        return
    assert outcome.data in BODIES, "a mix"


async def read(rig: Rig, url: str, uid: int) -> None:
    """Read a file in order while it comes."""
    opened, fd = await rig.open(url, uid=uid)
    data, size = b"", opened["size"] if opened["complete"] else None
    try:
        while size is None or len(data) < size:
            start, stop = len(data), len(data) + READ_BYTES
            if not opened["complete"]:
                reader = opened["reader"]
                size = (await rig.call("ready", uid=uid, reader=reader, start=start, stop=stop))["size"]
            data += os.pread(fd, READ_BYTES if size is None else max(min(stop, size) - start, 0), start)
            assert size is None or len(data) <= size, "told a length that is less than was read"
    finally:
        os.close(fd)
        if not opened["complete"]:
            await rig.call("close", uid=uid, reader=opened["reader"])
    assert data in BODIES, "a mix"


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[Rig]:
    """An agent that soon gives up on an origin that is silent."""
    limits = {"stall_timeout_s": 0.1, "header_timeout_s": 0.3, "retries": 3}
    rig = Rig(tmp_path / "cache", config_of(origin=limits, cache={"size_bytes": 64 * MIB}))
    await rig.start()
    yield rig
    await rig.aclose()


@pytest.mark.timeout(3600 if SOAKING else 120)
async def test_whatever_happens_it_is_one_version_or_an_error(
    impatient: Rig, origin: Origin, p2p_seed: int
) -> None:
    for number in range(TRIES):
        rng = random.Random(f"{p2p_seed}/{number}")
        mood = Mood(origin, rng, number)
        async with asyncio.timeout(TRY_TIMEOUT_S), asyncio.TaskGroup() as group:
            group.create_task(mood.change())
            for _ in range(rng.randrange(1, 6)):
                group.create_task(ask(impatient, mood.url, rng))
    await impatient.settled()
    status = await impatient.call("status")
    assert status["counters"]["quarantined"] == 0
    assert not status["usage"]["degraded"]
