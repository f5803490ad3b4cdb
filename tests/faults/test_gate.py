"""Whatever a caller spells, the agent connects to no loopback, link-local or metadata address: a canary counts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.agents import Agent
from tests.faults.networks import ORIGIN, RESOLVER, Canary, EveryAddress, Rebinding, Redirector
from tests.faults.trials import budget_s
from tests.faults.wire import AgentSaidNo, Wire

SOMEBODY: Final = 2001
"""The agent's uid: the test itself runs as root, and is another caller to it."""

_V4: Final = (
    "127.0.0.1 127.0.0.2 127.255.255.254 169.254.169.254 169.254.170.2 169.254.0.1 100.100.100.200 168.63.129.16 192.0.0.192 "
    "0.0.0.0 0.1.2.3 224.0.0.1 239.255.255.250 255.255.255.255 240.0.0.1"
).split()
_OTHER_SPELLINGS: Final = (
    "127.1 127.0.1 2130706433 0x7f.1 0x7f000001 0177.1 0177.0.0.01 017700000001 0 0x0 2852039166 0xa9fea9fe 0xA9.0xFE.0xA9.0xFE "
    "0251.0376.0251.0376 169.254.43518 169.16689662 127.0.0.1. 169.254.169.254. localhost LOCALHOST localhost. "
    "localHost.localdomain ip6-localhost %31%32%37.0.0.1 %31%36%39%2e254.169.254"
).split()
_V6: Final = (
    "[::1] [::] [0:0:0:0:0:0:0:1] [0000::0001] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:169.254.169.254] [::ffff:a9fe:a9fe] "
    "[::127.0.0.1] [::7f00:1] [::a9fe:a9fe] [64:ff9b::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::a9fe:a9fe] "
    "[2002:7f00:1::] [2002:7f00:0001::1] [2002:a9fe:a9fe::] [2001:0:0:0:0:0:80ff:fffe] [2001:0:7f00:1::5601:5601] "
    "[fd00:ec2::254] [fe80::1] [fe80::a9fe:a9fe] [febf::1] [ff02::1] [ff0e::1] [fec0::1] [::ffff:0:127.0.0.1] [::ffff:0:0]"
).split()
_TRICKS: Final = (
    "http://example.org@127.0.0.1/",
    "http://example.org:80@169.254.169.254/",
    "http://10.77.0.1@127.0.0.1:80/",
    "http://10.77.0.1#@127.0.0.1/",
    "http://10.77.0.1\\@127.0.0.1/",
    "http://127.0.0.1\\.example.org/",
    "http://127.0.0.1#.example.org/",
    "http://127.0.0.1?.example.org/",
    "http://[::1]:80@10.77.0.1:1/../",
    "http:127.0.0.1/",
    "http:/127.0.0.1/",
    "http:///127.0.0.1/",
    "http://127.0.0.1:00080/",
    "http://127.0.0.1:80:80/",
    "//127.0.0.1/",
    "HTTP://127.0.0.1/",
    "http://\t127.0.0.1/",
    "http://127.0.0.1\r\nHost: x/",
    "ftp://127.0.0.1:80/x",
    "gopher://127.0.0.1:80/_GET%20/",
    "file://127.0.0.1/etc/passwd",
    "dict://127.0.0.1:80/",
    "unix:/run/agent.sock",
    "http+unix://%2Frun%2Fagent.sock/",
    "ws://127.0.0.1/",
    "jar:http://127.0.0.1!/",
    "url:http://127.0.0.1/",
    "data:text/plain,x",
)
_NAMES: Final = {
    "loop.test": "127.0.0.1",
    "loop6.test": "::1",
    "meta.test": "169.254.169.254",
    "meta6.test": "fd00:ec2::254",
    "mapped.test": "::ffff:127.0.0.1",
    "nat64.test": "64:ff9b::a9fe:a9fe",
    "sixtofour.test": "2002:a9fe:a9fe::",
    "any.test": "0.0.0.0",
    "link.test": "fe80::1",
    "azure.test": "168.63.129.16",
}


def _wide(text: str) -> str:
    """The same in full-width digits and ideographic full stops, which IDNA maps to plain ones."""
    return "".join("\u3002" if char == "." else chr(ord(char) + 0xFEE0) for char in text)


