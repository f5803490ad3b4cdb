"""Invites: one string in, one invite out, and everything else refused without being quoted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import BadRequest
from p2pstore.trust import invite as invite_module
from p2pstore.trust import words
from p2pstore.trust.cluster_key import ClusterKey
from p2pstore.trust.invite import MAX_CHARS, MAX_SEEDS, PREFIX, Invite, is_address

KEY = ClusterKey(bytes(range(32)))
OTHER = ClusterKey(bytes(range(1, 33)))
KNOWN = (
    "p2pinvite1ct3r7cxfpmlzy6yi5yjctfr55aaacaqdaqcqmbyibefawdanbyhraeiscmkbkfqxdamrugy4dupb6aqabjxg6zdfge5donbqgaaa4w3gmqydaor2"
    "gfotunzugaymqopemi"
)

LABELS = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}[a-z0-9]", fullmatch=True)
HOSTS = st.one_of(
    st.lists(LABELS, min_size=1, max_size=4).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda one: f"[{one}]"),
)
SEEDS = st.tuples(HOSTS, st.integers(1, 65535)).map(lambda pair: f"{pair[0]}:{pair[1]}")


def packed(*, cluster: str = KEY.cluster_id, key: bytes = KEY.to_secret(), rest: bytes = b"\0") -> str:
    return words.encode(PREFIX, bytes.fromhex(cluster) + key + rest)


def test_a_known_invite() -> None:
    one = Invite(KEY, ("node1:7400", "[fd00::1]:7400"))
    assert one.to_text() == KNOWN
    assert Invite.from_text(KNOWN) == one
    assert one.cluster_id == KEY.cluster_id


@given(
    st.binary(min_size=32, max_size=32).filter(lambda one: len(set(one)) > 1),
    st.lists(SEEDS, max_size=MAX_SEEDS),
)
def test_what_is_written_is_read(secret: bytes, seeds: list[str]) -> None:
    one = Invite(ClusterKey(secret), tuple(seeds))
    text = one.to_text()
    assert Invite.from_text(f"  {text}\n") == one
    assert len(text) <= MAX_CHARS and text.isalnum() and text.isascii()


@pytest.mark.parametrize(
    "seed",
    [
        "node1:7400", "Node-1.example.org:1", "a_b.c:65535", "10.0.0.1:7400", "[::1]:7400", "[fd00::10.0.0.1]:9",
        "x" * 63 + ":1", "1a:5",
    ],
)  # fmt: skip
def test_what_is_an_address(seed: str) -> None:
    assert is_address(seed)
    assert Invite.from_text(Invite(KEY, (seed,)).to_text()).seeds == (seed,)


@pytest.mark.parametrize(
    "seed",
    [
        "", ":", "node1", "node1:", ":7400", "node1:0", "node1:65536", "node1:07", "node1:+7", "node1:\uff17", "a b:1", "a\n:1",
        "node1:7\n", "-a:1", "a-:1", "a..b:1", ".a:1", "a.:1", "10.0.0:1", "10.0.0.256:1", "1.2.3.4.5:1", "::1:7400", "[::1]",
        "[::g]:1", "[fe80::1%eth0]:1", "[10.0.0.1]:1", "x" * 64 + ":1", "http://a:1", "u@a:1", "\u212a:1", "\u017f:1", "é:1",
        ("x" * 50 + ".") * 5 + "y:1", "\u0661.\u0661:1",
    ],
)  # fmt: skip
def test_what_is_no_address(seed: str) -> None:
    assert not is_address(seed)
    with pytest.raises(BadRequest, match="no address of a member"):
        Invite(KEY, (seed,))


def test_only_so_many_addresses() -> None:
    seeds = tuple(f"node{number}:7400" for number in range(MAX_SEEDS + 1))
    assert Invite.from_text(Invite(KEY, seeds[:-1]).to_text()).seeds == seeds[:-1]
    with pytest.raises(BadRequest, match="at most 16"):
        Invite(KEY, seeds)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        (KEY.to_text(), "does not begin with p2pinvite1"),
        (KNOWN[:-1], "cut or mistyped"),
        (KNOWN + KNOWN[len(PREFIX) :], "cut or mistyped"),
        (f"{KNOWN} {KNOWN}", "other than a-z and 2-7"),
        (packed(cluster=OTHER.cluster_id), "names one cluster and holds the key of another"),
        (packed(key=OTHER.to_secret()), "names one cluster and holds the key of another"),
        (packed(key=bytes(32)), "can't be read"),
        (packed(rest=b""), "can't be read"),
        (packed(rest=b"\0\0"), "can't be read"),
        (packed(rest=b"\1"), "can't be read"),
        (packed(rest=b"\1\0\4a:1"), "can't be read"),
        (packed(rest=b"\1\0\3a:1more"), "can't be read"),
        (packed(rest=b"\1\0\3a:x"), "can't be read"),
        (packed(rest=b"\1\0\4\xc3\xa9:1"), "can't be read"),
        (packed(rest=b"\xff" + b"\0\3a:1" * 255), "can't be read"),
        (words.encode(PREFIX, b""), "can't be read"),
        (words.encode(PREFIX, b"short"), "can't be read"),
        (words.encode(PREFIX, bytes(5000)), "no such text has more than"),
    ],
)
def test_what_is_no_invite(text: str, why: str) -> None:
    with pytest.raises(BadRequest, match=why) as caught:
        Invite.from_text(text)
    assert "p2pstore invite" in caught.value.hint
    assert caught.value.__context__ is None


@given(st.binary(max_size=120))
def test_any_contents_with_a_right_checksum_are_refused_or_canonical(payload: bytes) -> None:
    for prefix in (b"", bytes.fromhex(KEY.cluster_id) + KEY.to_secret()):
        text = words.encode(PREFIX, prefix + payload)
        try:
            assert Invite.from_text(text).to_text() == text
        except BadRequest as error:
            assert text not in str(error)


def assert_never_shown(one: Invite) -> None:
    body = one.to_text()[len(PREFIX) :]
    for shown in (repr(one), str(one), f"{one}", repr((one,))):
        assert KEY.to_secret().hex()[:12] not in shown
        assert body[30:50] not in shown and KEY.to_text()[10:30] not in shown


def test_the_secret_is_never_shown() -> None:
    assert_never_shown(Invite(KEY, ("node1:7400",)))
    assert "node1:7400" in repr(Invite(KEY, ("node1:7400",)))


@pytest.mark.parametrize("planted", [False, True])
def test_seeds_are_looked_at_on_the_way_in(planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    text = packed(rest=b"\1\0\3a:x")
    if planted:
        monkeypatch.setattr(invite_module, "is_address", lambda text: True)
        assert Invite.from_text(text).seeds == ("a:x",)
        return
    with pytest.raises(BadRequest):
        Invite.from_text(text)
