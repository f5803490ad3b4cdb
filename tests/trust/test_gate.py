"""The gate against every spelling of forbidden addresses that we know, and its rules.

The gate sees what name resolution made of a spelling, so the tables hold both; numeric spellings are checked against the
resolver's own reading.
"""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import BadConfig
from p2pstore.trust import gate
from p2pstore.trust.gate import MAX_RULES, GateRules, Hop, credential_goes_to, judge_address, judge_url_scheme

PLAIN = GateRules()
EVERYTHING = GateRules(allow=("0.0.0.0/0", "::/0"))

LOOPBACK = """
localhost=127.0.0.1 localhost.=127.0.0.1 LOCALHOST=127.0.0.1 localhost.localdomain=127.0.0.1 ip6-localhost=::1
127.0.0.1.names.example.net=127.0.0.1 rebinding.example.net=127.0.0.1 app.localhost=127.0.0.1 \uff11\uff12\uff17.0.0.1=127.0.0.1
127.0.0.1=127.0.0.1 127.1=127.0.0.1 127.0.1=127.0.0.1 127.0.0.2=127.0.0.2 127.8.8.8=127.8.8.8
127.255.255.254=127.255.255.254 127.255.255.255=127.255.255.255 127.0.0.0=127.0.0.0
0x7f.1=127.0.0.1 0x7f.0.0.1=127.0.0.1 0x7f000001=127.0.0.1 0X7F000001=127.0.0.1 0x7f.0x0.0x0.0x1=127.0.0.1
0x07f.0x01=127.0.0.1 2130706433=127.0.0.1 2130706434=127.0.0.2 017700000001=127.0.0.1 0177.0.0.1=127.0.0.1
0177.1=127.0.0.1 00000177.00.00.01=127.0.0.1 127.0x0.01=127.0.0.1 0177.0x0.0.1=127.0.0.1 127.0.65535=127.0.255.255
127.16777215=127.255.255.255
[::1]=::1 [0:0:0:0:0:0:0:1]=::1 [0000:0000:0000:0000:0000:0000:0000:0001]=::1 [::0001]=::1 [::0.0.0.1]=::1
[::ffff:127.0.0.1]=::ffff:127.0.0.1 [::ffff:7f00:1]=::ffff:127.0.0.1 [::FFFF:7F00:0001]=::ffff:7f00:1
[0:0:0:0:0:ffff:127.0.0.1]=::ffff:7f00:1 [::ffff:127.8.8.8]=::ffff:127.8.8.8
"""
LOOPBACK_CARRIED = """
[::127.0.0.1]=::7f00:1 [::7f00:1]=::7f00:1 [::ffff:0:127.0.0.1]=::ffff:0:7f00:1 [64:ff9b::127.0.0.1]=64:ff9b::7f00:1
[64:ff9b::7f00:1]=64:ff9b::7f00:1 [64:ff9b:1::7f00:1]=64:ff9b:1::7f00:1 [64:ff9b:1:7f00:0:100::]=64:ff9b:1:7f00:0:100::
[2002:7f00:1::]=2002:7f00:1:: [2002:7f00:1::1]=2002:7f00:1::1 [2002:7f08:808::2]=2002:7f08:808::2
[2001:0:4136:e378:8000:63bf:80ff:fffe]=2001:0:4136:e378:8000:63bf:80ff:fffe
[2001:0:7f00:1:8000:63bf:3fff:fdd2]=2001:0:7f00:1:8000:63bf:3fff:fdd2
[2001:db8::5efe:127.0.0.1]=2001:db8::5efe:7f00:1 [fd00::200:5efe:7f00:1]=fd00::200:5efe:7f00:1
"""
NEVER = """
169.254.169.254=169.254.169.254 0xA9FEA9FE=169.254.169.254 0xa9.0xfe.0xa9.0xfe=169.254.169.254
2852039166=169.254.169.254 0251.0376.0251.0376=169.254.169.254 025177524776=169.254.169.254
169.254.43518=169.254.169.254 169.16689662=169.254.169.254 0251.254.169.254=169.254.169.254
0xa9.254.0251.254=169.254.169.254 metadata.google.internal=169.254.169.254 metadata=169.254.169.254
instance-data.ec2.internal=169.254.169.254 harmless.example.net=169.254.169.254 metadata.tencentyun.com=169.254.0.23
169.254.170.2=169.254.170.2 169.254.170.23=169.254.170.23 169.254.0.0=169.254.0.0 169.254.255.255=169.254.255.255
169.254.169.253=169.254.169.253 169.254.1=169.254.0.1 1684301000=100.100.100.200 0x64.100.100.200=100.100.100.200
100.100.100.200=100.100.100.200 0144.0144.0144.0310=100.100.100.200 168.63.129.16=168.63.129.16
0xa83f8110=168.63.129.16 2822734096=168.63.129.16 192.0.0.192=192.0.0.192 3221225664=192.0.0.192 192.192=192.0.0.192
[fd00:ec2::254]=fd00:ec2::254 [fd00:0ec2:0:0::0254]=fd00:ec2::254 [fd00:ec2::23]=fd00:ec2::23
[fd20:ce::254]=fd20:ce::254 [::ffff:169.254.169.254]=::ffff:a9fe:a9fe [::ffff:a9fe:a9fe]=::ffff:a9fe:a9fe
[::169.254.169.254]=::a9fe:a9fe [::ffff:0:a9fe:a9fe]=::ffff:0:a9fe:a9fe [64:ff9b::a9fe:a9fe]=64:ff9b::a9fe:a9fe
[64:ff9b::169.254.169.254]=64:ff9b::a9fe:a9fe [64:ff9b:1::a9fe:a9fe]=64:ff9b:1::a9fe:a9fe
[64:ff9b:1:a9fe:a9:fe00::]=64:ff9b:1:a9fe:a9:fe00:: [2002:a9fe:a9fe::]=2002:a9fe:a9fe:: [2002:a9fe:a9fe::1]=2002:a9fe:a9fe::1
[2001:0:4136:e378:8000:63bf:5601:5601]=2001:0:4136:e378:8000:63bf:5601:5601
[2001:0:a9fe:a9fe::f5ff:fffe]=2001:0:a9fe:a9fe::f5ff:fffe [2001:db8::5efe:169.254.169.254]=2001:db8::5efe:a9fe:a9fe
[fe80::5efe:a9fe:a9fe]=fe80::5efe:a9fe:a9fe [::ffff:100.100.100.200]=::ffff:6464:64c8
[64:ff9b::6464:64c8]=64:ff9b::6464:64c8 [2002:6464:64c8::]=2002:6464:64c8:: [::ffff:168.63.129.16]=::ffff:a83f:8110
[64:ff9b::a83f:8110]=64:ff9b::a83f:8110 [2002:a83f:8110::1]=2002:a83f:8110::1 [::ffff:192.0.0.192]=::ffff:c000:c0
[64:ff9b::192.0.0.192]=64:ff9b::c000:c0 [2002:c000:c0::]=2002:c000:c0::
[fe80::1]=fe80::1 [fe80::1%25eth0]=fe80::1%eth0 [fe80::a9fe:a9fe]=fe80::a9fe:a9fe [febf:ffff::1]=febf:ffff::1
[fe80::%25lo]=fe80::%lo printer.local=fe80::1%2
0.0.0.0=0.0.0.0 0=0.0.0.0 0x0=0.0.0.0 00=0.0.0.0 0.0=0.0.0.0 0.0.0.1=0.0.0.1 0.255.255.255=0.255.255.255 1=0.0.0.1
[::]=:: [::0]=:: [0:0:0:0:0:0:0:0]=:: [::0.0.0.0]=:: [::2]=::2 [::ffff:0.0.0.0]=::ffff:0:0 [64:ff9b::]=64:ff9b::
[64:ff9b:1::]=64:ff9b:1:: [2002::]=2002:: [2002:0:1::]=2002:0:1::
224.0.0.1=224.0.0.1 239.255.255.250=239.255.255.250 0xe0000001=224.0.0.1 [ff02::1]=ff02::1 [ff05::2]=ff05::2
[ff0e::1]=ff0e::1 [::ffff:224.0.0.1]=::ffff:e000:1 [64:ff9b::e000:1]=64:ff9b::e000:1 [2002:e000:1::]=2002:e000:1::
255.255.255.255=255.255.255.255 4294967295=255.255.255.255 0xffffffff=255.255.255.255
[::ffff:255.255.255.255]=::ffff:ffff:ffff
"""
RESERVED = """
240.0.0.1=240.0.0.1 250.1.2.3=250.1.2.3 255.255.255.254=255.255.255.254 0xf0000001=240.0.0.1 4026531841=240.0.0.1
192.0.0.8=192.0.0.8 192.0.0.170=192.0.0.170 192.88.99.1=192.88.99.1 [fec0::1]=fec0::1 [feff::1]=feff::1
[4000::1]=4000::1 [100::1]=100::1 [5f00::1]=5f00::1 [e000::1]=e000::1 [fe00::1]=fe00::1 [::1:0:0:1]=::1:0:0:1
[64:ff9b:2::1]=64:ff9b:2::1 [::ffff:240.0.0.1]=::ffff:f000:1 [64:ff9b::f000:1]=64:ff9b::f000:1
[2002:f000:1::]=2002:f000:1:: [fec0::5efe:8.8.8.8]=fec0::5efe:808:808
"""
ALLOWED = """
10.0.0.1=10.0.0.1 10.255.255.255=10.255.255.255 172.16.0.1=172.16.0.1 172.31.255.254=172.31.255.254 10.1=10.0.0.1
192.168.0.1=192.168.0.1 192.168.1=192.168.0.1 0xc0a80101=192.168.1.1 3232235777=192.168.1.1 100.64.0.1=100.64.0.1
100.100.100.201=100.100.100.201 100.127.255.255=100.127.255.255 [fd12:3456:789a::1]=fd12:3456:789a::1 [fc00::1]=fc00::1
[fdff::1]=fdff::1 [fd00:ec1::254]=fd00:ec1::254 [fd20:ce::253]=fd20:ce::253 8.8.8.8=8.8.8.8 134744072=8.8.8.8
1.1.1.1=1.1.1.1 168.63.129.15=168.63.129.15 168.63.129.17=168.63.129.17 192.0.1.1=192.0.1.1 192.0.2.1=192.0.2.1
198.18.0.1=198.18.0.1 223.255.255.255=223.255.255.255 126.255.255.255=126.255.255.255 128.0.0.1=128.0.0.1
169.253.255.255=169.253.255.255 169.255.0.0=169.255.0.0 [2001:4860:4860::8888]=2001:4860:4860::8888 [2a00::1]=2a00::1
[3fff::1]=3fff::1 [::ffff:8.8.8.8]=::ffff:808:808 [::ffff:10.0.0.1]=::ffff:a00:1 [64:ff9b::808:808]=64:ff9b::808:808
[64:ff9b::a00:1]=64:ff9b::a00:1 [64:ff9b:1::808:808]=64:ff9b:1::808:808 [64:ff9b:1:808:8:800::]=64:ff9b:1:808:8:800::
[2002:808:808::1]=2002:808:808::1 [2001:0:4136:e378:8000:63bf:3fff:fdd2]=2001:0:4136:e378:8000:63bf:3fff:fdd2
[2001:db8::5efe:808:808]=2001:db8::5efe:808:808 files.example.org=10.1.2.3 FILES.example.org.=192.168.7.7
"""


