"""Terms: which referee counts, which lease is void."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.swarm import terms
from p2pstore.swarm.terms import NO_TERM, Fence, Obedience, Term
from p2pstore.types import NodeId

TERMS = st.builds(Term, st.integers(0, 4), st.sampled_from([NodeId("a"), NodeId("b"), NodeId("c")]))


def test_a_later_reign_goes_before_and_the_id_decides_a_draw() -> None:
    assert NO_TERM < Term(1, NodeId("f")) < Term(2, NodeId("a")) < Term(2, NodeId("b"))
    assert Fence(Term(1, NodeId("a")), 9) < Fence(Term(2, NodeId("a")), 1)


@given(st.lists(TERMS))
def test_what_is_obeyed_never_goes_back(heard: list[Term]) -> None:
    obedience = Obedience()
    obeyed = [term for term in heard if obedience.accepts(term)]
    assert obeyed == sorted(obeyed)
    assert obedience.term == max(heard, default=NO_TERM)


def test_a_lease_of_an_earlier_term_is_refused() -> None:
    obedience = Obedience(Term(2, NodeId("a")))
    assert not obedience.begins(Fence(Term(1, NodeId("b")), 7))
    assert obedience.begins(Fence(Term(2, NodeId("a")), 1))


@given(st.lists(st.integers(0, 40)))
def test_no_fence_is_used_twice_however_short_the_memory(numbers: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terms, "MAX_SEEN", 4)
        obedience = Obedience()
        used = [number for number in numbers if obedience.begins(Fence(NO_TERM, number))]
        assert len(used) == len(set(used))
        assert len(obedience._seen) <= 4
