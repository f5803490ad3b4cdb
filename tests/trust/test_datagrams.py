"""Datagrams: what members seal is opened once; everything else is refused, with a reason and without an exception."""

from __future__ import annotations

import gc
import random
import struct
import tracemalloc
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import LocalProtocolError, NodeError
from p2pstore.trust import datagrams
from p2pstore.trust.cluster_key import ClusterKey, Purpose
from p2pstore.trust.datagrams import (
    MAX_BODY_BYTES,
    MAX_DATAGRAM_BYTES,
    MAX_SEQ,
    OVERHEAD_BYTES,
    Opened,
    Opener,
    Refused,
    Sealer,
    Why,
)
from p2pstore.trust.identity import NodeKey, wire_id
from p2pstore.trust.keyring import Keyring
from p2pstore.trust.replay import WINDOW, Senders, Verdict, Window

KEY = ClusterKey(bytes(range(32)))
RING = Keyring((KEY,))
OTHER_RING = Keyring((ClusterKey(bytes(range(1, 33))),))
ME, YOU, THEM = (NodeKey(bytes([number, *range(99, 130)])).node for number in (1, 2, 3))
PING = 1
GOSSIP = 5


def sealer(ring: Keyring = RING, node: str = YOU, generation: int = 7, boot: int = 0x01020304) -> Sealer:
    return Sealer(ring, type(ME)(node), generation, boot)


def opener(ring: Keyring = RING, max_senders: int = 100) -> Opener:
    return Opener(ring, ME, {PING}, max_senders)


def why(result: Opened | Refused) -> Why | None:
    return result.why if isinstance(result, Refused) else None


def test_a_known_datagram() -> None:
    one = Sealer(RING, NodeKey(bytes(range(100, 132))).node, 7, 0x01020304)
    one.seal(1, b"")
    datagram = one.seal(5, b"hello", 2)
    assert datagram.hex() == (
        "0105b902d5e53ae62b16811a0000000701020304000000000001a6cec124046369db46d1e8474e312538854e58fbc5"
    )
    # The same by hand.
    key = KEY.derive(Purpose.DATAGRAMS, bytes.fromhex("d5e53ae62b16811a00000007"))
    nonce = bytes.fromhex("01020304" + "0000" + "000000000001")
    bound = bytes.fromhex(KEY.cluster_id) + datagram[:26]
    assert ChaCha20Poly1305(key).decrypt(nonce, datagram[26:], bound) == b"hello"


@given(
    st.integers(0, 255), st.integers(0, 255), st.binary(max_size=MAX_BODY_BYTES), st.integers(0, 2**32 - 1)
)
def test_what_is_sealed_is_opened(kind: int, flags: int, body: bytes, generation: int) -> None:
    datagram = sealer(generation=generation).seal(kind, body, flags)
    assert len(datagram) == len(body) + OVERHEAD_BYTES <= MAX_DATAGRAM_BYTES
    assert Opener(RING, ME, {kind}).open(memoryview(bytearray(datagram))) == Opened(
        kind=kind, flags=flags, sender=wire_id(YOU), generation=generation, boot=0x01020304, seq=0, body=body
    )


def test_the_largest_body_fits_and_a_larger_one_is_our_own_mistake() -> None:
    one = sealer()
    assert len(one.seal(PING, bytes(MAX_BODY_BYTES))) == MAX_DATAGRAM_BYTES
    with pytest.raises(LocalProtocolError, match="1158 do"):
        one.seal(PING, bytes(MAX_BODY_BYTES + 1))
    for kind, flags in ((256, 0), (-1, 0), (0, 256), (0, -1)):
        with pytest.raises(LocalProtocolError, match="does not fit a byte"):
            one.seal(kind, b"", flags)


@pytest.mark.parametrize(("generation", "boot"), [(-1, 0), (1 << 32, 0), (0, -1), (0, 1 << 32)])
def test_numbers_that_do_not_fit(generation: int, boot: int) -> None:
    with pytest.raises(ValueError, match="32 bits"):
        sealer(generation=generation, boot=boot)


