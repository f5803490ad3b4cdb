"""Files that jobs bring: results, and local files by their descriptor."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from p2pstore.config import MIB
from p2pstore.errors import (
    AccessDenied,
    BadRequest,
    DigestMismatch,
    IntegrityError,
    NameTaken,
    NoSpace,
    NotCached,
    NotFound,
    OriginChanged,
)
from tests.agent.conftest import Making
from tests.agent.rig import LARGE, OWN_UID, Rig, content, read_all

OTHER_UID = OWN_UID + 1234


def opened(path: Path, body: bytes) -> int:
    """A descriptor of a file with these bytes."""
    path.write_bytes(body)
    return os.open(path, os.O_RDONLY)


async def put(rig: Rig, path: Path, body: bytes, **args: Any) -> dict[str, Any]:
    return await rig.call("put", fd=opened(path, body), **{"name": "result", **args})


async def body_of(rig: Rig, name: str) -> bytes:
    """What lies under a name, found as a reader of the cache would."""
    told = await rig.call("stat", name=name)
    entry = await rig.store.lookup(told["key"])
    assert entry is not None
    return read_all(rig.store.open_object(entry))


@pytest.mark.parametrize("size", [0, 1, 100_000, LARGE])
async def test_a_result_is_kept_whole_and_durable(rig: Rig, tmp_path: Path, size: int) -> None:
    got = await put(rig, tmp_path / "out", content(size))
    assert (got["name"], got["size"], got["durable"]) == ("result", size, 1)
    told = await rig.call("stat", name="result")
    assert (told["cached"], told["root"], told["ver"]) == (True, got["root"], got["ver"])
    assert (told["durable"], told["fresh"], told["url"]) == (True, True, "put:result")
    assert await body_of(rig, "result") == content(size)


async def test_the_offset_of_the_descriptor_does_not_count(rig: Rig, tmp_path: Path) -> None:
    fd = opened(tmp_path / "out", content(1000))
    os.lseek(fd, 500, os.SEEK_SET)
    assert (await rig.call("put", name="result", fd=fd))["size"] == 1000


async def test_the_file_may_change_and_go_afterwards(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "out"
    await put(rig, path, b"as it was")
    path.write_bytes(b"different")
    path.unlink()
    assert await body_of(rig, "result") == b"as it was"


async def test_a_name_is_given_once_unless_replacing_is_asked_for(rig: Rig, tmp_path: Path) -> None:
    first = await put(rig, tmp_path / "out", b"first")
    with pytest.raises(NameTaken) as caught:
        await put(rig, tmp_path / "out", b"second")
    assert caught.value.exit_code == 2
    assert await body_of(rig, "result") == b"first"
    second = await put(rig, tmp_path / "out", b"second", replace=True)
    assert second["ver"] != first["ver"]
    assert await body_of(rig, "result") == b"second"
    await put(rig, tmp_path / "out", b"new one", name="other", replace=True)
    assert await body_of(rig, "other") == b"new one"


@pytest.mark.parametrize(
    ("owner", "other", "may"),
    [(OTHER_UID, OTHER_UID, True), (OTHER_UID, OTHER_UID + 1, False), (OTHER_UID, OWN_UID, True)],
    ids=["its owner", "a stranger", "the agent's user"],
)
async def test_only_its_owner_replaces_a_result(
    rig: Rig, tmp_path: Path, owner: int, other: int, may: bool
) -> None:
    await put(rig, tmp_path / "out", b"first", uid=owner)
    if may:
        await put(rig, tmp_path / "out", b"second", uid=other, replace=True)
    else:
        with pytest.raises(AccessDenied):
            await put(rig, tmp_path / "out", b"second", uid=other, replace=True)
    assert await body_of(rig, "result") == (b"second" if may else b"first")


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00b", "x" * 513, "\x7f", "ü" * 257])
async def test_a_name_that_can_not_be_one_is_refused(rig: Rig, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest):
        await put(rig, tmp_path / "out", b"x", name=name)


@pytest.mark.parametrize("name", ["a", "run 7/figure.png", "ü" * 256, "../../etc/passwd", "http://host/file"])
async def test_any_other_name_is_only_a_name(rig: Rig, tmp_path: Path, name: str) -> None:
    await put(rig, tmp_path / "out", b"x", name=name)
    assert await body_of(rig, name) == b"x"


async def test_a_result_never_takes_the_place_of_a_urls_bytes(rig: Rig, tmp_path: Path) -> None:
    await put(rig, tmp_path / "out", b"x", name="http://127.0.0.1:9/file")
    assert (await rig.stat("http://127.0.0.1:9/file"))["cached"] is False


async def test_without_a_descriptor_of_a_file_nothing_is_stored(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(BadRequest):
        await rig.call("put", name="result")
    reading, writing = os.pipe()
    with pytest.raises(BadRequest):
        await rig.call("put", name="result", fd=reading)
    os.close(writing)
    with pytest.raises(BadRequest):
        await rig.call("put", name="result", fd=os.open(tmp_path, os.O_RDONLY))
    with pytest.raises(BadRequest):
        await rig.call("put", name="result", fd=os.open(tmp_path / "w", os.O_WRONLY | os.O_CREAT, 0o600))
    assert (await rig.call("ls"))["entries"] == []


@pytest.mark.parametrize("args", [{"name": "result"}, {"name": "\n"}], ids=["stored", "refused"])
async def test_the_descriptor_is_closed_in_the_end(rig: Rig, tmp_path: Path, args: dict[str, Any]) -> None:
    fd = opened(tmp_path / "out", b"x")
    kept = os.dup(fd)
    try:
        await rig.call("put", fd=fd, **args)
    except BadRequest:
        assert args["name"] == "\n"
    path = str(tmp_path / "out")
    assert sum(os.path.realpath(f"/proc/self/fd/{name}") == path for name in os.listdir("/proc/self/fd")) == 1
    os.close(kept)


async def test_a_result_that_can_not_fit_is_refused_and_evicts_no_other(
    make_rig: Making, tmp_path: Path
) -> None:
    rig = await make_rig(cache={"size_bytes": 4 * MIB})
    await put(rig, tmp_path / "out", content(3 * MIB))
    with pytest.raises(NoSpace):
        await put(rig, tmp_path / "out", content(3 * MIB, 1), name="other")
    assert await body_of(rig, "result") == content(3 * MIB)
    assert (await rig.call("stat", name="other"))["cached"] is False


async def test_a_result_outlives_a_kill(make_rig: Making, tmp_path: Path) -> None:
    rig = await make_rig()
    await put(rig, tmp_path / "out", content(100_000))
    after = await make_rig(rig=rig.as_if_killed(tmp_path / "found"))
    assert await body_of(after, "result") == content(100_000)


async def test_a_result_can_be_removed_by_name(rig: Rig, tmp_path: Path) -> None:
    await put(rig, tmp_path / "out", b"12345", uid=OTHER_UID)
    with pytest.raises(AccessDenied):
        await rig.call("rm", uid=OTHER_UID + 1, name="result")
    assert await rig.call("rm", uid=OTHER_UID, name="result") == {"removed": 1, "bytes": 5}
    with pytest.raises(NotFound):
        await rig.call("rm", uid=OTHER_UID, name="result")
    await put(rig, tmp_path / "out", b"again")


async def test_a_result_is_got_by_its_name(rig: Rig, tmp_path: Path) -> None:
    await put(rig, tmp_path / "out", content(LARGE))
    right, wrong = (f"sha256:{hashlib.sha256(body).hexdigest()}" for body in (content(LARGE), b"another"))
    for uid in (OWN_UID, OTHER_UID):
        got = await rig.get("put:result", uid=uid)
        assert (got.data, got["stale"], got["private"]) == (content(LARGE), False, False)
        assert got["bytes"] == {"cache": LARGE, "peers": 0, "origin": 0}
    rig.wall.ahead_s += 10 * 365 * 86400
    assert (await rig.get("put:result", digests=[right]))["stale"] is False
    assert (await rig.get("put:result", refresh=True)).data == content(LARGE)
    with pytest.raises(DigestMismatch):
        await rig.get("put:result", digests=[wrong])
    opened_, fd = await rig.open("put:result")
    assert (opened_["complete"], read_all(fd)) == (True, content(LARGE))


async def test_a_result_that_nobody_stored_is_not_found(rig: Rig) -> None:
    with pytest.raises(NotFound) as caught:
        await rig.get("put:nothing")
    assert caught.value.exit_code == 3
    with pytest.raises(BadRequest):
        await rig.get("put:\n")


# local files


async def test_a_local_file_is_copied_by_its_descriptor(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "data"
    url = path.as_uri()
    got = await rig.get(url, fd=opened(path, content(LARGE)))
    assert (got.data, got["private"], got["bytes"]["origin"]) == (content(LARGE), True, LARGE)
    again = await rig.get(url, fd=os.open(path, os.O_RDONLY))
    assert (again.data, again["bytes"]["cache"]) == (content(LARGE), LARGE)
    assert again["root"] == got["root"]


async def test_a_local_file_that_changed_is_copied_again(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "data"
    first = await rig.get(path.as_uri(), fd=opened(path, b"first"))
    second = await rig.get(path.as_uri(), fd=opened(path, b"second"))
    assert (first.data, second.data) == (b"first", b"second")
    assert first["ver"] != second["ver"]


async def test_a_local_file_is_found_without_its_descriptor_offline_only(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "data"
    with pytest.raises(NotCached):
        await rig.get(path.as_uri(), offline=True)
    await rig.get(path.as_uri(), fd=opened(path, b"x"))
    assert (await rig.get(path.as_uri(), offline=True)).data == b"x"
    with pytest.raises(BadRequest):
        await rig.get(path.as_uri())


async def test_a_local_file_is_its_openers_only(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "data"
    await rig.get(path.as_uri(), fd=opened(path, b"x"))
    assert (await rig.stat(path.as_uri(), uid=OTHER_UID))["cached"] is False
    with pytest.raises(NotCached):
        await rig.get(path.as_uri(), uid=OTHER_UID, offline=True)
    got = await rig.get(path.as_uri(), uid=OTHER_UID, fd=os.open(path, os.O_RDONLY))
    assert got["bytes"]["cache"] == 0


async def test_the_digest_of_a_local_file_is_checked(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "data"
    right, wrong = (f"sha256:{hashlib.sha256(body).hexdigest()}" for body in (b"x", b"y"))
    assert (await rig.get(path.as_uri(), fd=opened(path, b"x"), digests=[right])).data == b"x"
    with pytest.raises(DigestMismatch):
        await rig.get(path.as_uri(), fd=opened(path, b"x"), digests=[wrong])


async def test_a_local_file_that_changes_while_it_is_copied_is_not_handed_out(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data"
    fd = opened(path, content(LARGE))
    import_file = rig.store.import_file

    async def and_change(draft: Any, source_fd: int) -> Any:
        entry = await import_file(draft, source_fd)
        path.write_bytes(content(LARGE, 1))
        return entry

    monkeypatch.setattr(rig.store, "import_file", and_change)
    with pytest.raises(OriginChanged):
        await rig.get(path.as_uri(), fd=fd)
    monkeypatch.undo()
    assert (await rig.get(path.as_uri(), fd=os.open(path, os.O_RDONLY))).data == content(LARGE, 1)


async def test_a_folder_is_no_file(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(BadRequest):
        await rig.get(tmp_path.as_uri(), fd=os.open(tmp_path, os.O_RDONLY))


async def test_a_damaged_result_stays_an_error_until_it_is_made_again(rig: Rig, tmp_path: Path) -> None:
    await put(rig, tmp_path / "out", b"right " * 2000)
    await put(rig, tmp_path / "out", b"sound", name="other")
    path = Path((await rig.get("put:result", want="path"))["path"])
    path.chmod(0o600)
    path.write_bytes(b"wrong " * 2000)
    told = await rig.call("check")
    assert told["bad"] == 1
    for _ in range(2):
        with pytest.raises(IntegrityError, match="damaged on this disk") as caught:
            await rig.get("put:result")
        damaged = Path(caught.value.message.rpartition(" ")[2])
        assert await asyncio.to_thread(damaged.read_bytes) == b"wrong " * 2000
    with pytest.raises(NotFound):
        await rig.get("put:never")
    assert await body_of(rig, "other") == b"sound"
    damaged.unlink()
    with pytest.raises(IntegrityError):
        await rig.get("put:result")
    await put(rig, tmp_path / "out", b"made again")
    assert await body_of(rig, "result") == b"made again"
