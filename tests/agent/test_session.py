"""What a door and the agent hand each other."""

from __future__ import annotations

from p2pstore.agent.session import Reply, Session
from p2pstore.types import Caller


def test_a_reply_has_no_descriptor_unless_given_one() -> None:
    assert Reply({"a": 1}) == ({"a": 1}, -1)
    assert Reply(b"encoded", 5).fd == 5


def test_connections_of_one_caller_share_nothing() -> None:
    caller = Caller(uid=7, gid=7, pid=1)
    one, other = Session(caller), Session(caller)
    assert one != other
    assert one.readers is not other.readers
    assert not one.closed
