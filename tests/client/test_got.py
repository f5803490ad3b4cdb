from __future__ import annotations

import os

import msgpack
import pytest

from p2pstore.client.got import Got
from p2pstore.errors import BadRequest, RemoteProtocolError
from tests.api.fake_agent import open_descriptors

FIELDS = {
    "url": "u",
    "key": "k",
    "ver": "v",
    "root": "r",
    "size": 3,
    "path": "/p",
    "private": True,
    "stale": False,
    "why": "fresh",
    "age_s": 1,
    "verified": "digest",
    "seconds": 0.5,
    "bytes": {"cache": 3, "peers": 0, "origin": 0},
    "digests": {"sha256": "00"},
    "warnings": ["w"],
    "content_type": "t",
}


@pytest.mark.parametrize("packed", [False, True])
def test_fields(packed: bool) -> None:
    got = Got(msgpack.packb(FIELDS) if packed else dict(FIELDS), asked="U")
    assert {name: getattr(got, name) for name in FIELDS} == FIELDS
    assert got.fields == FIELDS
    assert repr(got) == "<Got U size=3 fd=-1>"


@pytest.mark.parametrize("packed", [b"\xc1", b"", msgpack.packb([1]), msgpack.packb(FIELDS)[:-1]])
def test_what_cannot_be_decoded_is_the_agents_fault(packed: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        _ = Got(packed).size


def test_the_descriptor_is_closed_once() -> None:
    before = open_descriptors()
    with Got(FIELDS, os.open("/dev/null", os.O_RDONLY)) as got:
        assert open_descriptors() == before + 1
    assert got.fd == -1 and open_descriptors() == before
    got.close()
    got = Got(FIELDS, os.open("/dev/null", os.O_RDONLY))
    del got
    assert open_descriptors() == before


def test_the_descriptor_can_be_taken() -> None:
    got = Got(FIELDS, os.open("/dev/null", os.O_RDONLY))
    fd = got.detach()
    got.close()
    os.close(fd)
    with Got(FIELDS, os.open("/dev/null", os.O_RDONLY)).open() as file:
        assert file.read() == b""
    with pytest.raises(BadRequest):
        got.open()
