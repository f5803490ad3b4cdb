"""Locks: each piece in one request, or two in the endgame; nothing leaks."""

from __future__ import annotations

import pytest

from p2pstore.swarm.requests import MAX_REQUESTS, Request, Requests
from p2pstore.types import NodeId

A, B, C = NodeId("aa"), NodeId("bb"), NodeId("cc")


def opened(
    requests: Requests, want: int, peer: NodeId = A, most: int = 2, *, duplicate: bool = False
) -> Request:
    return requests.open(peer, want, most, 1.0, patience_s=1.0, duplicate=duplicate)


def test_a_want_list_is_locked_then_narrowed_then_free() -> None:
    requests = Requests()
    request = opened(requests, 0b1111)
    assert requests.pending == 0b1111
    requests.narrow(request, 0b0110)
    assert requests.pending == 0b0110
    assert requests.with_piece(1) == [request]
    requests.close(request)
    requests.close(request)
    assert (requests.pending, len(requests)) == (0, 0)
    requests.check()


def test_a_duplicate_keeps_the_lock_when_the_other_goes() -> None:
    for first in (0, 1):
        requests = Requests()
        both = [opened(requests, 0b11), opened(requests, 0b01, B, duplicate=True)]
        assert (requests.pending, requests.twice) == (0b11, 0b01)
        assert requests.with_piece(0) == both
        requests.check()
        requests.close(both[first])
        assert requests.pending == (0b01 if first == 0 else 0b11)
        assert requests.twice == 0
        requests.check()


def test_a_piece_is_never_in_three_requests() -> None:
    requests = Requests()
    opened(requests, 0b1)
    opened(requests, 0b1, B, duplicate=True)
    with pytest.raises(AssertionError):
        opened(requests, 0b1, C, duplicate=True)


def test_only_a_duplicate_asks_for_what_is_locked() -> None:
    requests = Requests()
    opened(requests, 0b1)
    with pytest.raises(AssertionError):
        opened(requests, 0b11, B)
    with pytest.raises(AssertionError):
        opened(requests, 0b100, B, duplicate=True)


def test_a_number_belongs_to_its_peer_and_is_never_used_again() -> None:
    requests = Requests()
    request = opened(requests, 0b1)
    assert requests.get(request.rid, B) is None
    assert requests.get(request.rid, A) is request
    requests.close(request)
    assert requests.get(request.rid, A) is None
    assert opened(requests, 0b1).rid > request.rid


@pytest.mark.parametrize(
    "spoil",
    [
        lambda requests: requests._open.clear(),
        lambda requests: setattr(requests, "pending", 0),
        lambda requests: setattr(next(iter(requests)), "left", 0b1000000),
        lambda requests: [opened(requests, 1 << (10 + n), NodeId(str(n))) for n in range(MAX_REQUESTS)],
        lambda requests: [opened(requests, 1 << (10 + n)) for n in range(2)],
        lambda requests: opened(requests, 1 << 50, C, most=9),
    ],
    ids=["forgets", "unlocks", "locks more", "too many", "too many of one", "too long an answer"],
)
def test_check_finds_what_is_out_of_balance(spoil) -> None:  # type: ignore[no-untyped-def]
    requests = Requests()
    opened(requests, 0b1)
    requests.check()
    spoil(requests)
    with pytest.raises(AssertionError):
        requests.check()