def test_no_number_is_used_twice_even_at_the_end() -> None:
    one = sealer()
    one._seq = MAX_SEQ
    opened = opener().open(one.seal(PING, b"last"))
    assert isinstance(opened, Opened) and opened.seq == MAX_SEQ
    with pytest.raises(NodeError, match="used up"):
        one.seal(PING, b"")


def test_a_failed_seal_uses_no_number() -> None:
    one = sealer()
    with pytest.raises(LocalProtocolError):
        one.seal(PING, bytes(5000))
    opened = opener().open(one.seal(PING, b""))
    assert isinstance(opened, Opened) and opened.seq == 0


def test_nonces_differ_between_twins_and_numbers() -> None:
    nonces = {datagrams._nonce(boot, seq) for boot in (0, 1, 2**32 - 1) for seq in (0, 1, 2**32, MAX_SEQ)}
    assert len(nonces) == 12 and {len(one) for one in nonces} == {12}


def test_bodies_are_not_readable() -> None:
    assert b"a secret body" not in sealer().seal(PING, b"a secret body")


# What is refused


def changed(datagram: bytes, at: int, by: int) -> bytes:
    return datagram[:at] + bytes((datagram[at] ^ by,)) + datagram[at + 1 :]


def check_every_bit_is_bound(body: bytes) -> None:
    datagram = sealer().seal(PING, body)
    for at in range(len(datagram)):
        for bit in range(8):
            one = opener()
            assert isinstance(one.open(changed(datagram, at, 1 << bit)), Refused)
            assert one.senders == 0, "a forged datagram was remembered"
    assert isinstance(opener().open(datagram), Opened)


def test_every_bit_is_bound() -> None:
    check_every_bit_is_bound(b"body")


def _bound_nothing(key: ClusterKey, header: bytes) -> bytes:
    return b""


def _bound_cluster(key: ClusterKey, header: bytes) -> bytes:
    return bytes.fromhex(key.cluster_id)


def _bound_half(key: ClusterKey, header: bytes) -> bytes:
    return bytes.fromhex(key.cluster_id) + header[4:]


@pytest.mark.parametrize("bug", [_bound_nothing, _bound_cluster, _bound_half])
def test_a_header_that_is_not_bound_is_caught(
    bug: Callable[[ClusterKey, bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "_bound", bug)
    with pytest.raises(AssertionError):
        check_every_bit_is_bound(b"body")


def check_cluster_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clusters whose keys collide in everything but the id do not read each other."""
    ours, theirs = ClusterKey(bytes(range(32))), ClusterKey(bytes(range(32)))
    theirs.cluster_id = "0" * 32
    foreign = Sealer(Keyring((theirs,)), YOU, 7, 1).seal(PING, b"")
    assert why(opener(Keyring((ours,))).open(foreign)) is Why.FORGED


def test_the_cluster_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    check_cluster_is_bound(monkeypatch)
    monkeypatch.setattr(datagrams, "_bound", lambda key, header: header)
    with pytest.raises(AssertionError):
        check_cluster_is_bound(monkeypatch)


@pytest.mark.parametrize("what", ["sender", "generation"])
def test_sender_and_generation_have_keys_of_their_own(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not bound by the header alone: the same nonce of two senders or generations is never under one key."""
    keys: list[bytes] = []

    def noted(key: bytes) -> ChaCha20Poly1305:
        keys.append(key)
        return ChaCha20Poly1305(key)

    monkeypatch.setattr(datagrams, "ChaCha20Poly1305", noted)
    sealer()
    sealer(node=THEM) if what == "sender" else sealer(generation=8)
    assert len(keys) == 2 and keys[0] != keys[1]


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", Why.SIZE),
        (b"\1" * (OVERHEAD_BYTES - 1), Why.SIZE),
        (bytes(MAX_DATAGRAM_BYTES + 1), Why.SIZE),
        (bytes(65535), Why.SIZE),
        (bytes(100), Why.VERSION),
        (b"\2" + sealer().seal(PING, b"")[1:], Why.VERSION),
        (changed(sealer().seal(PING, b""), 2, 1), Why.KEY),
        (sealer(OTHER_RING).seal(PING, b""), Why.KEY),
        (sealer(node=ME).seal(PING, b""), Why.OWN),
        (changed(sealer().seal(PING, b"body"), -1 + OVERHEAD_BYTES, 1), Why.FORGED),
        (sealer().seal(PING, b"body")[:-1], Why.FORGED),
        (sealer().seal(PING, b"body") + b"\0", Why.FORGED),
        (sealer().seal(GOSSIP, b""), Why.UNKNOWN),
    ],
)
def test_the_reason_is_said_and_counted(datagram: bytes, reason: Why) -> None:
    one = opener()
    assert why(one.open(datagram)) is reason
    assert one.refused == {**dict.fromkeys(Why, 0), reason: 1}
    assert one.senders == 0


