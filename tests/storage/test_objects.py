"""Hashing files: the same tree as in memory, in bounded memory, and errors that mean no."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pstore.errors import BadDigest
from p2pstore.storage import objects
from p2pstore.storage.files import Files
from p2pstore.swarm import pieces, tree
from tests.storage.samples import body


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    files = Files(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY))
    yield files
    files.shut()


SIZES = [0, 1, 262143, 262144, 262145, 524289, 1_500_000, (3 << 20) + 7]


@pytest.mark.parametrize("size", SIZES)
def test_a_file_has_the_name_of_its_bytes(tmp_path: Path, files: Files, size: int) -> None:
    content = body("object", size)
    (tmp_path / "a").write_bytes(content)
    root = tree.root_of(size, tree.top_of(tree.leaves(content)))
    assert objects.is_right(files, "a", root, size)
    assert not objects.is_right(files, "a", root, size + 1)
    assert not objects.is_right(files, "absent", root, size)
    fd = files.open_read("a")
    nodes = objects.piece_nodes(files, fd, size)
    assert nodes is not None
    assert len(nodes) == pieces.piece_count(size, pieces.piece_bytes(size))
    assert objects.root_of_nodes(nodes, size) == root
    assert objects.piece_nodes(files, fd, size + 1) is None
    files.close(fd)
    manifest = objects.manifest_of(nodes)
    assert objects.nodes_of(manifest) == (nodes if len(nodes) > 1 else [])
    if size:
        (tmp_path / "a").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert not objects.is_right(files, "a", root, size)


def test_a_range_with_a_smaller_buffer(tmp_path: Path, files: Files) -> None:
    content = body("range", 5 * tree.LEAF_BYTES + 9)
    (tmp_path / "a").write_bytes(content)
    fd = files.open_read("a")
    expected = tree.top_of(tree.leaves(content))
    for size in (tree.LEAF_BYTES << doublings for doublings in range(4)):
        assert objects.hash_range(files, fd, 0, len(content), memoryview(bytearray(size))) == expected
    assert objects.hash_range(files, fd, 0, len(content) + 1, memoryview(bytearray(tree.LEAF_BYTES))) is None
    files.close(fd)


def test_an_unreadable_file_is_not_right(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"a")
    root = tree.root_of(1, tree.top_of(tree.leaves(b"a")))
    assert objects.is_right(files, "a", root, 1)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Files, "read_into", fail)
    assert not objects.is_right(files, "a", root, 1)


def test_unknown_digests_are_named(tmp_path: Path, files: Files) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    fd = files.open_read("a")
    with pytest.raises(BadDigest, match="crc9"):
        objects.digests_of(files, fd, 3, ["crc9"])
    assert objects.digests_of(files, fd, 3, ["md5"]) == {"md5": "900150983cd24fb0d6963f7d28e17f72"}
    assert set(objects.digests_of(files, fd, 3, ["sha1", "sha512"])) == {"sha1", "sha512"}
    files.close(fd)
