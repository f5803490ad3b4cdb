"""Keyrings: one key in use, the others only open; rotation leaves no moment in which two nodes do not understand each other."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import BadConfig
from p2pstore.trust.cluster_key import ClusterKey
from p2pstore.trust.datagrams import Opened, Opener, Sealer
from p2pstore.trust.identity import NodeKey
from p2pstore.trust.keyring import MAX_KEYS, MAX_TEXT_CHARS, Keyring

A, B, C, D = (ClusterKey(bytes([number, *range(31)])) for number in range(100, 104))
ONE, TWO = (NodeKey(bytes([number, *range(31)])).node for number in (1, 2))


def test_the_first_key_is_in_use() -> None:
    ring = Keyring((A, B, C))
    assert ring.current == A and ring.previous == (B, C)


@pytest.mark.parametrize(("keys", "why"), [((), "1 to 3"), ((A, B, C, D), "1 to 3"), ((A, B, A), "twice")])
def test_what_is_no_ring(keys: tuple[ClusterKey, ...], why: str) -> None:
    with pytest.raises(BadConfig, match=why):
        Keyring(keys)


def test_adding_using_removing() -> None:
    ring = Keyring((A,)).adding(B)
    assert ring.keys == (A, B)
    assert ring.adding(A) == ring
    ring = ring.using(B.cluster_id)
    assert ring.keys == (B, A)
    assert ring.removing(A.cluster_id).keys == (B,)
    with pytest.raises(BadConfig, match="in use"):
        ring.removing(B.cluster_id)
    for change in (ring.using, ring.removing):
        with pytest.raises(BadConfig, match="no key of the ring"):
            change(C.cluster_id)
    with pytest.raises(BadConfig, match="1 to 3"):
        ring.adding(C).adding(D)


def test_keys_are_found_by_their_hint() -> None:
    ring = Keyring((A, B, C))
    for hint in range(256):
        assert ring.hinted(hint) == tuple(key for key in (A, B, C) if key.hint == hint)
    assert A in ring.hinted(A.hint)


@given(st.permutations([A, B, C, D]), st.integers(1, MAX_KEYS))
def test_what_is_written_is_read(keys: list[ClusterKey], count: int) -> None:
    ring = Keyring(tuple(keys[:count]))
    assert Keyring.from_text(ring.to_text()) == ring


def test_a_key_file_may_have_comments() -> None:
    text = f"# since June\n\n  {A.to_text()}\r\n#{B.to_text()}\n{C.to_text()}"
    assert Keyring.from_text(text).keys == (A, C)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 3"),
        ("# nothing\n", "1 to 3"),
        (f"{A.to_text()}\n{B.to_text()[:-1]}\n", "line 2 of the key file: .*cut or mistyped"),
        (f"{A.to_text()} {B.to_text()}\n", "line 1 of the key file"),
        ("x" * 200, "line 1 of the key file is no cluster key"),
        ("x" * (MAX_TEXT_CHARS + 1), "longer than"),
        ("\n".join(one.to_text() for one in (A, B, C, D)), "1 to 3"),
    ],
)
def test_what_is_no_key_file(text: str, why: str) -> None:
    with pytest.raises(BadConfig, match=why) as caught:
        Keyring.from_text(text)
    assert caught.value.hint
    assert all(key.to_text()[10:40] not in str(caught.value) for key in (A, B, C, D))


def test_no_secret_in_its_repr() -> None:
    shown = repr(Keyring((A, B)))
    assert A.cluster_id in shown
    assert A.to_text()[10:40] not in shown and A.to_secret().hex()[:20] not in shown


def understand_each_other(rings: dict[str, Keyring]) -> bool:
    """Whether each of two nodes opens what the other seals."""
    one = Sealer(rings["one"], ONE, 1, 1), Opener(rings["one"], ONE, {1})
    two = Sealer(rings["two"], TWO, 1, 1), Opener(rings["two"], TWO, {1})
    there = two[1].open(one[0].seal(1, b"there"))
    back = one[1].open(two[0].seal(1, b"back"))
    return isinstance(there, Opened) and isinstance(back, Opened)


def gaps(steps: list[str]) -> int:
    """Rotate two nodes from A to B by these steps, in every order of nodes: how often they did not understand each other."""
    missed = 0
    for orders in itertools.product((("one", "two"), ("two", "one")), repeat=len(steps)):
        rings = {"one": Keyring((A,)), "two": Keyring((A,))}
        for step, order in zip(steps, orders, strict=True):
            for node in order:
                ring = rings[node]
                if step == "add":
                    rings[node] = ring.adding(B)
                elif step == "use":
                    rings[node] = ring.adding(B).using(B.cluster_id)
                else:
                    rings[node] = ring.removing(A.cluster_id)
                missed += not understand_each_other(rings)
    return missed


def test_rotation_has_no_gap_in_any_order() -> None:
    assert gaps(["add", "use", "remove"]) == 0


def test_rotation_without_its_first_step_has_one() -> None:
    assert gaps(["use", "remove"]) > 0
