from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgpack
import pytest

from p2pstore.api.jobs import door as door_module
from p2pstore.api.jobs.door import Door
from p2pstore.api.jobs.verbs import Verbs
from p2pstore.wire.frames import encode
from tests.api.fake_agent import FakeAgent


def tail(verb: str, args: dict[Any, Any]) -> bytes:
    return bytes(msgpack.packb(verb) + msgpack.packb(args))


@pytest.fixture
async def door(tmp_path: Path) -> Door:
    return Door(asyncio.get_running_loop(), Verbs(FakeAgent(tmp_path)), 8, {}, lambda _: None)


async def test_checked_requests_are_remembered(door: Door) -> None:
    known = door.learn(tail("get", {"url": "u"}))
    assert known is not None and known[1] == {"url": "u"}
    assert door.remembered[tail("get", {"url": "u"})] is known


@pytest.mark.parametrize(
    "packed",
    [
        tail("open", {"url": "u"}),
        tail("get", {}),
        tail("get", {"url": "u", "fd": True}),
        tail("get", {"url": "u", "auth": {"bearer": "secret"}}),
        tail("get", {"url": "u", "headers": [["cookie", "secret"]]}),
        tail("get", {"url": "u"}) + b"x",
        b"\xff",
        b"",
    ],
)
async def test_no_other_request_is(door: Door, packed: bytes) -> None:
    assert door.learn(packed) is None
    assert door.remembered == {}


async def test_memory_is_bounded(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "MAX_REMEMBERED", 3)
    for number in range(10):
        door.learn(tail("get", {"url": f"u{number}"}))
    assert [known[1]["url"] for known in door.remembered.values()] == ["u7", "u8", "u9"]


def put(door: Door, frame: bytes) -> int:
    door.buffer[: len(frame)] = frame
    return len(frame)


@pytest.mark.parametrize("number", [1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1])
async def test_a_lone_request_is_known_by_its_bytes_whatever_its_id(door: Door, number: int) -> None:
    frame = encode([number, "stat", {"url": "u"}])
    for _ in range(2):
        found = door.lone(put(door, frame))
        assert found is not None
        assert msgpack.unpackb(found[0] + b"\x00\x80") == [number, 0, {}]
        assert found[2] == {"url": "u"}
    assert len(door.remembered) == 1


@pytest.mark.parametrize(
    "frame",
    [
        encode([0, "stat", {"url": "u"}]),
        encode([2**32, "stat", {"url": "u"}]),
        encode(["x", "stat", {"url": "u"}]),
        encode([1, "stat", {"url": "u"}, 1]),
        encode([1, "stat", {"url": "u"}]) + b"\0",
        encode([1, "stat", {"url": "u"}])[:-1],
        encode([1, "ls", {"prefix": "u"}]),
    ],
)
async def test_anything_else_goes_the_longer_way(door: Door, frame: bytes) -> None:
    assert door.lone(put(door, frame)) is None
