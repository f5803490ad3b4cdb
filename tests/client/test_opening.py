from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pstore.client.channel import Channel
from p2pstore.client.opening import MAX_IDLE, Idle, open_url
from p2pstore.errors import NotCached, RemoteProtocolError
from tests.api.fake_agent import FakeAgent, Growing, open_descriptors, serving, settles_at

CONTENT = os.urandom(3_000_000)


def test_connections_are_kept_for_the_next_file(tmp_path: Path) -> None:
    def prepare(agent: FakeAgent) -> None:
        agent.add("u", b"one")
        path = agent.directory / "growing"
        path.write_bytes(CONTENT)
        agent.growing["grow"] = Growing(CONTENT, path, available=2_000_000)

    with serving(tmp_path, prepare=prepare) as server:
        made: list[Channel] = []

        def connect() -> Channel:
            made.append(Channel(server.path))
            return made[-1]

        idle = Idle()
        for _ in range(3):
            with open_url(idle, connect, "u", {"url": "u"}, None) as file:
                assert file.read() == b"one"
        assert len(made) == 1
        with open_url(idle, connect, "grow", {"url": "grow"}, 5.0) as file:
            assert file.read(10) == CONTENT[:10]
            with open_url(idle, connect, "grow", {"url": "grow"}, None) as other:
                assert other.read(10) == CONTENT[:10]
        assert len(made) == 2
        with open_url(idle, connect, "grow", {"url": "grow"}, None), pytest.raises(NotCached):
            open_url(idle, connect, "nowhere", {"url": "nowhere"}, None)
        assert len(made) == 2
        for channel in made:
            channel.close()


def test_no_more_than_some_are_kept(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        before = open_descriptors()
        idle = Idle()
        channels = [Channel(server.path) for _ in range(MAX_IDLE + 3)]
        for channel in channels:
            idle.give(channel)
        assert [channel.closed for channel in channels] == [False] * MAX_IDLE + [True] * 3
        channels[MAX_IDLE - 1].close()
        assert idle.take(lambda: pytest.fail("an idle one was there")) is channels[MAX_IDLE - 2]
        for channel in channels:
            channel.close()
        assert settles_at(before)


def test_an_agent_that_sends_no_descriptor(tmp_path: Path) -> None:
    def prepare(agent: FakeAgent) -> None:
        agent.add("u", b"one")

    with serving(tmp_path, prepare=prepare) as server:
        with pytest.raises(RemoteProtocolError, match="no descriptor"):
            open_url(Idle(), lambda: Channel(server.path), "u", {"url": "u", "want": "path"}, None)
