"""What an answer tells about itself."""

from __future__ import annotations

from typing import Any

import pytest

from p2pstore.sources.base import Answer, unpaced


def answer(**more: Any) -> Answer:
    plain: dict[str, Any] = {
        "status": 200, "headers": (), "url": "https://h.example:8443/a?b", "request_at": 1.0, "response_at": 2.0,
        "total": None, "span": None, "ranges": False, "validator": None, "hops": (), "body": None,
    }  # fmt: skip
    return Answer(**{**plain, **more})


@pytest.mark.parametrize(
    ("more", "truncatable"),
    [
        ({}, True),
        ({"total": 0}, False),
        ({"total": 7}, False),
        ({"headers": (("transfer-encoding", "chunked"),)}, False),
    ],
)
def test_a_body_without_length_or_chunks_may_be_cut(more: dict[str, Any], truncatable: bool) -> None:
    assert answer(**more).truncatable is truncatable


def test_names_its_host() -> None:
    assert answer().host == "h.example"


def test_no_limit_is_no_pause() -> None:
    assert unpaced(1 << 40) == 0.0
