"""Certificates for mutual TLS between members: an authority that every member derives from the cluster key, and one certificate a node. Pure.

Members exchange no certificates beforehand: the same key gives the same authority, byte for byte, on every node. Since each
member can issue them, a certificate proves membership and which key pair the peer has; the id is the hash of that key.
The wall clock is passed in, in seconds since 1970; certificates are the one thing that it decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from p2pstore.errors import NodeError, RemoteProtocolError
from p2pstore.trust.cluster_key import ClusterKey, Purpose
from p2pstore.trust.identity import node_id, spki
from p2pstore.trust.keyring import Keyring
from p2pstore.types import NodeId

LIFE_S: Final = 30 * 86400
"""How long a node's certificate is good from its issue on."""
BACKDATE_S: Final = 25 * 3600
"""It is good from so long before its issue, for peers whose clock is behind, a day and a time zone's mistake included."""
RENEW_S: Final = 20 * 86400
"""A node issues itself a new one at this age, so ten days are left to do so."""
MAX_CERTIFICATE_BYTES: Final = 2048
"""DER of a peer's certificate; ours have about 500."""

# Fixed for good, so that every member has the same bytes.
_FROM: Final = datetime(2020, 1, 1, tzinfo=UTC)
_UNTIL: Final = datetime(2120, 1, 1, tzinfo=UTC)
_SERIAL: Final = 1
# A BIT STRING of 64 bytes without spare bits (RFC 8410 6).
_SIGNATURE_HEAD: Final = b"\x03\x41\x00"


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """One node's certificate; not secret."""

    node: NodeId
    der: bytes = field(repr=False)
    issued_s: int
    """Wall-clock second of its issue."""

    def is_due(self, wall_s: float) -> bool:
        """Whether to issue a new one: it is old, or the clock went back so far that peers would find it not yet good."""
        return not self.issued_s - BACKDATE_S <= wall_s < self.issued_s + RENEW_S

    def to_pem(self) -> bytes:
        """The certificate as TLS libraries read it."""
        return x509.load_der_x509_certificate(self.der).public_bytes(Encoding.PEM)


class Authority:
    """What issues and judges the certificates of one cluster key; whoever has that key has it. Shows no secret in its repr."""

    __slots__ = ("_key", "_name", "_own", "_public", "cluster_id", "der")

    def __init__(self, key: ClusterKey) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(key.derive(Purpose.AUTHORITY))
        self._public = self._key.public_key()
        self.cluster_id = key.cluster_id
        self._name = _named(f"p2pstore cluster {key.cluster_id}")
        self._own = self._made()
        self.der = self._own.public_bytes(Encoding.DER)
        """The authority's own certificate, the same bytes on every member."""

    def to_pem(self) -> str:
        """The authority's certificate in the form that `ssl.SSLContext.load_verify_locations(cadata=...)` takes."""
        return self._own.public_bytes(Encoding.PEM).decode("ascii")

    def issue(self, public: bytes, wall_s: float) -> NodeCertificate:
        """A certificate for the node with this public key of 32 bytes; the same one for the same second.

        Raises NodeError when the clock is outside the authority's own life, so that no peer would take it.
        """
        issued = _readable(wall_s)
        node = node_id(public)
        serial = sha256(spki(public) + issued.to_bytes(8, "big")).digest()[:16]
        subject = Ed25519PublicKey.from_public_bytes(public)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_named(node))
            .issuer_name(self._name)
            .public_key(subject)
            .serial_number(int.from_bytes(serial, "big") | 1)
            .not_valid_before(datetime.fromtimestamp(issued - BACKDATE_S, UTC))
            .not_valid_after(datetime.fromtimestamp(issued + LIFE_S, UTC))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(_BOTH_ENDS, critical=False)
            .add_extension(x509.SubjectKeyIdentifier(_key_name(subject)), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier(_key_name(self._public), None, None), critical=False)
            .sign(self._key, None)
        )
        return NodeCertificate(node, certificate.public_bytes(Encoding.DER), issued)

    def signed(self, certificate: x509.Certificate) -> bool:
        """Whether this authority signed a certificate for a node."""
        if certificate.subject == self._name or not _is_plain(certificate):
            return False
        try:
            # Compares names and algorithms too, of which the outer one is not signed.
            certificate.verify_directly_issued_by(self._own)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def __repr__(self) -> str:
        return f"<Authority of cluster {self.cluster_id}>"

    def _made(self) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._public)
            .serial_number(_SERIAL)
            .not_valid_before(_FROM)
            .not_valid_after(_UNTIL)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier(_key_name(self._public)), critical=False)
            .sign(self._key, None)
        )


