"""Certificates: the same authority everywhere, and handshakes by the real TLS library with right, foreign and expired ones."""

from __future__ import annotations

import ssl
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import NodeError, RemoteProtocolError
from p2pstore.trust import certificates
from p2pstore.trust.certificates import (
    BACKDATE_S,
    LIFE_S,
    MAX_CERTIFICATE_BYTES,
    RENEW_S,
    Authority,
    NodeCertificate,
    authorities_of,
    check_peer,
)
from p2pstore.trust.cluster_key import ClusterKey, Purpose
from p2pstore.trust.identity import NodeKey
from p2pstore.trust.keyring import Keyring
from p2pstore.types import NodeId

KEY = ClusterKey(bytes(range(32)))
OTHER_KEY = ClusterKey(bytes(range(1, 33)))
OURS = (Authority(KEY),)
FOREIGN = (Authority(OTHER_KEY),)
ONE, TWO = NodeKey(bytes(range(100, 132))), NodeKey(bytes(range(101, 133)))
WALL_S = 1_800_000_000
DAY_S = 86400


def issue(node: NodeKey = ONE, wall_s: float = WALL_S, authority: Authority = OURS[0]) -> NodeCertificate:
    return authority.issue(node.public, wall_s)


def check(der: bytes, wall_s: float = WALL_S, **more: NodeId) -> NodeId:
    return check_peer(der, OURS, wall_s, **more)


def test_every_member_has_the_same_authority_for_good() -> None:
    assert Authority(ClusterKey(bytes(range(32)))).der == OURS[0].der
    assert (
        sha256(OURS[0].der).hexdigest() == "5dbbe7fbc0dabe7e2b2000a95b35bb3c56bb297048b9b40ecc4c49e8fc8aab2c"
    )
    assert FOREIGN[0].der != OURS[0].der


def test_a_known_certificate() -> None:
    one = issue(wall_s=WALL_S + 0.5)
    assert sha256(one.der).hexdigest() == "af250c2a78ce93780b480b8e26b7ca38266dc8cadbe963b79b261ddb23243aaa"
    assert one.node == ONE.node and one.issued_s == WALL_S
    assert issue().der == one.der
    assert issue(wall_s=WALL_S + 1).der != one.der and issue(TWO).der != one.der


def test_what_it_says() -> None:
    certificate = x509.load_der_x509_certificate(issue().der)
    issued = datetime.fromtimestamp(WALL_S, UTC)
    assert certificate.not_valid_before_utc == issued - timedelta(hours=25)
    assert certificate.not_valid_after_utc == issued + timedelta(days=30)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert 0 < certificate.serial_number < 1 << 159
    authority = x509.load_der_x509_certificate(OURS[0].der)
    certificate.verify_directly_issued_by(authority)
    authority.verify_directly_issued_by(authority)


def test_when_a_new_one_is_due() -> None:
    one = issue()
    due = {wall: one.is_due(wall) for wall in (WALL_S, WALL_S + RENEW_S - 1, WALL_S - BACKDATE_S)}
    assert due == dict.fromkeys(due, False)
    assert one.is_due(WALL_S + RENEW_S)
    assert one.is_due(WALL_S - BACKDATE_S - 1), "the clock went back: nobody would take it"
    assert LIFE_S - RENEW_S == 10 * DAY_S


@pytest.mark.parametrize("wall_s", [0, -1, 1_577_000_000, 5_000_000_000, float("nan"), float("inf")])
def test_a_clock_that_nobody_would_believe(wall_s: float) -> None:
    with pytest.raises(NodeError, match="clock") as caught:
        issue(wall_s=wall_s)
    assert "timedatectl" in caught.value.hint


def test_a_peer_is_who_its_key_says() -> None:
    assert check(issue().der) == ONE.node
    assert check(issue().der, expected=ONE.node) == ONE.node
    with pytest.raises(RemoteProtocolError, match=f"node {ONE.node}, not of {TWO.node}"):
        check(issue().der, expected=TWO.node)


@pytest.mark.parametrize(
    ("offset_s", "good"),
    [
        (-BACKDATE_S, True),
        (LIFE_S, True),
        (-BACKDATE_S - 1, False),
        (LIFE_S + 1, False),
        (-10 * DAY_S, False),
    ],
)
def test_a_certificate_is_good_for_a_time(offset_s: int, good: bool) -> None:
    if good:
        assert check(issue().der, WALL_S + offset_s) == ONE.node
        return
    with pytest.raises(RemoteProtocolError, match="not now") as caught:
        check(issue().der, WALL_S + offset_s)
    assert "clocks" in caught.value.hint


