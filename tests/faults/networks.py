"""A network of its own in which every address there is belongs to this machine, with a canary behind all of them."""

from __future__ import annotations

import ctypes
import os
import re
import selectors
import socket
import struct
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import Final

_CLONE_NEWNET: Final = 0x40000000
ORIGIN: Final = "10.77.0.1"
"""Where an allowed origin listens: a private address."""
RESOLVER: Final = "10.77.0.53"


class EveryAddress:
    """A network namespace whose loopback device owns all of IPv4 and IPv6."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns") / name
        for command in (
            f"ip netns add {name}",
            f"ip -n {name} link set lo up",
            f"ip -n {name} route add local 0.0.0.0/0 dev lo",
            f"ip -n {name} -6 route add local ::/0 dev lo",
        ):
            subprocess.run(command.split(), check=True, capture_output=True)

    def close(self) -> None:
        """Remove it; processes in it must have ended."""
        subprocess.run(["ip", "netns", "delete", self.name], check=True, capture_output=True)

    def inside(self, make: object) -> object:
        """Call `make` in a thread that has joined the namespace: sockets it opens belong there."""
        results: list[object] = []

        def run() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            fd = os.open(self.path, os.O_RDONLY)
            try:
                if libc.setns(fd, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
                assert callable(make)
                results.append(make())
            finally:
                os.close(fd)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if not results:
            raise AssertionError("no sockets in the namespace")
        return results[0]


class Canary(threading.Thread):
    """Accepts every connection to port 80 of any address, counts it, and answers with a secret that names the address."""

    SECRET: Final = b"credentials of "

    def __init__(self, network: EveryAddress) -> None:
        super().__init__(daemon=True)
        self.seen: Counter[str] = Counter()
        sockets = network.inside(_listen_everywhere)
        assert isinstance(sockets, list)
        self._sockets: list[socket.socket] = sockets
        self._ending, self._end = socket.socketpair()

    def run(self) -> None:
        """The thread."""
        with selectors.DefaultSelector() as selector:
            for listening in (*self._sockets, self._ending):
                selector.register(listening, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._ending:
                        return
                    assert isinstance(key.fileobj, socket.socket)
                    self._answer(key.fileobj)

    def _answer(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            self.seen[connection.getsockname()[0]] += 1
            connection.settimeout(2)
            try:
                connection.recv(65536)
                body = self.SECRET + connection.getsockname()[0].encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            except OSError:
                return

    def close(self) -> None:
        """Stop listening."""
        self._end.send(b"x")
        self.join(10)
        for one in (*self._sockets, self._ending, self._end):
            one.close()


def _listen_everywhere() -> list[socket.socket]:
    listening = []
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        one = socket.socket(family, socket.SOCK_STREAM)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((address, 80))
        one.listen(128)
        listening.append(one)
    return listening


class Redirector(threading.Thread):
    """An allowed origin on port 8000 whose `/to/HEX` sends the caller to the URL that HEX spells."""

    def __init__(self, network: EveryAddress) -> None:
        super().__init__(daemon=True)
        listening = network.inside(lambda: socket.create_server((ORIGIN, 8000), backlog=128))
        assert isinstance(listening, socket.socket)
        self._listening = listening
        self.redirects = 0

    @staticmethod
    def url(target: str) -> str:
        """The URL that leads to `target`."""
        return f"http://{ORIGIN}:8000/to/{target.encode('utf-8', 'surrogatepass').hex()}"

    def run(self) -> None:
        """The thread."""
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                try:
                    self._answer(connection)
                except OSError:
                    continue

    def _answer(self, connection: socket.socket) -> None:
        line = connection.recv(65536).split(b"\r\n")[0].split()
        match = re.fullmatch(rb"/to/((?:[0-9a-f]{2})+)", line[1]) if len(line) > 1 else None
        # A relative target may lead back here with anything behind `/to/`.
        if match is None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            return
        self.redirects += 1
        target = bytes.fromhex(match[1].decode())
        connection.sendall(
            b"HTTP/1.1 302 Found\r\nLocation: "
            + target
            + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )

    def close(self) -> None:
        """Stop."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.join(10)


class Rebinding(threading.Thread):
    """A name server that gives a harmless address the first time and a forbidden one afterwards, never to be kept."""

    def __init__(self, network: EveryAddress, forbidden: str) -> None:
        super().__init__(daemon=True)

        def make() -> socket.socket:
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((RESOLVER, 53))
            one.settimeout(0.2)
            return one

        made = network.inside(make)
        assert isinstance(made, socket.socket)
        self._socket = made
        self._forbidden = forbidden
        self.asked: Counter[str] = Counter()
        self._done = threading.Event()

    def run(self) -> None:
        """The thread."""
        while not self._done.is_set():
            try:
                question, sender = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            self._socket.sendto(self._answer(question), sender)

    def _answer(self, question: bytes) -> bytes:
        end = question.index(0, 12) + 5
        name, kind = question[12 : end - 4], struct.unpack(">H", question[end - 4 : end - 2])[0]
        head = question[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, int(kind == 1), 0, 0)
        if kind != 1:
            return head + question[12:end]
        self.asked[name.hex()] += 1
        address = ORIGIN if self.asked[name.hex()] == 1 else self._forbidden
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(address)
        return head + question[12:end] + record

    def close(self) -> None:
        """Stop."""
        self._done.set()
        self.join(5)
        self._socket.close()
