from __future__ import annotations

from pathlib import Path

import pytest

from p2pstore.client.channel import Channel, ConnectionLost
from p2pstore.client.many import get_many
from p2pstore.errors import P2PStoreError
from tests.api.fake_agent import FakeAgent, serving


def test_no_more_are_asked_for_at_once_than_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", "/nonexistent")

    def prepare(agent: FakeAgent) -> None:
        for number in range(20):
            agent.add(f"hold:{number}", b"x")

    with serving(tmp_path, prepare=prepare) as server:
        channel = Channel(server.path)
        asked: list[str] = []

        def urls() -> object:
            for number in range(20):
                asked.append(f"hold:{number}")
                if number == 5:
                    server.wait_until(lambda: server.agent.held == 5)
                    server.do(server.agent.release.set)
                yield f"hold:{number}"

        ends = []
        for one in get_many(channel, urls(), 6, None, "auto", {}):  # type: ignore[arg-type]
            assert not isinstance(one, P2PStoreError)
            ends.append(one.asked)
            assert len(asked) - len(ends) <= 6
            one.close()
        assert sorted(ends) == sorted(asked) and len(ends) == 20
        channel.close()


def test_a_lost_agent_ends_it(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        channel = Channel(server.path)
        many = get_many(channel, ["hold:1", "nowhere", "hold:2"], 3, None, "auto", {"netrc": False})
        assert isinstance(next(many), P2PStoreError)
        server.do(server.hang_up)
        with pytest.raises(ConnectionLost):
            next(many)
        channel.close()
        with pytest.raises(ConnectionLost):
            next(get_many(channel, ["u"], 3, None, "auto", {"netrc": False}))
