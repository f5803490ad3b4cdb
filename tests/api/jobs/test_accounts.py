from __future__ import annotations

import pytest

from p2pstore.api.jobs.accounts import MAX_HELD_BYTES, MAX_HELD_DESCRIPTORS, Account, weight
from p2pstore.errors import Overloaded


async def test_room_ends_where_the_limits_are() -> None:
    account = Account(1000)
    account.held_bytes, account.descriptors = MAX_HELD_BYTES, MAX_HELD_DESCRIPTORS
    account.must_have_room()
    account.held_bytes += 1
    with pytest.raises(Overloaded, match="uid 1000"):
        account.must_have_room()
    account.held_bytes, account.descriptors = 0, MAX_HELD_DESCRIPTORS + 1
    with pytest.raises(Overloaded):
        account.must_have_room()


def test_a_request_weighs_what_it_may_be_answered_with() -> None:
    assert weight({}) < weight({"url": "u" * 100}) < weight({"urls": ["u" * 100] * 2})
    assert weight({"urls": ["u"] * 10_000}) > 10_000 * 500