def rows(table: str) -> list[tuple[str, str]]:
    return [(spelling, address) for spelling, _, address in (row.partition("=") for row in table.split())]


REFUSED = rows(LOOPBACK) + rows(LOOPBACK_CARRIED) + rows(NEVER) + rows(RESERVED)


def judge(
    spelling: str, address: str, rules: GateRules = PLAIN, *, own: bool = False, redirected: bool = False
) -> str | None:
    return judge_address(Hop(spelling.strip("[]"), address, 80, own, redirected), rules)


def test_the_table_is_long_enough_and_has_no_doubles() -> None:
    assert len(REFUSED) >= 150
    assert len({spelling for spelling, _ in REFUSED}) == len(REFUSED)


@pytest.mark.parametrize(("spelling", "address"), REFUSED + rows(ALLOWED))
def test_the_table_says_what_the_resolver_says(spelling: str, address: str) -> None:
    if spelling.startswith("["):
        assert ipaddress.ip_address(spelling[1:-1].replace("%25", "%")) == ipaddress.ip_address(address)
    elif spelling.isascii() and spelling[0].isdigit() and "names" not in spelling:
        assert socket.inet_ntoa(socket.inet_aton(spelling)) == address


@pytest.mark.parametrize(("spelling", "address"), REFUSED)
def test_a_stranger_gets_to_no_refused_address(spelling: str, address: str) -> None:
    assert judge(spelling, address)
    assert judge(spelling, address, redirected=True)


