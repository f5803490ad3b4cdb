from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from p2pstore.client import deliver as deliver_module
from p2pstore.client.deliver import Pour, copy, deliver, staged
from p2pstore.errors import (
    AccessDenied,
    BadDigest,
    BadRequest,
    DigestMismatch,
    NodeError,
    NoSpace,
    OriginBroken,
)
from tests.api.fake_agent import open_descriptors

CONTENT = os.urandom(3_000_000)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "object"
    path.write_bytes(CONTENT)
    path.chmod(0o400)
    return path


def delivered(source: Path, output: Path, **more: Any) -> str:
    fd = os.open(source, os.O_RDONLY)
    try:
        return deliver(fd, output, **more)
    finally:
        os.close(fd)


@pytest.mark.parametrize("link", ["auto", "copy"])
def test_the_file_is_the_callers_own(source: Path, tmp_path: Path, link: str) -> None:
    before = open_descriptors()
    output = tmp_path / "out"
    output.write_bytes(b"old")
    assert delivered(source, output, link=link) in ("reflink", "copy")
    assert output.read_bytes() == CONTENT
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(output.stat().st_mode) == 0o666 & ~mask
    assert output.stat().st_ino != source.stat().st_ino
    assert sorted(path.name for path in tmp_path.iterdir()) == ["object", "out"]
    assert open_descriptors() == before


