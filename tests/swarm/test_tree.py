"""The digest tree: one root whatever the piece size, and no digest that stands for two things."""

from __future__ import annotations

import random

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.swarm import tree
from p2pstore.swarm.tree import LEAF_BYTES, combine, leaf, leaves, parent, piece_digest, root_of, top_of

nodes_lists = st.integers(1, 300).map(lambda count: [bytes([i % 256, i // 256]) * 16 for i in range(count)])


def test_constants_are_the_identity_of_every_stored_object() -> None:
    # Fixed for good: another value would rename every object on every disk.
    assert leaf(b"").hex() == LEAF_EMPTY
    assert leaf(b"abc").hex() == LEAF_ABC
    assert parent(bytes(32), bytes([1]) * 32).hex() == PARENT
    assert root_of(3, leaf(b"abc")) == ROOT_ABC


LEAF_EMPTY = "088e6b3a94b06e82fc5cc89a5472d13f59e4d9dfa7cb13e0e666f8aea11ab011"
LEAF_ABC = "254c93a7811955ec3bf5ab1553aa08079f03381556102b9a5be0e6cdc3ef0eae"
PARENT = "38700f99ef8319e5e4aa964886e73171c0867ad9db95f4f29b640b3082fc70ab"
ROOT_ABC = "582b81a5473db72b8b15e759848bad93b6c06f9da28ea7b33f3038e073c29717"


def test_a_leaf_is_keyed_blake3_of_its_bytes() -> None:
    key = blake3(b"p2pstore tree v1 leaf").digest()
    assert leaf(b"x" * LEAF_BYTES) == blake3(b"x" * LEAF_BYTES, key=key).digest()


def test_leaf_parent_and_root_never_agree_on_equal_input() -> None:
    left, right = leaf(b"a"), leaf(b"b")
    assert len({leaf(left + right), parent(left, right), blake3(left + right).digest()}) == 3
    assert root_of(64, left) != leaf((64).to_bytes(8, "little") + left).hex()


def test_order_and_length_are_part_of_the_name() -> None:
    left, right = leaf(b"a"), leaf(b"b")
    assert parent(left, right) != parent(right, left)
    assert root_of(1, left) != root_of(2, left)


@pytest.mark.parametrize(
    ("size", "count"), [(0, 1), (1, 1), (LEAF_BYTES, 1), (LEAF_BYTES + 1, 2), (3 * LEAF_BYTES, 3)]
)
def test_leaves_are_cut_at_64_kib(size: int, count: int) -> None:
    data = random.Random(size).randbytes(size)
    found = leaves(memoryview(data))
    assert found == leaves(data) == leaves(bytearray(data))
    assert found == [leaf(data[at : at + LEAF_BYTES]) for at in range(0, max(size, 1), LEAF_BYTES)]
    assert len(found) == count


def test_one_node_is_its_own_top() -> None:
    assert top_of([b"x" * 32]) == b"x" * 32


def test_an_odd_last_node_goes_up_unchanged() -> None:
    a, b, c = (leaf(name) for name in (b"a", b"b", b"c"))
    assert top_of([a, b, c]) == parent(parent(a, b), c)
    assert top_of([a, b, c, a, b]) == parent(parent(parent(a, b), parent(c, a)), b)


@given(nodes=nodes_lists, power=st.integers(0, 10))
def test_the_top_does_not_depend_on_the_piece_size(nodes: list[bytes], power: int) -> None:
    factor = 1 << power
    higher = combine(nodes, factor)
    assert len(higher) == -(-len(nodes) // factor)
    assert top_of(higher) == top_of(nodes)


@given(nodes=nodes_lists, power=st.integers(0, 8))
def test_a_piece_is_the_node_above_its_own_leaves(nodes: list[bytes], power: int) -> None:
    factor = 1 << power
    assert combine(nodes, factor) == [
        piece_digest(nodes[at : at + factor]) for at in range(0, len(nodes), factor)
    ]


@given(nodes=nodes_lists, one=st.integers(0, 4), two=st.integers(0, 4))
def test_levels_compose(nodes: list[bytes], one: int, two: int) -> None:
    assert combine(combine(nodes, 1 << one), 1 << two) == combine(nodes, 1 << (one + two))


@given(nodes=nodes_lists, data=st.data())
def test_any_changed_node_changes_the_top(nodes: list[bytes], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(nodes) - 1))
    changed = [*nodes[:at], bytes(32 * [0xEE]), *nodes[at + 1 :]]
    assert top_of(changed) != top_of(nodes)
    assert top_of(nodes) != top_of([*nodes, nodes[-1]])


@pytest.mark.parametrize("factor", [0, -1, -2, 3, 6, 12])
def test_levels_are_powers_of_two(factor: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        combine([b"x" * 32], factor)


def test_no_nodes_no_tree() -> None:
    assert combine([], 4) == []
    with pytest.raises(ValueError, match="at least one"):
        top_of([])


def test_without_separate_keys_a_node_could_pose_as_a_leaf(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = leaf(b"a"), leaf(b"b")
    assert leaf(left + right) != parent(left, right)
    monkeypatch.setattr(tree, "_PARENT_KEY", tree._LEAF_KEY)
    assert leaf(left + right) == parent(left, right)
