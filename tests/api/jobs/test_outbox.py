from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from p2pstore.api.jobs.outbox import Outbox
from tests.api.fake_agent import open_descriptors

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair(socket.AF_UNIX)
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, far


def test_frames_leave_together_and_in_order(pair: Pair) -> None:
    near, far = pair
    outbox = Outbox()
    for part in (b"a", b"b", b"c"):
        outbox.put(part)
    assert outbox.size_bytes == 3
    assert outbox.send(near)
    assert far.recv(10) == b"abc"
    assert not outbox.frames and outbox.size_bytes == 0


def test_a_descriptor_rides_on_the_first_byte_of_its_frame(pair: Pair) -> None:
    near, far = pair
    outbox = Outbox()
    outbox.put(b"before")
    outbox.put(b"with", os.open("/dev/null", os.O_RDONLY))
    outbox.put(b"after")
    assert outbox.descriptors == 1
    assert outbox.send(near)
    assert far.recv(6) == b"before"
    data, fds, _, _ = socket.recv_fds(far, 1, 4)
    assert data == b"w" and len(fds) == 1
    os.close(fds[0])
    assert far.recv(100) == b"ithafter"
    assert outbox.descriptors == 0


def test_what_was_sent_is_closed_and_what_was_not_too(pair: Pair) -> None:
    near, far = pair
    before = open_descriptors()
    outbox = Outbox()
    outbox.put(b"x", os.open("/dev/null", os.O_RDONLY))
    outbox.send(near)
    assert open_descriptors() == before  # the one on its way is the kernel's
    outbox.put(b"y", os.open("/dev/null", os.O_RDONLY))
    outbox.close()
    assert open_descriptors() == before
    assert outbox.size_bytes == outbox.descriptors == 0
    far.recv(1)


def test_a_full_socket_keeps_the_rest_in_order(pair: Pair) -> None:
    near, far = pair
    outbox = Outbox()
    frames = [bytes([number]) * 50_000 for number in range(40)]
    for frame in frames:
        outbox.put(frame)
    assert not outbox.send(near)
    assert not outbox.stuck
    got = bytearray()
    while len(got) < 40 * 50_000:
        try:
            got += far.recv(1 << 20)
        except BlockingIOError:
            outbox.send(near)
    assert got == b"".join(frames)
    assert outbox.size_bytes == 0


def test_pass_on_falls_back_to_the_queue(pair: Pair) -> None:
    near, far = pair
    outbox = Outbox()
    outbox.pass_on(near, b"x" * (1 << 20), os.open("/dev/null", os.O_RDONLY))
    assert len(outbox.frames) == 1 and outbox.descriptors == 0  # the descriptor went with the first part
    outbox.put(b"tail")
    size = 0
    while size < (1 << 20) + 4:
        try:
            data, fds, _, _ = socket.recv_fds(far, 1 << 20, 4)
        except BlockingIOError:
            outbox.send(near)
            continue
        size += len(data)
        for fd in fds:
            os.close(fd)
    while True:
        try:
            near.send(b"x" * 65536)
        except BlockingIOError:
            break
    outbox.pass_on(near, b"y", os.open("/dev/null", os.O_RDONLY))
    assert outbox.descriptors == 1
    outbox.close()


class Refusing:
    """A socket without room for another descriptor on its way."""

    def sendmsg(self, *_: object) -> int:
        raise OSError(errno.ETOOMANYREFS, "too many")


def test_too_many_descriptors_on_their_way_is_not_the_end() -> None:
    outbox = Outbox()
    outbox.put(b"x", os.open("/dev/null", os.O_RDONLY))
    assert not outbox.send(Refusing())  # type: ignore[arg-type]
    assert outbox.stuck and outbox.descriptors == 1
    outbox.close()


def test_a_gone_reader_is_an_error(pair: Pair) -> None:
    near, far = pair
    far.close()
    outbox = Outbox()
    outbox.put(b"x")
    with pytest.raises(BrokenPipeError):
        outbox.send(near)