@pytest.mark.parametrize(("spelling", "address"), rows(LOOPBACK))
def test_loopback_is_for_the_agents_own_user_who_names_it(spelling: str, address: str) -> None:
    assert judge(spelling, address, own=True) is None
    refused = judge(spelling, address, own=True, redirected=True)
    assert refused is not None and "redirect" in refused
    assert judge(spelling, address, EVERYTHING) is None
    assert judge(spelling, address, GateRules(allow=(spelling.strip("[]"), "127.0.0.0/8", "::1"))) is None


@pytest.mark.parametrize(("spelling", "address"), rows(LOOPBACK_CARRIED) + rows(NEVER) + rows(RESERVED))
def test_the_agents_own_user_gets_nothing_else_that_is_refused(spelling: str, address: str) -> None:
    assert judge(spelling, address, own=True)


@pytest.mark.parametrize(("spelling", "address"), rows(NEVER))
def test_never_is_never(spelling: str, address: str) -> None:
    naming = GateRules(allow=("0.0.0.0/0", "::/0", "metadata", "*.internal", "*.net", "*.local"))
    refused = judge(spelling, address, naming, own=True)
    assert refused is not None and "never" in refused


@pytest.mark.parametrize(("spelling", "address"), rows(LOOPBACK_CARRIED) + rows(RESERVED))
def test_the_rest_can_be_allowed(spelling: str, address: str) -> None:
    assert judge(spelling, address, EVERYTHING) is None


