"""The search: down the ranking, along redirects, never for ever in one place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pstore.swarm.search import ALONE_S, ANSWER_S, MAX_REDIRECTS, MAX_UNANSWERED, TRIES, Search
from p2pstore.types import NodeId

NODES = [NodeId(name) for name in "abcdef"]


def began(*nodes: NodeId) -> Search:
    search = Search(NodeId("me"))
    search.view(nodes)
    search.sent(search.begin(), 0.0)
    return search


def test_each_is_asked_twice_then_the_next_then_from_the_top() -> None:
    search, now, asked = began(*NODES[:2]), 0.0, []
    for _ in range(7):
        now += ANSWER_S
        to = search.overdue(now)
        assert to is not None
        search.sent(to, now)
        asked.append(to)
    assert asked == ["a", "b", "b", "a", "a", "b", "b"]


def test_nothing_is_overdue_before_its_time_or_after_an_answer() -> None:
    search = began(*NODES)
    assert search.overdue(ANSWER_S * 0.9) is None
    search.welcomed()
    assert search.overdue(100.0) is None


def test_who_did_not_answer_is_named_to_the_next() -> None:
    search = began(*NODES)
    for turn in range(1, 2 * TRIES * len(NODES)):
        to = search.overdue(turn * ANSWER_S)
        assert to is not None
        search.sent(to, turn * ANSWER_S)
        assert len(search.unanswered) <= MAX_UNANSWERED
        assert to not in search.unanswered
    search.welcomed()
    assert search.unanswered == ()


def test_redirects_in_a_circle_come_to_an_end() -> None:
    search, followed = began(*NODES), 0
    for turn in range(100):
        to = NODES[turn % 2]
        if not search.follows(to):
            break
        search.sent(to, 0.0)
        followed += 1
    assert 1 <= followed <= MAX_REDIRECTS
    assert search.overdue(ANSWER_S) is not None, "and the search goes on"


def test_a_node_without_any_word_is_alone_and_says_so_once() -> None:
    search = began(*NODES)
    assert not search.found_alone(ALONE_S * 0.9)
    assert search.found_alone(ALONE_S)
    assert not search.found_alone(ALONE_S + 1)
    search.heard(ALONE_S + 2)
    assert not search.found_alone(ALONE_S + 3)
    assert search.found_alone(2 * ALONE_S + 2)


def test_an_empty_view_changes_nothing() -> None:
    search = began(*NODES)
    search.view([])
    assert search.ranked == tuple(NODES)


@given(st.sets(st.sampled_from(NODES), min_size=1), st.integers(1, 6))
def test_one_that_answers_is_found(dead: set[NodeId], count: int) -> None:
    ranked = NODES[:count]
    search, now = began(*ranked), 0.0
    if dead >= set(ranked):
        return
    for _ in range(2 * TRIES * len(ranked)):
        if search.asked not in dead:
            return
        now += ANSWER_S
        to = search.overdue(now)
        assert to is not None
        search.sent(to, now)
    raise AssertionError("the living were not asked")
