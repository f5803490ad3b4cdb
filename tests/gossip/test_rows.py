"""The packed table behaves as a sorted dictionary does."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.gossip.homes import SLOTS
from p2pstore.gossip.rows import (
    RowState,
    RowTable,
    Value,
    fingerprint,
    identity_of,
    key_of,
    name_of,
    slot_of_name,
    ver_of,
    whole_seconds,
)
from p2pstore.types import Key, Version

# Few keys in few slots, some of which differ in their last byte only.
KEYS = [bytes([0, slot]) + 29 * b"x" + bytes([n]) for slot in (0, 1, 255) for n in (0, 1, 255)]
NAMES = [key + 15 * b"v" + bytes([n]) for key in KEYS for n in (0, 255)]
names = st.sampled_from(NAMES)
writers = st.sampled_from([0, 1, 255, 256, 65_535])
values = st.builds(
    Value,
    st.integers(0, (1 << 64) - 1),
    st.sampled_from(list(RowState)),
    st.integers(-1, (1 << 63) - 1),
    st.integers(0, (1 << 63) - 1),
    st.integers(-(1 << 31) + 1, (1 << 31) - 1),
)
steps = st.lists(st.tuples(st.sampled_from(["put", "remove"]), names, writers, values), max_size=60)


def filled(script: list[tuple[str, bytes, int, Value]]) -> tuple[RowTable, dict[tuple[bytes, int], Value]]:
    table, model = RowTable(), {}
    for what, name, writer, value in script:
        if what == "put":
            table.put(name, writer, value)
            model[name, writer] = value
        else:
            table.remove(name, writer)
            model.pop((name, writer), None)
    return table, model


@given(steps)
def test_it_is_a_sorted_dictionary(script: list[tuple[str, bytes, int, Value]]) -> None:
    table, model = filled(script)
    table.check()
    assert table.count == len(model)
    rows = [row for slot in table.slots() for row in table.of_slot(slot)]
    assert [(name, writer) for name, writer, _ in rows] == sorted(model)
    assert {(name, writer): value for name, writer, value in rows} == model
    for name in NAMES:
        assert table.get(name, 1) == model.get((name, 1))
    for key in KEYS:
        assert [row[:2] for row in table.of_key(key)] == sorted(
            one for one in model if one[0].startswith(key)
        )


@given(steps, names, writers)
def test_rows_behind_one_follow_it(
    script: list[tuple[str, bytes, int, Value]], name: bytes, writer: int
) -> None:
    table, model = filled(script)
    slot = slot_of_name(name)
    behind = [row[:2] for row in table.of_slot(slot, identity_of(name, writer))]
    assert behind == sorted(one for one in model if slot_of_name(one[0]) == slot and one > (name, writer))


@given(steps, st.integers(0, 3))
def test_a_sweep_takes_out_what_is_not_kept(script: list[tuple[str, bytes, int, Value]], state: int) -> None:
    table, model = filled(script)
    looked = sum(table.sweep(slot, lambda name, writer, value: value.state != state) for slot in range(300))
    assert looked == len(model)
    table.check()
    assert table.count == sum(1 for value in model.values() if value.state != state)


def test_many_slots_are_listed_in_order_too() -> None:
    table = RowTable()
    wanted = sorted(random.Random(1).sample(range(SLOTS), SLOTS // 6))
    for slot in reversed(wanted):
        table.put(slot.to_bytes(2, "big") + 46 * b"n", 0, Value(1, RowState.COMPLETE, 1, 1, 0))
    assert list(table.slots()) == wanted
    assert list(table.slots(wanted[77])) == wanted[77:]


def test_names() -> None:
    key, ver = Key("ab" * 32), Version("cd" * 16)
    name = name_of(key, ver)
    assert (key_of(name), ver_of(name), slot_of_name(name)) == (key, ver, 0xABAB)


@pytest.mark.parametrize(("key", "ver"), [("ab" * 31, "cd" * 17), ("", ""), ("zz" * 32, "cd" * 16)])
def test_what_is_no_name(key: str, ver: str) -> None:
    with pytest.raises(ValueError):
        name_of(Key(key), Version(ver))


def test_moments_are_cut_to_what_fits() -> None:
    assert [whole_seconds(at) for at in (2.9, 1e30, -1e30)] == [2, (1 << 31) - 1, 1 - (1 << 31)]


def test_fingerprints_tell_rows_apart() -> None:
    prints = {fingerprint(name, rver) for name in NAMES for rver in (1, 2)}
    assert len(prints) == 2 * len(NAMES)
    assert all(0 <= one < 1 << 64 for one in prints)
