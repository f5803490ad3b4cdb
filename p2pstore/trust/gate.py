"""The gate: which addresses an origin may have, judged for every resolved address of every hop. Pure.

The table is our own and not `ipaddress.is_global`, which calls several cloud metadata addresses global. An IPv6 address
that carries an IPv4 address is judged by what it carries. Private ranges are allowed: origins on the own network
are the main use, and callers are local users with the same reach.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import idna

from p2pstore.errors import BadConfig

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_RULES: Final = 4096
"""Bound of `allow` and of `deny`, which are searched for every connection."""

NEVER: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ip_network(network), why)
    for network, why in (
        # Metadata services hand the node's own credentials to whoever asks from it.
        ("169.254.169.254", "the metadata service of most clouds"),
        ("100.100.100.200", "Alibaba's metadata service"),
        ("168.63.129.16", "Azure's host agent"),
        ("192.0.0.192", "Oracle's metadata service"),
        ("fd00:ec2::/32", "the metadata services of AWS"),
        ("fd20:ce::254", "Google's metadata service"),
        ("169.254.0.0/16", "link-local (RFC 3927)"),
        ("fe80::/10", "link-local (RFC 4291 2.5.6)"),
        ("0.0.0.0/8", "this host on this network (RFC 791 3.2)"),
        ("::/128", "unspecified (RFC 4291 2.5.2)"),
        ("224.0.0.0/4", "multicast (RFC 5771)"),
        ("ff00::/8", "multicast (RFC 4291 2.7)"),
        ("255.255.255.255", "broadcast (RFC 919)"),
    )
)
"""Refused whatever the configuration says."""

LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1"))

DENIED: Final[tuple[tuple[Network, str], ...]] = (
    *((network, "loopback") for network in LOOPBACK),
    (ip_network("192.0.0.0/24"), "reserved for protocols (RFC 6890)"),
    (ip_network("192.88.99.0/24"), "reserved, once 6to4 relays (RFC 7526)"),
    (ip_network("240.0.0.0/4"), "reserved (RFC 1112 4)"),
)
"""Refused unless `allow` names them."""

UNICAST6: Final = (ip_network("2000::/3"), ip_network("fc00::/7"))
"""Global unicast and unique local (RFC 4291 2.4, RFC 4193); the rest of IPv6 is reserved, site-local too."""

_PLAIN_HOST: Final = re.compile(
    r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\Z"
)  # underscores too: names of the own network have them
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_LAST_32_BITS: Final = (
    IPv6Network("::/96"),  # IPv4-compatible, RFC 4291 2.5.5.1
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated, RFC 7915
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052 2.1
)
_NAT64_LOCAL: Final = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_6TO4: Final = IPv6Network("2002::/16")  # RFC 3056
_TEREDO: Final = IPv6Network("2001::/32")  # RFC 4380
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)  # RFC 5214 6.1: the upper half of the interface identifier


@dataclass(frozen=True, slots=True)
class GateRules:
    """What an operator adds: networks (`10.0.0.0/8`), addresses and host names (`*.example.org` for all below it).

    `deny` beats `allow`, and nothing allows what is in NEVER. Raises BadConfig when a rule can't be read.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    _allow: _Matcher = field(init=False, repr=False, compare=False)
    _deny: _Matcher = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_allow", _Matcher.read("allow", self.allow))
        object.__setattr__(self, "_deny", _Matcher.read("deny", self.deny))

    def denies(self, host: str, address: Address, faces: tuple[Address, ...]) -> bool:
        """Whether `deny` names the host, the address or anything that the address stands for."""
        return self._deny.has_host(host) or any(map(self._deny.has_address, (address, *faces)))

    def allows(self, host: str, address: Address, faces: tuple[Address, ...]) -> bool:
        """Whether `allow` names the host, the address or everything that the address stands for."""
        if self._allow.has_host(host) or self._allow.has_address(address):
            return True
        return all(map(self._allow.has_address, faces))


@dataclass(frozen=True, slots=True)
class Hop:
    """One connection about to be made: `host` as in the URL, `address` as resolved, as text."""

    host: str
    address: str
    port: int
    own_uid: bool = False
    """The caller has the agent's own uid and named this host itself."""
    redirected: bool = False
    """A redirect named this host, not the caller."""


