"""Hostile bytes on the job socket: the agent answers with an error or hangs up, and serves the next caller as before."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from typing import Any, Final

import msgpack
import pytest

from tests.faults.agents import Agent
from tests.faults.trials import budget_s, trials
from tests.faults.wire import AgentSaidNo, Wire, frame

MORE_RSS_BYTES: Final = 48 << 20
VERBS: Final = (
    "get open ready close prefetch wait cancel stat ls rm put events check status config nonsense".split()
)
VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 1 << 31, (1 << 63) - 1, 0.5, float("nan"), float("inf"), "", "x", "http://127.0.0.1:1/", "put:x",
    "\0", "x" * 9000, "\u202e", "é" * 600, b"bytes", b"\xff" * 40, [], [[]], [1, 2], ["x"] * 300, {}, {"x": 1}, {"user": 1}, [["a"]],
    [["a", "b", "c"]], [["host", "x\r\ny: z"]], ["sha256:zz"], "../../etc/passwd", "file:///etc/shadow",
)  # fmt: skip
NAMES: Final = (
    "url urls name replace fd want digests headers auth refresh offline max_age_s limit_rate deadline_s progress ignore_query reader "
    "start stop prefix sort limit after versions kinds subset id ver nonsense".split()
)


def _requests(rng: random.Random, count: int) -> Iterator[bytes]:
    """Sound frames with unsound requests: the connection survives them."""
    for number in range(count):
        args = {rng.choice(NAMES): rng.choice(VALUES) for _ in range(rng.randint(0, 4))}
        args.pop("deadline_s", None)
        # Announcing a descriptor that does not come breaks the connection: that is for the unsound ones.
        if args.get("fd") is True:
            args["fd"] = 1
        # A get that would wait for an origin is not hostile, only slow.
        if isinstance(args.get("url"), str) and str(args["url"]).startswith("http"):
            args["offline"] = True
        if args.get("urls"):
            args["urls"] = rng.choice([None, 1, "x", [1], [None]])
        verb = rng.choice(VERBS)
        if verb == "events":
            args["kinds"] = 5
        yield frame([number % 4_000_000_000 + 1, verb, args])


def _nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


def _raw(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


_SOUND: Final = msgpack.packb([1, "status", {}])


def _streams(rng: random.Random) -> bytes:
    """Bytes after which the connection is beyond repair, or waits for more."""
    kind = rng.randrange(12)
    if kind == 0:
        return rng.randbytes(rng.randint(1, 5000))
    if kind == 1:
        return struct.pack(
            ">I", rng.choice([1 << 20, (1 << 20) + 1, 1 << 31, (1 << 32) - 1])
        ) + rng.randbytes(100)
    if kind == 2:
        return _raw(b"")
    if kind == 3:
        return _raw(_nested(rng.choice([20, 1000, 100_000])))
    if kind == 4:
        return _raw(
            rng.choice([b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"]) + struct.pack(">I", (1 << 32) - 1)
        )
    if kind == 5:
        return _raw(_SOUND + b"\0")
    if kind == 6:
        return _raw(
            msgpack.packb(
                rng.choice(
                    [
                        [],
                        [1],
                        [1, "status"],
                        [1, "status", {}, 1],
                        {},
                        1,
                        None,
                        ["1", "status", {}],
                        [0, "status", {}],
                    ]
                )
            )
        )
    if kind == 7:
        return _raw(msgpack.packb([rng.choice([-1, 1 << 32, 1 << 40, 1.5]), "status", {}]))
    if kind == 8:
        damaged = bytearray(_SOUND)
        damaged[rng.randrange(len(damaged))] ^= rng.randint(1, 255)
        return _raw(bytes(damaged))
    if kind == 9:
        return frame([1, "status", {}])[: rng.randint(1, 12)]
    if kind == 10:
        return _raw(msgpack.packb([1, "status", {"x": msgpack.ExtType(5, b"x")}]))
    return frame([1, "status", {}]) + rng.randbytes(50)


def _alive(agent: Agent) -> None:
    with agent.wire(timeout_s=10) as wire:
        assert wire.get("put:kept") == b"kept"


def _answers(wire: Wire, sent: int) -> list[str]:
    """Every request ends in a result or a declared error; an internal error is a defect."""
    found = []
    ended = 0
    while ended < sent:
        number, kind, body, fd = wire.receive()
        if fd >= 0:
            socket.close(fd)
        if kind == 2:
            continue
        ended += 1
        if number == 0 or (kind == 1 and body.get("code") == "internal"):
            found.append(str(body))
    return found


def _sound_frames(agent: Agent, count: int) -> list[str]:
    rng = random.Random("frames")
    found = []
    batch = 500
    for _ in range(max(1, count // batch)):
        with agent.wire(timeout_s=30) as wire:
            frames = list(_requests(rng, batch))
            for one in range(0, batch, 50):
                wire.socket.sendall(b"".join(frames[one : one + 50]))
                try:
                    found += _answers(wire, 50)
                except (ConnectionError, TimeoutError) as error:
                    found.append(f"{type(error).__name__} {error} in {frames[one : one + 50]!r:.300}")
                    break
    return found


def _unsound_streams(agent: Agent, count: int) -> list[str]:
    rng = random.Random("streams")
    found = []
    for _ in range(count):
        data = _streams(rng)
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(10)
            one.connect(str(agent.socket))
            try:
                one.sendall(data)
                one.shutdown(socket.SHUT_WR)
                while one.recv(65536):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                continue
            except TimeoutError:
                found.append(f"no answer and no end after {data[:40]!r}")
    return found


def _unasked_descriptors(agent: Agent, count: int) -> None:
    with open("/dev/null", "rb") as null:
        for number in range(count):
            with agent.wire() as wire:
                fds = [null.fileno()] * (1 + number % 20)
                socket.send_fds(wire.socket, [frame([1, "status", {}])], fds)
                try:
                    assert wire.finish(1).body["pid"] == agent.pid
                except AgentSaidNo as no:
                    # More than one with a frame is against the rule, and ends the connection.
                    assert no.code == "remote_protocol" and len(fds) > 1


def _violations(agent: Agent, sound: int, unsound: int) -> list[str]:
    with agent.wire() as wire:
        wire.put("kept", b"kept")
    _sound_frames(agent, 1000), _unsound_streams(agent, 50)
    rss, fds = agent.rss_bytes(), len(agent.fds())
    found = _sound_frames(agent, sound) + _unsound_streams(agent, unsound)
    _unasked_descriptors(agent, 50)
    try:
        _alive(agent)
    except (ConnectionError, AgentSaidNo, TimeoutError, FileNotFoundError) as error:
        return [*found, f"the agent does not serve any more: {error} {agent.tail()}"]
    if agent.rss_bytes() > rss + MORE_RSS_BYTES:
        found.append(f"grew from {rss >> 20} to {agent.rss_bytes() >> 20} MiB")
    if len(agent.fds()) > fds + 4:
        found.append(f"{len(agent.fds()) - fds} more descriptors: {agent.fds()}")
    if "Traceback" in agent.tail(1_000_000):
        found.append(f"a trace in the log: {agent.tail()}")
    return found


@pytest.mark.timeout(budget_s(40))
def test_nothing_on_the_socket_harms_the_agent(agent: Agent) -> None:
    agent.start()
    assert _violations(agent, trials("hostile frames"), trials("hostile connections")) == []


@pytest.mark.timeout(budget_s(20))
@pytest.mark.parametrize("plant", ["frames.no_checks", "frames.keeps_descriptors"])
def test_a_missing_check_is_noticed(plant: str, agent: Agent) -> None:
    agent.start(plant)
    assert _violations(agent, 1000, 100)