_CIRCLED: Final = "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460"
HOSTS: Final = (
    *_V4,
    *_OTHER_SPELLINGS,
    _wide("127.0.0.1"),
    _wide("169.254.169.254"),
    _CIRCLED,
    *_V6,
    *_NAMES,
    "LOOP.TEST",
    "meta.test.",
)
URLS: Final = tuple(dict.fromkeys([*(f"http://{host}/secret" for host in HOSTS), *_TRICKS]))


@pytest.fixture
def network() -> Iterator[EveryAddress]:
    made = EveryAddress(f"p2pf{os.getpid()}")
    yield made
    made.close()


@pytest.fixture
def canary(network: EveryAddress) -> Iterator[Canary]:
    bird = Canary(network)
    bird.start()
    yield bird
    bird.close()


@pytest.fixture
def redirector(network: EveryAddress) -> Iterator[Redirector]:
    server = Redirector(network)
    server.start()
    yield server
    server.close()


@pytest.fixture
def resident(agents: Callable[..., Agent], network: EveryAddress, tmp_path: Path) -> Iterator[Agent]:
    """An agent of another uid inside the network; killed before the network goes."""
    agent = agents("resident")
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "".join(f"{address}\t{name}\n" for name, address in _NAMES.items())
        + "127.0.0.1 localhost\n::1 ip6-localhost\n"
    )
    names = tmp_path / "resolv.conf"
    names.write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")
    agent.spec.binds = {"/etc/hosts": str(hosts), "/etc/resolv.conf": str(names)}
    agent.spec.netns = str(network.path)
    agent.settings = {"ORIGIN_RETRIES": "0", "ORIGIN_CONNECT_TIMEOUT": "3s"}
    agent.belongs_to(SOMEBODY)
    yield agent
    agent.kill()


def _ask_all(agent: Agent, urls: tuple[str, ...]) -> list[str]:
    with agent.wire(timeout_s=30) as wire:
        return [url for url in urls if _handed_out(wire, url)]


def _handed_out(wire: Wire, url: str) -> bool:
    try:
        body = wire.get(url, deadline_s=8.0)
        return body.startswith(Canary.SECRET) and body != Canary.SECRET + ORIGIN.encode()
    except AgentSaidNo:
        return False


@pytest.mark.timeout(budget_s(30))
def test_no_spelling_reaches_the_canary(resident: Agent, canary: Canary, redirector: Redirector) -> None:
    assert len(URLS) * 2 >= 150
    resident.start()
    assert _ask_all(resident, URLS) == []
    assert set(canary.seen) <= {ORIGIN}
    assert _ask_all(resident, tuple(redirector.url(url) for url in URLS)) == []
    assert set(canary.seen) <= {ORIGIN}
    # The allowed origin was asked each time, and followed to nowhere.
    assert redirector.redirects >= len(URLS)
    with resident.wire() as wire:
        assert wire.get(f"http://{ORIGIN}:8000/") == b"ok"


@pytest.mark.timeout(budget_s(20))
def test_a_name_that_changes_its_address_is_judged_again(
    resident: Agent, canary: Canary, redirector: Redirector, network: EveryAddress
) -> None:
    names = Rebinding(network, "169.254.169.254")
    names.start()
    resident.start()
    try:
        with resident.wire(timeout_s=30) as wire:
            for number in range(4):
                for _ in range(3):
                    _handed_out(wire, f"http://rebind{number}.test/secret")
    finally:
        names.close()
    assert sum(names.asked.values()) > 4
    assert set(canary.seen) <= {ORIGIN}, canary.seen
    assert redirector.redirects == 0


@pytest.mark.timeout(budget_s(20))
def test_no_gate_is_noticed(resident: Agent, canary: Canary) -> None:
    resident.start("gate.open_gate")
    assert _ask_all(resident, URLS[:20])
    assert canary.seen


@pytest.mark.timeout(budget_s(10))
def test_the_agents_own_uid_may_name_loopback_but_not_be_sent_there(
    resident: Agent, canary: Canary, redirector: Redirector
) -> None:
    resident.belongs_to(0)
    resident.start()
    assert _ask_all(resident, ("http://127.0.0.1/secret",)) == ["http://127.0.0.1/secret"]
    seen = sum(canary.seen.values())
    assert seen
    assert _ask_all(resident, (redirector.url("http://127.0.0.1/other"),)) == []
    assert _ask_all(resident, ("http://169.254.169.254/secret",)) == []
    assert sum(canary.seen.values()) == seen