@pytest.mark.parametrize(("spelling", "address"), rows(ALLOWED))
def test_public_and_private_addresses_are_asked(spelling: str, address: str) -> None:
    for own in (False, True):
        for redirected in (False, True):
            assert judge(spelling, address, own=own, redirected=redirected) is None


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "127.1", "0x7f.1", "127.0.0.01", "1.2.3", "::g", "8.8.8.8 ", "8.8.8.8/32", "[::1]"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    refused = judge("example.org", text, EVERYTHING)
    assert refused is not None and "not an IP address" in refused


@pytest.mark.parametrize(
    "address", ["168.63.129.16", "192.0.0.192", "224.0.0.1", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::"]
)
def test_what_a_library_may_call_global(address: str) -> None:
    assert judge("example.org", address)


CARRIERS = ["::ffff:{0}", "::ffff:0:{0}", "64:ff9b::{0}", "64:ff9b:1::{0}", "2002:{1}::", "2002:{1}:1::2"]


@given(st.ip_addresses(v=4), st.sampled_from(CARRIERS))
def test_a_carrier_is_judged_as_what_it_carries(inner: ipaddress.IPv4Address, carrier: str) -> None:
    packed = inner.packed.hex()
    outer = carrier.format(inner, f"{packed[:4]}:{packed[4:]}")
    assert (judge("h", outer) is None) == (judge("h", str(inner)) is None)


@given(st.ip_addresses())
def test_every_address_gets_an_answer(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    stranger, own = judge("h", str(address)), judge("h", str(address), own=True)
    allowed = judge("h", str(address), EVERYTHING)
    assert stranger is None or stranger.isprintable()
    assert allowed is None or (allowed == stranger == own and "never" in allowed)
    assert own is None or own == stranger


def test_deny_by_network_address_and_name() -> None:
    rules = GateRules(deny=("10.0.0.0/8", "192.168.1.1", "fd00::/8", "evil.example.org", "*.bad.example.org"))
    for host, address in (
        ("a.org", "10.1.2.3"),
        ("a.org", "192.168.1.1"),
        ("a.org", "fd12::1"),
        ("a.org", "64:ff9b::a01:203"),
        ("Evil.Example.org.", "8.8.8.8"),
        ("x.bad.example.org", "8.8.8.8"),
        ("x.y.bad.example.org", "8.8.8.8"),
    ):
        refused = judge(host, address, rules)
        assert refused is not None and "deny" in refused
    for host, address in (("bad.example.org", "8.8.8.8"), ("verybad.example.org", "11.0.0.1")):
        assert judge(host, address, rules) is None


def test_a_carrier_can_be_denied_as_it_stands() -> None:
    assert judge("h", "64:ff9b::808:808", GateRules(deny=("64:ff9b::/96",)))
    assert judge("h", "8.8.8.8", GateRules(deny=("64:ff9b::/96",))) is None


def test_deny_beats_allow_and_the_own_user() -> None:
    rules = GateRules(allow=("127.0.0.1",), deny=("127.0.0.0/8",))
    assert judge("localhost", "127.0.0.1", rules, own=True)


def test_allow_by_network_address_and_name() -> None:
    rules = GateRules(
        allow=("127.0.0.2", "240.1.0.0/16", "mirror", "*.lab.example.org", "my_host", "münchen.example")
    )
    for host, address in (
        ("a.org", "127.0.0.2"),
        ("a.org", "::ffff:127.0.0.2"),
        ("a.org", "240.1.9.9"),
        ("mirror", "127.0.0.1"),
        ("a.lab.example.org", "::1"),
        ("MY_HOST.", "::1"),
        ("xn--mnchen-3ya.example", "::1"),
    ):
        assert judge(host, address, rules) is None
        assert judge(host, address, rules, redirected=True) is None
    for host, address in (("a.org", "127.0.0.1"), ("lab.example.org", "::1"), ("notmirror", "::1")):
        refused = judge(host, address, rules)
        assert refused is not None and "allow" in refused


def test_a_carrier_is_allowed_when_all_that_it_carries_is() -> None:
    address = "2001:0:7f00:1:8000:63bf:80ff:fffd"  # Teredo: server 127.0.0.1, client 127.0.0.2
    assert judge("h", address, GateRules(allow=("127.0.0.1",)))
    assert judge("h", address, GateRules(allow=("127.0.0.1", "127.0.0.2"))) is None
    assert judge("h", address, GateRules(allow=("2001::/32",))) is None


def test_networks_may_have_host_bits_and_brackets() -> None:
    rules = GateRules(allow=("127.0.0.1/8", "[::1]"))
    assert judge("h", "127.9.9.9", rules) is None
    assert judge("h", "::1", rules) is None


@pytest.mark.parametrize(
    "rule", ["", "*", "*.", "*.*.org", "10.0.0.0/99", "a b", "a..b", "http://x", "x:80", "é" * 90]
)
@pytest.mark.parametrize("which", ["allow", "deny"])
def test_a_rule_that_cannot_be_read_is_an_error(rule: str, which: str) -> None:
    with pytest.raises(BadConfig, match=which):
        GateRules(**{which: (rule,)})


def test_rules_are_bounded() -> None:
    GateRules(deny=("10.0.0.1",) * MAX_RULES)
    with pytest.raises(BadConfig, match="more than"):
        GateRules(deny=("10.0.0.1",) * (MAX_RULES + 1))


def test_rules_are_equal_by_what_was_written() -> None:
    assert GateRules(allow=("mirror",)) == GateRules(allow=("mirror",)) != GateRules()
    assert repr(GateRules(deny=("mirror",))) == "GateRules(allow=(), deny=('mirror',))"


@pytest.mark.parametrize(
    "planted", ["no decoding", "no list of nevers", "no reserved ranges", "loopback for all"]
)
def test_a_hole_in_the_gate_would_be_seen(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if planted == "no decoding":
        monkeypatch.setattr(gate, "_faces", lambda address: (address,))
    elif planted == "no list of nevers":
        monkeypatch.setattr(gate, "NEVER", ())
    elif planted == "no reserved ranges":
        monkeypatch.setattr(gate, "_reserved", lambda faces: None)
    else:
        monkeypatch.setattr(gate, "DENIED", gate.DENIED[2:])
        monkeypatch.setattr(gate, "UNICAST6", (ipaddress.ip_network("::/0"),))
    through = [spelling for spelling, address in REFUSED if judge(spelling, address) is None]
    assert through


@pytest.mark.parametrize(
    ("scheme", "previous", "allowed"),
    [
        ("http", None, True),
        ("https", None, True),
        ("HTTP", None, True),
        ("http", "http", True),
        ("https", "http", True),
        ("https", "https", True),
        ("http", "https", False),
        ("HTTP", "HTTPS", False),
        ("file", None, False),
        ("ftp", "http", False),
        ("gopher", None, False),
        ("", None, False),
        ("unix", "https", False),
    ],
)
def test_schemes(scheme: str, previous: str | None, allowed: bool) -> None:
    assert (judge_url_scheme(scheme, previous) is None) == allowed


HOME = ("https", "example.org", 443)


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (("https", "example.org", 443), True),
        (("HTTPS", "Example.ORG", 443), True),
        (("http", "example.org", 443), False),
        (("https", "example.org", 8443), False),
        (("https", "www.example.org", 443), False),
        (("https", "example.org.", 443), False),
        (("https", "example.org.evil.net", 443), False),
    ],
)
def test_a_credential_goes_to_its_own_origin_only(target: tuple[str, str, int], sent: bool) -> None:
    assert credential_goes_to(HOME, target) is sent
    assert credential_goes_to(target, HOME) is sent