def authorities_of(ring: Keyring) -> tuple[Authority, ...]:
    """The authorities of all keys of a ring; the first one issues, all of them are believed."""
    return tuple(Authority(key) for key in ring.keys)


def check_peer(
    der: bytes, authorities: tuple[Authority, ...], wall_s: float, *, expected: NodeId | None = None
) -> NodeId:
    """Who the peer with this certificate is; `expected` is who it has to be, when that is known.

    To be called after the TLS library has accepted it, which alone proves that the peer has the key. Looks once more at
    signature and dates and then at what TLS knows nothing of: the id. Raises RemoteProtocolError that says what is wrong.
    """
    certificate = _parsed(der)
    if not any(authority.signed(certificate) for authority in authorities):
        raise _refused("is of another cluster: none of our keys signed it")
    if (
        not certificate.not_valid_before_utc.timestamp()
        <= wall_s
        <= certificate.not_valid_after_utc.timestamp()
    ):
        raise _refused(
            f"is good from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, which is not now",
            hint="compare the clocks of both nodes",
        )
    found = _id_of(certificate)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(certificate.subject) != 1 or [name.value for name in names] != [found]:
        raise _refused(f"names another node than its key, whose id is {found}")
    if expected is not None and found != expected:
        raise _refused(f"is that of node {found}, not of {expected}")
    return found


def _parsed(der: bytes) -> x509.Certificate:
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise _refused(f"has {len(der)} bytes; ours have less than {MAX_CERTIFICATE_BYTES}")
    try:
        certificate = x509.load_der_x509_certificate(der)
        # Read here what is read later: a field is only looked at when it is asked for.
        parts = (certificate.issuer, certificate.subject, certificate.not_valid_before_utc)
        _ = (parts, certificate.not_valid_after_utc, certificate.signature)
    # Some versions look up what is not there; of some oddities the library only warns, which Python may be told to raise.
    except (ValueError, TypeError, LookupError, x509.InvalidVersion, UnsupportedAlgorithm, Warning):
        raise _refused("can't be read") from None
    return certificate


def _id_of(certificate: x509.Certificate) -> NodeId:
    try:
        public = certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _refused("holds a key that can't be read") from None
    if not isinstance(public, Ed25519PublicKey):
        raise _refused("holds a key that is not Ed25519")
    return node_id(public.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _is_plain(certificate: x509.Certificate) -> bool:
    """Whether it ends as every Ed25519 certificate does: its signature has 64 bytes, and nothing but the spelling of that is unsigned."""
    return certificate.public_bytes(Encoding.DER).endswith(_SIGNATURE_HEAD + certificate.signature)


def _refused(why: str, hint: str = "") -> RemoteProtocolError:
    return RemoteProtocolError(f"the peer's certificate {why}", hint=hint)


def _readable(wall_s: float) -> int:
    first, last = _FROM.timestamp() + BACKDATE_S, _UNTIL.timestamp() - LIFE_S
    if not first <= wall_s <= last:
        raise NodeError(
            f"this machine's clock says {wall_s:.0f} seconds since 1970, which is not in 2020-2119",
            hint="set the clock (timedatectl) and start again",
        )
    return int(wall_s)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_name(public: Ed25519PublicKey) -> bytes:
    """What stands for a key in other certificates (RFC 7093 2, method 1)."""
    return sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).digest()[:20]


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


_BOTH_ENDS: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
"""Every member is server and client."""