def test_every_other_verdict_has_its_reason() -> None:
    old, one, two = sealer(generation=6), sealer(), sealer(boot=9)
    me = opener()
    late = [one.seal(PING, b"") for _ in range(WINDOW + 1)]
    stale = old.seal(PING, b"")
    assert isinstance(me.open(late[-1]), Opened)
    for datagram, reason in (
        (late[-1], Why.REPEATED),
        (late[0], Why.TOO_OLD),
        (stale, Why.OLD_GENERATION),
        (two.seal(PING, b""), Why.TWIN),
    ):
        refused = me.open(datagram)
        assert isinstance(refused, Refused) and refused.why is reason
        assert refused.sender == wire_id(YOU)
    assert me.open(two.seal(PING, b"")) == Refused(Why.TWIN, wire_id(YOU), 9)
    assert isinstance(me.open(sealer(generation=8).seal(PING, b"")), Opened)


def test_a_foreign_key_with_our_hint_is_forged() -> None:
    foreign = next(
        key
        for number in range(100_000)
        if (key := ClusterKey(number.to_bytes(4, "big") + bytes(range(28)))).hint == KEY.hint
    )
    assert why(opener().open(sealer(Keyring((foreign,))).seal(PING, b""))) is Why.FORGED
    both = Keyring((foreign, KEY))
    assert isinstance(opener(both).open(sealer().seal(PING, b"")), Opened)


def test_a_rotated_sealer_goes_on_and_a_rotated_opener_remembers() -> None:
    one, me = sealer(), opener()
    first = one.seal(PING, b"1")
    assert isinstance(me.open(first), Opened)
    new = OTHER_RING.adding(KEY)
    me.rotate(new)
    one.rotate(new)
    opened = me.open(one.seal(GOSSIP, b"2"))
    assert isinstance(opened, Opened) and opened.seq == 1
    assert why(me.open(first)) is Why.REPEATED
    me.rotate(OTHER_RING)
    assert why(me.open(sealer().seal(PING, b""))) is Why.KEY


# A network that loses, repeats, reorders and forges


def sent_over_a_bad_network(seed: int) -> None:
    """Two members send through it; what arrives is a part of what was sent, each at most once and as it was sent."""
    rng = random.Random(f"network {seed}")
    me, got, sent = opener(), list[tuple[bytes, bytes]](), set[tuple[bytes, bytes]]()
    wire: list[bytes] = []
    for node in (YOU, THEM):
        for generation in (7, 8):
            one = sealer(node=node, generation=generation)
            for number in range(150):
                body = b"%d %d" % (generation, number)
                sent.add((wire_id(node), body))
                wire.append(one.seal(PING, body))
    genuine = [one for one in wire if rng.random() > 0.1]
    arriving = genuine + rng.choices(genuine, k=300)
    arriving += [
        changed(one, rng.randrange(len(one)), rng.randrange(1, 256)) for one in rng.choices(genuine, k=300)
    ]
    arriving += [one[: rng.randrange(len(one))] for one in rng.choices(genuine, k=100)]
    arriving += [one[:26] + other[26:] for one, other in zip(genuine, reversed(genuine), strict=True)]
    rng.shuffle(arriving)
    for datagram in arriving:
        result = me.open(datagram)
        if isinstance(result, Opened):
            got.append((result.sender, result.body))
    assert len(set(got)) == len(got), "taken twice"
    assert set(got) <= sent, "taken though nobody sent it"
    assert len(got) >= 200, "hardly anything arrived"
    assert len(got) + sum(me.refused.values()) == len(arriving)


