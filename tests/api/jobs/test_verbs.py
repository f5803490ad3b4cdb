from __future__ import annotations

from pathlib import Path

import pytest

from p2pstore.api.jobs.verbs import Verbs, checked
from p2pstore.errors import BadRequest
from p2pstore.wire.messages import ARGUMENTS
from tests.api.fake_agent import FakeAgent


async def test_every_verb_has_its_method(tmp_path: Path) -> None:
    verbs = Verbs(FakeAgent(tmp_path))
    assert {*verbs.slow, "events"} == set(ARGUMENTS)
    assert set(verbs.hot) <= set(verbs.slow)


def test_put_needs_its_descriptor() -> None:
    checked("put", {"name": "n", "fd": True}, 5)
    with pytest.raises(BadRequest, match="descriptor"):
        checked("put", {"name": "n", "fd": False}, -1)
