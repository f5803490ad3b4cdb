"""The window: nothing twice, nothing new lost within it, and memory that does not grow."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.trust import replay
from p2pstore.trust.replay import WINDOW, Senders, Verdict, Window

A, B = b"a" * 8, b"b" * 8


def take(
    senders: Senders, sender: bytes, generation: int, seq: int, boot: int = 1, *, introduces: bool = True
) -> Verdict:
    return senders.take(sender, generation, boot, seq, introduces=introduces)


def check_window(seqs: list[int]) -> None:
    """Compare a window with a plain set of what was taken."""
    window, taken, highest = Window(), set[int](), -1
    for seq in seqs:
        verdict = window.take(seq)
        if seq <= highest - WINDOW:
            assert verdict is Verdict.TOO_OLD
        elif seq in taken:
            assert verdict is Verdict.REPEATED
        else:
            assert verdict is Verdict.NEW
            taken.add(seq)
        highest = max(highest, seq)
        assert window.highest == highest


NEAR = st.integers(0, 3 * WINDOW)
FAR = st.integers(0, (1 << 48) - 1)


@given(st.lists(st.one_of(NEAR, FAR, st.sampled_from([0, 1, WINDOW - 1, WINDOW, WINDOW + 1])), max_size=60))
def test_it_agrees_with_a_plain_set(seqs: list[int]) -> None:
    check_window(seqs)


def shuffled(p2p_seed: int) -> list[int]:
    """A sender's numbers out of order by less than the window, and each of them once more."""
    rng = random.Random(f"window {p2p_seed}")
    order = sorted(range(5000), key=lambda seq: seq + rng.uniform(0, WINDOW - 1))
    again = [seq for seq in order if rng.random() < 0.5]
    return order + again


def test_reordering_within_the_window_loses_nothing(p2p_seed: int) -> None:
    window = Window()
    order = shuffled(p2p_seed)
    verdicts = [window.take(seq) for seq in order[:5000]]
    assert verdicts == [Verdict.NEW] * 5000
    assert all(window.take(seq) is not Verdict.NEW for seq in order)
    check_window(order)


def test_the_edges() -> None:
    window = Window()
    assert window.take(WINDOW) is Verdict.NEW
    assert window.take(0) is Verdict.TOO_OLD
    assert window.take(1) is Verdict.NEW
    assert window.take(1) is Verdict.REPEATED
    assert window.take(2 * WINDOW) is Verdict.NEW
    assert window.take(WINDOW) is Verdict.TOO_OLD
    assert window.take(WINDOW + 1) is Verdict.NEW


@pytest.mark.parametrize("bug", ["off", "one too wide", "forgets on a jump"])
def test_planted_windows_are_caught(bug: str, monkeypatch: pytest.MonkeyPatch, p2p_seed: int) -> None:
    right = Window.take

    def wrong(self: Window, seq: int) -> Verdict:
        if bug == "off":
            self.highest = max(self.highest, seq)
            return Verdict.NEW
        if bug == "one too wide" and self.highest - seq == WINDOW:
            return Verdict.NEW
        if bug == "forgets on a jump" and seq - self.highest > 1:
            self._seen = 0
        return right(self, seq)

    monkeypatch.setattr(Window, "take", wrong)
    with pytest.raises(AssertionError):
        check_window([*shuffled(p2p_seed), 10_000, 10_000 - WINDOW])


def test_a_jump_costs_no_memory() -> None:
    window = Window()
    for seq in range(0, 1 << 48, 1 << 43):
        window.take(seq)
        window.take(seq + 1)
        assert sys.getsizeof(window._seen) <= WINDOW // 4


def test_a_newer_generation_ends_the_older() -> None:
    senders = Senders()
    assert take(senders, A, 7, 100) is Verdict.NEW
    assert take(senders, A, 8, 0, boot=2) is Verdict.NEW
    assert senders.generation(A) == 8
    assert take(senders, A, 7, 101) is Verdict.OLD_GENERATION
    assert take(senders, A, 8, 0, boot=2) is Verdict.REPEATED
    assert take(senders, B, 7, 100) is Verdict.NEW
    assert senders.generation(b"other") is None


def test_a_twin_is_told_apart_and_does_not_take_over() -> None:
    senders = Senders()
    assert take(senders, A, 7, 1, boot=1) is Verdict.NEW
    assert take(senders, A, 7, 2, boot=2) is Verdict.TWIN
    assert take(senders, A, 7, 2, boot=1) is Verdict.NEW


def test_only_an_introduction_begins_a_sender_or_generation() -> None:
    senders = Senders()
    assert take(senders, A, 7, 1, introduces=False) is Verdict.UNKNOWN
    assert len(senders) == 0
    assert take(senders, A, 7, 1) is Verdict.NEW
    assert take(senders, A, 7, 2, introduces=False) is Verdict.NEW
    assert take(senders, A, 8, 3, introduces=False) is Verdict.UNKNOWN
    assert take(senders, A, 7, 3, introduces=False) is Verdict.NEW


def test_the_sender_that_was_silent_longest_makes_room() -> None:
    senders = Senders(max_senders=3)
    for number in range(3):
        take(senders, bytes([number]) * 8, 1, 5)
    take(senders, bytes(8), 1, 6)
    # What is refused is no sign of life.
    assert take(senders, b"\1" * 8, 1, 5) is Verdict.REPEATED
    take(senders, b"\3" * 8, 1, 0)
    assert len(senders) == 3 and senders.made_room == 1
    assert senders.generation(b"\1" * 8) is None
    assert [senders.generation(bytes([number]) * 8) for number in (0, 2, 3)] == [1, 1, 1]


def test_the_bound_is_the_size_of_a_cluster() -> None:
    senders = Senders()
    for number in range(replay.MAX_SENDERS + 10):
        take(senders, number.to_bytes(8, "big"), 1, 0)
    assert len(senders) == replay.MAX_SENDERS and senders.made_room == 10


@given(
    st.lists(
        st.tuples(
            st.sampled_from([A, B]), st.integers(0, 3), st.integers(1, 2), st.integers(0, 5), st.booleans()
        ),
        max_size=80,
    )
)
def test_nothing_is_taken_twice_whatever_comes(asked: list[tuple[bytes, int, int, int, bool]]) -> None:
    senders, taken, newest = Senders(), set[tuple[bytes, int, int]](), dict[bytes, int]()
    for sender, generation, boot, seq, introduces in asked:
        verdict = senders.take(sender, generation, boot, seq, introduces=introduces)
        if verdict is Verdict.NEW:
            assert (sender, generation, seq) not in taken
            assert generation >= newest.get(sender, 0)
            taken.add((sender, generation, seq))
            newest[sender] = generation
        assert senders.generation(sender) == newest.get(sender)
