"""Who hears of what."""

from __future__ import annotations

from typing import Any

import pytest

from p2pstore.agent import events
from p2pstore.agent.events import Bus
from p2pstore.errors import BadRequest, Overloaded
from p2pstore.types import Caller


def caller(uid: int) -> Caller:
    return Caller(uid=uid, gid=uid, pid=1)


def test_subscribers_hear_the_kinds_they_asked_for_until_they_leave() -> None:
    bus = Bus(lambda: 12.0, agent_uid=1)
    heard: list[dict[str, Any]] = []
    leave = bus.subscribe(["ready"], caller(5), heard.append)
    bus.emit("ready", url="http://a/", key="k", size=3)
    bus.emit("failed", url="http://a/", key="k")
    leave()
    bus.emit("ready", url="http://a/", key="k")
    assert heard == [{"event": "ready", "url": "http://a/", "key": "k", "at": 12.0, "size": 3}]


@pytest.mark.parametrize(("uid", "hears"), [(0, True), (1, True), (7, True), (8, False), (77, False)])
def test_events_of_private_entries_go_to_their_owner_only(uid: int, hears: bool) -> None:
    bus = Bus(lambda: 0.0, agent_uid=1)
    heard: list[dict[str, Any]] = []
    bus.subscribe([], caller(uid), heard.append)
    bus.emit("ready", url="http://a/", key="k", scope="uid:7:abcdef")
    assert bool(heard) is hears


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadRequest, match="queued"):
        Bus(lambda: 0.0, agent_uid=1).subscribe(["nonsense"], caller(1), lambda event: None)


def test_subscriptions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_SUBSCRIBERS", 2)
    bus = Bus(lambda: 0.0, agent_uid=1)
    bus.subscribe([], caller(1), lambda event: None)
    bus.subscribe([], caller(1), lambda event: None)
    with pytest.raises(Overloaded):
        bus.subscribe([], caller(1), lambda event: None)
