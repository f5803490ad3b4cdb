from __future__ import annotations

from typing import Any

from p2pstore.api.jobs.pusher import OUTPUT_MARK_BYTES, PROGRESS_MARK_BYTES, Pusher


class Channel:
    def __init__(self) -> None:
        self.waiting_bytes = 0
        self.sent: list[tuple[int, dict[str, Any], int]] = []

    def push(self, request_id: int, event: dict[str, Any], fd: int) -> None:
        self.sent.append((request_id, event, fd))


def test_progress_gives_way_first() -> None:
    channel = Channel()
    push = Pusher(channel, 7)
    push({"event": "progress"})
    channel.waiting_bytes = PROGRESS_MARK_BYTES + 1
    push({"event": "progress"})
    push({"event": "ready"})
    assert channel.sent == [(7, {"event": "progress"}, -1), (7, {"event": "ready"}, -1)]


def test_what_is_missed_is_told_and_descriptors_are_never_dropped() -> None:
    channel = Channel()
    push = Pusher(channel, 7)
    channel.waiting_bytes = OUTPUT_MARK_BYTES + 1
    push({"event": "ready"})
    push({"event": "ready"})
    assert channel.sent == []
    push({"event": "stream"}, 5)
    channel.waiting_bytes = 0
    push({"event": "ready", "n": 3})
    assert [event for _, event, _ in channel.sent] == [
        {"event": "missed", "count": 2},
        {"event": "stream"},
        {"event": "ready", "n": 3},
    ]
    assert channel.sent[1][2] == 5