def judge_address(hop: Hop, rules: GateRules) -> str | None:
    """Why the connection is refused, as words that may follow the address; None when it may be made."""
    try:
        address = ip_address(hop.address.partition("%")[0])
    except ValueError:
        return f"{hop.address!r} is not an IP address"
    faces = _faces(address)
    never = _found(faces, NEVER)
    if never is not None:
        return f"{never}, which is never asked"
    if rules.denies(hop.host, address, faces):
        return "listed in [origin] deny"
    denied = _found(faces, DENIED) or _reserved(faces)
    if denied is None or rules.allows(hop.host, address, faces):
        return None
    if _is_loopback(address) and hop.own_uid:
        return "loopback, and a redirect led there" if hop.redirected else None
    return f"{denied}, which [origin] allow does not list"


def judge_url_scheme(scheme: str, previous_scheme: str | None = None) -> str | None:
    """Why a URL of this scheme is not followed, or None; `previous_scheme` is that of the URL that redirected."""
    scheme = scheme.lower()
    if scheme not in ("http", "https"):
        return f"scheme {scheme!r} is not asked over the network; use http or https"
    if scheme == "http" and previous_scheme is not None and previous_scheme.lower() == "https":
        return "a redirect from https to http is not followed"
    return None


def credential_goes_to(origin: tuple[str, str, int], target: tuple[str, str, int]) -> bool:
    """Whether a credential meant for `origin` (scheme, host, port) is sent to `target`: only if they are one."""
    return _same_case(origin) == _same_case(target)


@dataclass(frozen=True, slots=True)
class _Matcher:
    """Rules of one list, read once."""

    networks: tuple[Network, ...]
    hosts: frozenset[str]
    domains: tuple[str, ...]

    @classmethod
    def read(cls, name: str, rules: Iterable[str]) -> _Matcher:
        networks: list[Network] = []
        hosts: set[str] = set()
        domains: list[str] = []
        for count, rule in enumerate(rules):
            if count >= MAX_RULES:
                raise BadConfig(f"[origin] {name} has more than {MAX_RULES} rules")
            network = _network(rule)
            if network is not None:
                networks.append(network)
            elif rule.startswith("*."):
                domains.append("." + _host(name, rule, rule[2:]))
            else:
                hosts.add(_host(name, rule, rule))
        return cls(tuple(networks), frozenset(hosts), tuple(domains))

    def has_host(self, host: str) -> bool:
        host = host.lower().rstrip(".")
        return host in self.hosts or host.endswith(self.domains)

    def has_address(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def _network(rule: str) -> Network | None:
    try:
        return ip_network(rule.strip("[]"), strict=False)
    except ValueError:
        return None


def _host(name: str, rule: str, host: str) -> str:
    host = host.lower().rstrip(".")
    if _PLAIN_HOST.match(host):
        return host
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise BadConfig(f"[origin] {name}: {rule!r} is no network, address or host name: {error}") from error


def _faces(address: Address) -> tuple[Address, ...]:
    """What an address stands for: itself, or the IPv4 addresses that it carries."""
    if isinstance(address, IPv4Address):
        return (address,)
    packed = address.packed
    if address in _MAPPED:
        return (IPv4Address(packed[12:]),)
    if any(address in network for network in _LAST_32_BITS):
        # :: and ::1 are of this form too, but are addresses of their own.
        return (address,) if int(address) <= 1 else (IPv4Address(packed[12:]),)
    if address in _NAT64_LOCAL:
        # The prefix is 48 bits long, or 96; RFC 6052 2.2 fills what a form does not use with zeros.
        carried = (packed[6:8] + packed[9:11], packed[12:])
        return tuple(IPv4Address(four) for four in carried if any(four)) or (IPv4Address(0),)
    if address in _6TO4:
        return (IPv4Address(packed[2:6]),)
    if address in _TEREDO:
        return IPv4Address(packed[4:8]), IPv4Address(bytes(byte ^ 0xFF for byte in packed[12:]))
    if int.from_bytes(packed[8:12]) in _ISATAP:
        return address, IPv4Address(packed[12:])
    return (address,)


def _found(faces: tuple[Address, ...], table: tuple[tuple[Network, str], ...]) -> str | None:
    return next((why for network, why in table for face in faces if face in network), None)


def _reserved(faces: tuple[Address, ...]) -> str | None:
    for face in faces:
        if isinstance(face, IPv6Address) and not any(face in network for network in UNICAST6):
            return "reserved (RFC 4291 2.4)"
    return None


def _is_loopback(address: Address) -> bool:
    """Whether the kernel itself takes it for this host; an address that only carries 127.0.0.1 is none."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in LOOPBACK)


def _same_case(origin: tuple[str, str, int]) -> tuple[str, str, int]:
    scheme, host, port = origin
    return scheme.lower(), host.lower(), port