def test_a_foreign_one_is_refused() -> None:
    foreign = issue(authority=FOREIGN[0]).der
    with pytest.raises(RemoteProtocolError, match="another cluster"):
        check(foreign)
    assert check_peer(foreign, authorities_of(Keyring((KEY, OTHER_KEY))), WALL_S) == ONE.node


def forged(
    *,
    subject: str = ONE.node,
    signer: Ed25519PrivateKey | None = None,
    issuer: str = f"p2pstore cluster {KEY.cluster_id}",
    names: int = 1,
    other_kind: bool = False,
) -> bytes:
    """What a stranger, or a member that knows the cluster key, can make by hand."""
    signer = signer or Ed25519PrivateKey.from_private_bytes(KEY.derive(Purpose.AUTHORITY))
    public = Ed25519PrivateKey.from_private_bytes(bytes(range(100, 132))).public_key()
    start = datetime.fromtimestamp(WALL_S, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] * names))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key() if other_kind else public)
        .serial_number(5)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
    )
    return builder.sign(signer, None).public_bytes(Encoding.DER)


STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(7, 39)))


@pytest.mark.parametrize(
    ("der", "why"),
    [
        (forged(signer=STRANGER), "none of our keys signed it"),
        (forged(signer=STRANGER, issuer="somebody"), "none of our keys signed it"),
        (forged(issuer="somebody"), "none of our keys signed it"),
        (forged(subject=TWO.node), "names another node than its key"),
        (forged(subject=ONE.node[:32]), "names another node than its key"),
        (forged(names=2), "names another node than its key"),
        (forged(other_kind=True), "not Ed25519"),
        (OURS[0].der, "none of our keys signed it"),
        (b"", "can't be read"),
        (b"\x30\x03\x02\x01\x01", "can't be read"),
        (bytes(MAX_CERTIFICATE_BYTES + 1), "2049 bytes"),
    ],
)
def test_what_is_no_members_certificate(der: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        check(der)
    assert check(forged()) == ONE.node, "the same by hand, but nothing wrong with it"


def check_every_byte_is_signed() -> None:
    der = issue().der
    for at in range(len(der)):
        for by in (1, 2, 0x80):
            changed = der[:at] + bytes((der[at] ^ by,)) + der[at + 1 :]
            with pytest.raises(RemoteProtocolError):
                check(changed)


def test_every_byte_is_signed() -> None:
    check_every_byte_is_signed()


def test_a_signature_that_is_looked_at_alone_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the algorithm outside of what is signed could then be anything."""

    def signed(self: Authority, certificate: x509.Certificate) -> bool:
        try:
            self._public.verify(certificate.signature, certificate.tbs_certificate_bytes)
        except InvalidSignature:
            return False
        return True

    monkeypatch.setattr(Authority, "signed", signed)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_every_byte_is_signed()


@given(st.binary(max_size=600))
def test_any_bytes_are_refused(der: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        check(der)


def test_another_algorithms_signature_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"p2pstore cluster {KEY.cluster_id}")])
    start = datetime.fromtimestamp(WALL_S, UTC)
    der = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ONE.node)]))
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .sign(key, SHA256())
        .public_bytes(Encoding.DER)
    )
    with pytest.raises(RemoteProtocolError, match="none of our keys signed it"):
        check(der)


@pytest.mark.parametrize("bug", ["signature", "id"])
def test_planted_bugs_are_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if bug == "signature":
        monkeypatch.setattr(Authority, "signed", lambda self, certificate: True)
        assert check(forged(signer=STRANGER)) == ONE.node
    else:
        monkeypatch.setattr(certificates, "_id_of", lambda certificate: TWO.node)
        assert check(forged(subject=TWO.node)) == TWO.node


def test_no_secret_in_a_repr() -> None:
    secret = KEY.derive(Purpose.AUTHORITY)
    for shown in (repr(OURS), repr(issue())):
        assert secret.hex()[:12] not in shown and repr(secret)[2:20] not in shown


# The real TLS library


def context(
    path: Path, server: bool, node: NodeKey | None, certificate: NodeCertificate | None
) -> ssl.SSLContext:
    """TLS 1.3, both ends authenticated by the authority, ids checked by us."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.load_verify_locations(cadata=OURS[0].to_pem())
    if node is not None and certificate is not None:
        pem = path / f"{'server' if server else 'client'}.pem"
        pem.write_bytes(node.private_pem() + certificate.to_pem())
        made.load_cert_chain(pem)
    return made


class Ends:
    """Two ends of a connection in memory."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(there, back, server_side=True)
        self.client = client.wrap_bio(back, there)

    def shake_hands(self) -> None:
        """Raises what the first end to refuse raises."""
        done = set[ssl.SSLObject]()
        for _ in range(10):
            for end in (self.client, self.server):
                try:
                    end.do_handshake()
                    done.add(end)
                except ssl.SSLWantReadError:
                    continue
            if len(done) == 2:
                return
        raise AssertionError("the handshake does not end")


@pytest.fixture
def now_s() -> float:
    """The TLS library has no clock but the machine's."""
    return time.time()


def test_members_meet_over_tls(tmp_path: Path, now_s: float) -> None:
    server, client = issue(ONE, now_s), issue(TWO, now_s)
    ends = Ends(context(tmp_path, True, ONE, server), context(tmp_path, False, TWO, client))
    ends.shake_hands()
    assert ends.client.version() == ends.server.version() == "TLSv1.3"
    seen = [end.getpeercert(binary_form=True) for end in (ends.client, ends.server)]
    assert seen == [server.der, client.der]
    assert [check_peer(der, OURS, now_s) for der in seen if der] == [ONE.node, TWO.node]
    ends.client.write(b"a request")
    assert ends.server.read() == b"a request"
    ends.server.write(b"an answer")
    assert ends.client.read() == b"an answer"


@pytest.mark.parametrize("skew_h", [-24, 24])
def test_a_clock_that_is_a_day_off_does_no_harm(tmp_path: Path, now_s: float, skew_h: int) -> None:
    skewed = issue(ONE, now_s + skew_h * 3600)
    ends = Ends(context(tmp_path, True, ONE, skewed), context(tmp_path, False, TWO, issue(TWO, now_s)))
    ends.shake_hands()
    ends.client.write(b"a request")
    assert ends.server.read() == b"a request"


@pytest.mark.parametrize("stranger_serves", [False, True])
@pytest.mark.parametrize("kind", ["foreign", "expired", "not yet good", "stranger", "none"])
def test_others_get_not_one_byte(tmp_path: Path, now_s: float, kind: str, stranger_serves: bool) -> None:
    bad = not_a_member(kind, now_s)
    good = issue(ONE, now_s)
    if stranger_serves:
        ends = Ends(context(tmp_path, True, TWO, bad), context(tmp_path, False, ONE, good))
        member = ends.client
    else:
        ends = Ends(context(tmp_path, True, ONE, good), context(tmp_path, False, TWO, bad))
        member = ends.server
    # The member's own view decides: the handshake never ends for it, so there is nothing to write to.
    with pytest.raises(ssl.SSLError):
        ends.shake_hands()
    with pytest.raises(ssl.SSLError):
        member.write(b"a byte")


def not_a_member(kind: str, now_s: float) -> NodeCertificate | None:
    if kind == "none":
        return None
    if kind == "stranger":
        return NodeCertificate(TWO.node, self_signed(now_s), 0)
    authority = FOREIGN[0] if kind == "foreign" else OURS[0]
    return issue(TWO, now_s + {"expired": -31, "not yet good": 2}.get(kind, 0) * DAY_S, authority)


def self_signed(now_s: float) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(101, 133)))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, TWO.node)])
    start = datetime.fromtimestamp(int(now_s) - 3600, UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = builder.serial_number(5).not_valid_before(start).not_valid_after(start + timedelta(days=1))
    return dated.sign(key, None).public_bytes(Encoding.DER)


def test_a_key_that_is_not_the_certificates_own(tmp_path: Path, now_s: float) -> None:
    with pytest.raises(ssl.SSLError):
        context(tmp_path, False, ONE, issue(TWO, now_s))


def test_during_a_rotation_both_authorities_are_believed(tmp_path: Path, now_s: float) -> None:
    ring = Keyring((OTHER_KEY, KEY))
    server = context(tmp_path, True, ONE, issue(ONE, now_s))
    client = context(tmp_path, False, TWO, issue(TWO, now_s, FOREIGN[0]))
    server.load_verify_locations(cadata="".join(one.to_pem() for one in authorities_of(ring)))
    ends = Ends(server, client)
    ends.shake_hands()
    der = ends.server.getpeercert(binary_form=True)
    assert der is not None and check_peer(der, authorities_of(ring), now_s) == TWO.node
