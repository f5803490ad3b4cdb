from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from p2pstore.client.delivery import Delivery
from p2pstore.client.got import Got
from p2pstore.errors import AgentUnreachable, BadRequest, OriginBroken
from tests.api.fake_agent import open_descriptors


def pipe_of(content: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return reading


def test_it_says_what_it_needs(tmp_path: Path) -> None:
    args: dict[str, Any] = {}
    Delivery("u", tmp_path / "out", "auto", args)
    assert args == {"stream": True}
    Delivery("u", tmp_path / "out", "symlink", args)
    assert args == {"stream": True, "want": "path"}
    with pytest.raises(BadRequest, match="no kind"):
        Delivery("u", tmp_path / "out", "magic", {})


def test_a_stream_is_published_at_the_end_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Delivery("u", out, "auto", {}) as delivery:
        delivery.on_event({"event": "stream"}, pipe_of(b"bytes"))
        assert not out.exists()
        delivery.finish(Got({"size": 5}))
    assert out.read_bytes() == b"bytes"


def test_a_stream_cut_short_is_begun_anew(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Delivery("u", out, "auto", {}) as delivery:
        delivery.on_event({"event": "stream"}, pipe_of(b"by"))
        delivery.on_event({"event": "stream"}, pipe_of(b"bytes"))
        delivery.finish(Got({"size": 5}))
    assert out.read_bytes() == b"bytes"
    assert list(tmp_path.iterdir()) == [out]


def test_a_descriptor_cannot_be_written_to_anew(tmp_path: Path) -> None:
    before = open_descriptors()
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    delivery = Delivery("u", out, "auto", {})
    delivery.on_event({"event": "stream"}, pipe_of(b"by"))
    with pytest.raises(AgentUnreachable):
        delivery.on_event({"event": "stream"}, pipe_of(b"bytes"))
    os.close(out)
    assert open_descriptors() == before


def test_a_failed_check_leaves_nothing(tmp_path: Path) -> None:
    got = Got({"size": 6}, os.open("/dev/null", os.O_RDONLY))
    with pytest.raises(OriginBroken), Delivery("u", tmp_path / "out", "auto", {}) as delivery:
        delivery.on_event({"event": "stream"}, pipe_of(b"bytes"))
        delivery.finish(got)
    assert list(tmp_path.iterdir()) == [] and got.fd == -1


def test_other_events_are_told_and_their_descriptors_closed(tmp_path: Path) -> None:
    seen: list[Any] = []
    delivery = Delivery("u", tmp_path / "out", "auto", {}, seen.append)
    before = open_descriptors()
    delivery.on_event({"event": "progress"}, -1)
    delivery.on_event({"event": "other"}, os.open("/dev/null", os.O_RDONLY))
    assert seen == [{"event": "progress"}]
    assert open_descriptors() == before
