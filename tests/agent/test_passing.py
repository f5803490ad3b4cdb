"""Getting does not fail because keeping does."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from typing import Any

import pytest

from p2pstore.config import MIB
from p2pstore.errors import Cancelled, DeadlineExceeded, DigestMismatch, NoSpace, OriginBroken
from tests.agent.conftest import Making
from tests.agent.rig import Rig, content
from tests.origin import Behaviour, Origin, basic

SIZE = 6 * MIB
FRESH = {"Cache-Control": "max-age=60"}


@pytest.fixture
async def tiny(make_rig: Making) -> Rig:
    """An agent whose quota is too small."""
    return await make_rig(cache={"size_bytes": 2 * MIB}, origin={"retries": 0})


def sha256(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


async def test_without_a_place_to_pass_it_to_the_error_is_typed(tiny: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(SIZE), headers=FRESH)
    with pytest.raises(NoSpace) as caught:
        await tiny.get(url)
    assert caught.value.exit_code == 8
    assert origin.bytes_sent("/file") <= 2 * MIB, "room is made sure of before the transfer"


@pytest.mark.parametrize(
    "behaviour", [Behaviour(), Behaviour(framing="chunked", ranges=False)], ids=["length", "chunked"]
)
async def test_it_passes_through_a_pipe_and_says_so(tiny: Rig, origin: Origin, behaviour: Behaviour) -> None:
    url = origin.serve("/file", content(SIZE), headers=FRESH, behaviour=behaviour)
    got = await tiny.get(url, stream=True)
    assert got.stream == content(SIZE)
    assert got.data is None
    assert (got["size"], got["path"]) == (SIZE, "")
    assert got["bytes"] == {"cache": 0, "peers": 0, "origin": SIZE}
    assert got["warnings"]
    assert (await tiny.stat(url))["cached"] is False
    told = next(event for event in got.heard if event["event"] == "stream")
    assert told["size"] == (SIZE if behaviour.framing == "length" else None)


async def test_a_file_that_fits_is_not_passed_through(tiny: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(100_000), headers=FRESH)
    got = await tiny.get(url, stream=True)
    assert (got.data, got.stream) == (content(100_000), None)


async def test_digests_count_here_too(tiny: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(SIZE), headers=FRESH)
    got = await tiny.get(url, stream=True, digests=[sha256(content(SIZE))])
    assert (got.stream, got["verified"]) == (content(SIZE), "digest")
    assert got["digests"]["sha256"] == sha256(content(SIZE))[7:]
    with pytest.raises(DigestMismatch) as caught:
        await tiny.get(url, stream=True, digests=[sha256(b"another")])
    assert "caller" in caught.value.details["who"]


async def test_the_origins_digest_counts_here_too(tiny: Rig, origin: Origin) -> None:
    wrong = base64.b64encode(hashlib.sha256(b"another").digest()).decode()
    url = origin.serve("/file", content(SIZE), headers={"Repr-Digest": f"sha-256=:{wrong}:"})
    with pytest.raises(DigestMismatch):
        await tiny.get(url, stream=True)


async def test_a_body_cut_short_is_an_error(tiny: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(SIZE), behaviour=Behaviour(close_after=3 * MIB, faults=99))
    with pytest.raises(OriginBroken):
        await tiny.get(url, stream=True)


async def test_credentials_are_shown_here_too(tiny: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(SIZE), behaviour=Behaviour(auth=basic("me", "secret")))
    got = await tiny.get(url, stream=True, auth={"user": "me", "password": "secret"})
    assert (got.stream, got["private"]) == (content(SIZE), True)


async def test_a_reader_that_leaves_ends_it(tiny: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(SIZE))

    def leave(event: dict[str, Any], fd: int) -> None:
        os.close(fd)

    with pytest.raises(Cancelled):
        await tiny.agent.get(tiny.session(), {"url": url, "stream": True}, leave, -1)


async def test_a_reader_that_stands_still_holds_up_the_origin_and_not_the_memory(
    tiny: Rig, origin: Origin
) -> None:
    url = origin.serve("/file", content(SIZE) * 4)
    pipes: list[int] = []
    asked = {"url": url, "stream": True, "deadline_s": 0.3}
    with pytest.raises(DeadlineExceeded):
        await tiny.agent.get(tiny.session(), asked, lambda event, fd: pipes.append(fd), -1)
    assert len(pipes) == 1
    with open(pipes[0], "rb") as pipe:
        held = await asyncio.to_thread(pipe.read)
    assert 0 < len(held) < 4 * MIB
    assert (content(SIZE) * 4).startswith(held)


async def test_the_rate_limit_holds(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(cache={"size_bytes": 2 * MIB}, origin={"retries": 0})
    url = origin.serve("/file", content(SIZE))
    pipes: list[int] = []
    asked = {"url": url, "stream": True, "limit_rate": 1 * MIB, "deadline_s": 0.3}

    def keep(event: dict[str, Any], fd: int) -> None:
        pipes.append(fd)

    reading = asyncio.create_task(asyncio.to_thread(_drain, pipes))
    with pytest.raises(DeadlineExceeded):
        await rig.agent.get(rig.session(), asked, keep, -1)
    assert await reading < 4 * MIB


def _drain(pipes: list[int]) -> int:
    while not pipes:
        pass
    os.set_blocking(pipes[0], True)
    with open(pipes[0], "rb") as pipe:
        return len(pipe.read())