def fails(number: int) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("without", [0, 1, 2])
def test_each_way_gives_the_same_bytes(
    source: Path, tmp_path: Path, without: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("copy_file_range", "sendfile")[:without]:
        monkeypatch.setattr(os, name, fails(errno.EXDEV))
    monkeypatch.setattr(deliver_module, "COPY_BYTES", 1_000_000)
    assert delivered(source, tmp_path / "out", link="copy") == "copy"
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_a_way_that_ends_midway_is_gone_on_with(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.copy_file_range, []

    def twice(*args: Any) -> int:
        calls.append(args)
        return real(*args) if len(calls) < 3 else fails(errno.EINVAL)()

    monkeypatch.setattr(deliver_module, "COPY_BYTES", 700_001)
    monkeypatch.setattr(os, "copy_file_range", twice)
    delivered(source, tmp_path / "out", link="copy")
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_links_on_request(source: Path, tmp_path: Path) -> None:
    for link in ("hard", "symlink"):
        for _ in range(2):  # also over itself
            assert delivered(source, tmp_path / link, link=link, path=str(source)) == link
            assert (tmp_path / link).read_bytes() == CONTENT
    assert (tmp_path / "hard").stat().st_ino == source.stat().st_ino
    assert os.readlink(tmp_path / "symlink") == str(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hard", "object", "symlink"]


def test_a_hard_link_is_of_the_file_that_was_given(source: Path, tmp_path: Path) -> None:
    fd = os.open(source, os.O_RDONLY)
    other = tmp_path / "other"
    other.write_bytes(b"other")
    with pytest.raises(NodeError, match="replaced"):
        deliver(fd, tmp_path / "out", link="hard", path=str(other))
    os.close(fd)
    assert not (tmp_path / "out").exists()


def test_impossible_links_say_what_else(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadRequest, match="no kind"):
        delivered(source, tmp_path / "out", link="magic")
    with pytest.raises(BadRequest, match="can't reach"):
        delivered(source, tmp_path / "out", link="hard")
    monkeypatch.setattr(os, "link", fails(errno.EXDEV))
    with pytest.raises(BadRequest, match="another file system"):
        delivered(source, tmp_path / "out", link="hard", path=str(source))
    monkeypatch.setattr(fcntl, "ioctl", fails(errno.EOPNOTSUPP))
    with pytest.raises(BadRequest, match="share blocks"):
        delivered(source, tmp_path / "out", link="reflink")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, NoSpace), (errno.EDQUOT, NoSpace), (errno.EACCES, AccessDenied), (errno.EIO, NodeError)],
)
def test_a_failed_write_leaves_what_was_there(
    source: Path, tmp_path: Path, number: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    output.write_bytes(b"old")
    monkeypatch.setattr(os, "copy_file_range", fails(number))
    with pytest.raises(error):
        delivered(source, output, link="copy")
    assert output.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["object", "out"]


def test_bad_places(source: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="is a directory"):
        delivered(source, tmp_path)
    with pytest.raises(BadRequest, match="can't write"):
        delivered(source, tmp_path / "missing" / "out")


def test_a_link_at_the_output_is_followed(source: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_bytes(b"old")
    (tmp_path / "out").symlink_to(real)
    delivered(source, tmp_path / "out")
    assert (tmp_path / "out").is_symlink() and real.read_bytes() == CONTENT


def test_links_in_a_row_are_followed_and_a_loop_is_an_error(source: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "out").symlink_to("sub/next")
    (tmp_path / "sub" / "next").symlink_to("../real")
    delivered(source, tmp_path / "out")
    assert (tmp_path / "real").read_bytes() == CONTENT, "to where there was no file yet"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(NodeError, match="symbolic links"):
        delivered(source, tmp_path / "loop")


@pytest.mark.parametrize("leads_to", ["file", "pipe", "nowhere"])
def test_somebody_elses_link_is_replaced(
    leads_to: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "precious"
    if leads_to == "file":
        precious.write_bytes(b"precious")
    elif leads_to == "pipe":
        os.mkfifo(precious)
    out = tmp_path / "out"
    out.symlink_to(precious)
    if os.geteuid() == 0:
        os.lchown(out, 54321, 54321)
    else:
        own = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    delivered(source, out)
    assert not out.is_symlink() and out.read_bytes() == CONTENT
    assert precious.exists() == (leads_to != "nowhere")
    assert leads_to != "file" or precious.read_bytes() == b"precious"


def test_a_link_to_a_stream_is_written_through(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"few bytes")
    there, back = os.pipe()
    try:
        delivered(small, Path(f"/proc/self/fd/{back}"))
        assert os.read(there, 100) == b"few bytes"
    finally:
        os.close(there)
        os.close(back)


def test_what_is_no_regular_file_is_written_to(source: Path, tmp_path: Path) -> None:
    assert delivered(source, Path("/dev/null")) == "copy"
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    reading, writing = os.pipe()
    small = tmp_path / "small"
    small.write_bytes(b"abc")
    fd = os.open(small, os.O_RDONLY)
    assert copy(fd, writing) == "copy"
    assert os.read(reading, 10) == b"abc"
    for one in (fd, reading, writing):
        os.close(one)


def test_appending_goes_behind_what_is_there(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "log"
    output.write_bytes(b"head")
    fd, out = os.open(source, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_APPEND)
    copy(fd, out, "copy")
    os.close(fd)
    os.close(out)
    assert output.read_bytes() == b"head" + CONTENT


def poured(content: bytes, output: Path, *digests: str, claimed: int | None = None) -> None:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    pour = Pour(digests)
    with staged(str(output)) as out:
        pour.run(reading, out)
        pour.check(len(content) if claimed is None else claimed, "u")


def test_a_stream_is_checked_at_its_end(tmp_path: Path) -> None:
    before = open_descriptors()
    content = b"stream" * 1000
    good = [
        f"sha256:{hashlib.sha256(content).hexdigest()}",
        f"SHA-512={hashlib.sha512(content).hexdigest().upper()}",
        f"blake3:{blake3(content).hexdigest()}",
        f"md5:{hashlib.md5(content).hexdigest()}",
    ]
    poured(content, tmp_path / "out", *good)
    assert (tmp_path / "out").read_bytes() == content
    with pytest.raises(OriginBroken, match="6000 bytes came through"):
        poured(content, tmp_path / "short", claimed=7000)
    with pytest.raises(DigestMismatch) as caught:
        poured(content, tmp_path / "wrong", good[0], "sha256:" + "0" * 64)
    assert caught.value.details["who"] == "caller"
    with pytest.raises(BadDigest):
        Pour(["crc32:00"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert open_descriptors() == before
