"""The gate's hook: no socket without its yes."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from p2pstore.errors import GateRefused, OriginUnreachable
from p2pstore.sources import dial
from p2pstore.sources.dial import AddressInfo, Dialer, Route
from p2pstore.trust.gate import GateRules


def info(address: str, port: int = 80) -> AddressInfo:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))


def resolve_to(monkeypatch: pytest.MonkeyPatch, *infos: AddressInfo) -> None:
    async def addresses(host: str, port: int) -> list[AddressInfo]:
        return list(infos)

    monkeypatch.setattr(dial, "_addresses", addresses)


@pytest.fixture
async def port() -> Any:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def test_connects_where_the_gate_says_yes(port: int) -> None:
    for host in ("127.0.0.1", "localhost"):
        with await Dialer(GateRules()).connect(Route(host, port, True, False), 5.0) as made:
            assert made.getpeername() == ("127.0.0.1", port)
            assert made.gettimeout() == 0.0


@pytest.mark.parametrize(
    ("own_uid", "redirected", "deny"), [(False, False, ()), (True, True, ()), (True, False, ("127.0.0.0/8",))]
)
async def test_no_connection_where_it_says_no(
    port: int, own_uid: bool, redirected: bool, deny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_socket(*args: Any) -> None:
        raise AssertionError("a socket was made")

    dialer = Dialer(GateRules(deny=deny))
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "sock_connect", no_socket)
    with pytest.raises(GateRefused) as caught:
        await dialer.connect(Route("127.0.0.1", port, own_uid, redirected), 5.0)
    assert caught.value.details == {"host": "127.0.0.1", "address": "127.0.0.1", "config": "origin.allow"}


async def test_a_name_with_a_refused_and_a_good_address(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, info("169.254.169.254", port), info("127.0.0.1", port))
    with await Dialer(GateRules(allow=("127.0.0.1",))).connect(Route("h", port, False, False), 5.0) as made:
        assert made.getpeername()[0] == "127.0.0.1"


async def test_a_name_that_resolves_to_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, info("169.254.169.254"))
    with pytest.raises(GateRefused, match=r"h \(169.254.169.254\)"):
        await Dialer(GateRules(allow=("h",))).connect(Route("h", 80, True, False), 5.0)


async def test_the_next_address_when_one_does_not_answer(
    port: int, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, info("127.0.0.1", unused_tcp_port), info("127.0.0.1", port))
    with await Dialer(GateRules()).connect(Route("h", port, True, False), 5.0) as made:
        assert made.getpeername()[1] == port


async def test_no_address_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch)
    with pytest.raises(OriginUnreachable, match="no address"):
        await Dialer(GateRules()).connect(Route("h", 80, True, False), 5.0)

    async def never(host: str, port: int) -> list[AddressInfo]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(dial, "_addresses", never)
    with pytest.raises(OriginUnreachable, match="within"):
        await Dialer(GateRules()).connect(Route("h", 80, True, False), 0.05)


def test_a_literal_needs_no_resolver() -> None:
    assert asyncio.run(dial._addresses("::1", 5))[0][4] == ("::1", 5, 0, 0)
    assert asyncio.run(dial._addresses("127.0.0.1", 5))[0][4] == ("127.0.0.1", 5)