def test_over_a_bad_network(p2p_seed: int) -> None:
    sent_over_a_bad_network(p2p_seed)


def _decrypt_anything(
    keys: object, header: bytes, sender: bytes, generation: int, nonce: bytes, sealed: bytes
) -> bytes:
    return sealed[:-16]


def _take_anything(self: Senders, *args: object, introduces: bool) -> Verdict:
    return Verdict.NEW


def _take_any_number(self: Window, seq: int) -> Verdict:
    return Verdict.NEW


@pytest.mark.parametrize(
    ("owner", "name", "bug"),
    [
        (datagrams, "_unsealed", _decrypt_anything),
        (Senders, "take", _take_anything),
        (Window, "take", _take_any_number),
    ],
)
def test_over_a_bad_network_planted_bugs_are_caught(
    owner: object, name: str, bug: object, monkeypatch: pytest.MonkeyPatch, p2p_seed: int
) -> None:
    monkeypatch.setattr(owner, name, bug)
    with pytest.raises(AssertionError):
        sent_over_a_bad_network(p2p_seed)


@given(st.binary(max_size=1300))
def test_any_bytes_are_refused(datagram: bytes) -> None:
    one = opener()
    assert isinstance(one.open(datagram), Refused)
    assert one.senders == 0


@given(
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(min_size=8, max_size=8),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=100),
)
def test_any_bytes_behind_a_sound_header_are_refused(
    kind: int, flags: int, sender: bytes, number: int, rest: bytes
) -> None:
    header = struct.pack(
        ">BBBB8sIIHI", 1, kind, KEY.hint, flags, sender, number, number, number >> 16, number
    )
    one = opener()
    assert why(one.open(header + rest)) in {Why.FORGED, Why.SIZE}
    assert one.senders == 0


def grown_by_a_flood(seed: int, count: int = 10_000) -> int:
    """Bytes that an opener keeps of so many hostile datagrams, with sound headers and without."""
    rng = random.Random(f"hostile {seed}")
    one = opener()
    genuine = sealer().seal(PING, b"a body of a datagram")

    def flood(count: int) -> None:
        for _ in range(count):
            cut = rng.randrange(len(genuine))
            assert isinstance(one.open(genuine[:cut] + rng.randbytes(rng.randrange(60))), Refused)

    flood(200)
    gc.collect()
    tracemalloc.start()
    flood(count)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert one.senders == 0 and sum(one.refused.values()) == count + 200
    return grown


def test_hostile_datagrams_cost_no_memory(p2p_seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert grown_by_a_flood(p2p_seed) < 100_000
    kept, plain = list[bytes](), Opener._open

    def planted(self: Opener, datagram: bytes) -> Opened | Refused:
        kept.append(datagram)
        return plain(self, datagram)

    monkeypatch.setattr(Opener, "_open", planted)
    assert grown_by_a_flood(p2p_seed) > 500_000


def test_members_are_remembered_up_to_the_bound() -> None:
    one = opener(max_senders=5)
    for number in range(20):
        node = NodeKey(bytes([number, *range(50, 81)])).node
        assert isinstance(one.open(sealer(node=node).seal(PING, b"")), Opened)
    assert one.senders == 5


def test_nothing_secret_is_shown() -> None:
    one = sealer()
    opened = opener().open(one.seal(PING, b"a secret body"))
    assert "a secret body" not in repr(opened)
    for shown in (repr(one), repr(opener()), repr(RING)):
        assert KEY.to_secret().hex()[:12] not in shown and KEY.to_text()[10:30] not in shown
