"""Reading while it downloads: any offset, its own bytes only, and never a mix of versions."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable
from typing import Any

import pytest

from p2pstore.agent import readers as readers_module
from p2pstore.errors import (
    BadRequest,
    CacheUnusable,
    DeadlineExceeded,
    NotCached,
    NotFound,
    OriginChanged,
    Overloaded,
    P2PStoreError,
)
from tests.agent.conftest import Making
from tests.agent.rig import LARGE, OWN_UID, PIECE, Rig, content, read_all
from tests.origin import Behaviour, Origin

FRESH = {"Cache-Control": "max-age=60"}
SLOW = Behaviour(stall_after=2 * PIECE + 50_000)
OTHER_UID = OWN_UID + 1234


@pytest.fixture
async def narrow(make_rig: Making) -> Rig:
    """An agent that asks for one part at a time."""
    return await make_rig(origin={"streams": 1})


async def soon(awaitable: Awaitable[object]) -> bool:
    """Whether it is done after a moment."""
    task = asyncio.ensure_future(awaitable)
    done, _ = await asyncio.wait([task], timeout=0.03)
    if not done:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return bool(done)


async def test_a_file_is_open_before_it_is_there(narrow: Rig, origin: Origin) -> None:
    rig = narrow
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=SLOW)
    opened, fd = await rig.open(url)
    assert (opened["complete"], opened["size"], opened["url"]) == (False, LARGE, url)
    ready = await rig.ready(opened["reader"], 0, PIECE)
    assert ready == {"size": LARGE, "complete": False}
    assert os.pread(fd, PIECE, 0) == content(LARGE)[:PIECE]
    assert not await soon(rig.ready(opened["reader"], LARGE - 1, LARGE))
    origin.release("/file")
    assert (await rig.ready(opened["reader"], 0, LARGE))["size"] == LARGE
    assert read_all(fd) == content(LARGE)
    await rig.settled()
    assert await rig.ready(opened["reader"], 0, 1) == {"size": LARGE, "complete": True}
    await rig.call("close", reader=opened["reader"])


@pytest.mark.parametrize("offset", [0, 1, PIECE - 1, PIECE, LARGE // 2, LARGE - 1])
async def test_bytes_at_any_offset_are_right_when_they_are_ready(
    rig: Rig, origin: Origin, offset: int
) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH)
    opened, fd = await rig.open(url)
    stop = min(offset + 100, LARGE)
    if not opened["complete"]:
        await rig.ready(opened["reader"], offset, stop)
    assert os.pread(fd, stop - offset, offset) == content(LARGE)[offset:stop]
    os.close(fd)


async def test_what_a_reader_waits_for_comes_first(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(origin={"streams": 1, "request_bytes": PIECE})
    size = 20 * PIECE
    url = origin.serve("/file", content(size), headers=FRESH, behaviour=Behaviour(stall_after=100_000))
    opened, fd = await rig.open(url)
    os.close(fd)
    await origin.stalled("/file")
    reading = asyncio.create_task(rig.ready(opened["reader"], 17 * PIECE + 5, 17 * PIECE + 10))
    await asyncio.sleep(0)
    origin.release("/file")
    await reading
    await rig.ready(opened["reader"], 0, size)
    starts = [int(str(one.range).removeprefix("bytes=").partition("-")[0]) for one in origin.log]
    assert starts[0] == 0
    assert starts[1] == 17 * PIECE
    assert len(set(starts)) == len(starts)


async def test_several_reads_of_one_reader_wait_side_by_side(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=SLOW)
    opened, fd = await rig.open(url)
    os.close(fd)
    await origin.stalled("/file")
    number = opened["reader"]
    reads = [
        asyncio.create_task(rig.ready(number, at, at + 10)) for at in (LARGE - 10, LARGE - 10, LARGE - 20)
    ]
    await asyncio.sleep(0)
    origin.release("/file")
    assert all(one["size"] == LARGE for one in await asyncio.wait_for(asyncio.gather(*reads), 10))


@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_without_a_length_the_end_shows_when_it_comes(rig: Rig, origin: Origin, framing: str) -> None:
    behaviour = Behaviour(framing=framing, ranges=False, stall_after=2 * PIECE + 50_000)  # type: ignore[arg-type]
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=behaviour)
    opened, fd = await rig.open(url)
    assert (opened["complete"], opened["size"]) == (False, None)
    assert (await rig.ready(opened["reader"], 0, PIECE))["size"] is None
    assert os.pread(fd, PIECE, 0) == content(LARGE)[:PIECE]
    past_the_end = asyncio.create_task(rig.ready(opened["reader"], LARGE + 10, LARGE + 20))
    await asyncio.sleep(0)
    origin.release("/file")
    assert (await past_the_end)["size"] == LARGE
    assert read_all(fd) == content(LARGE)


async def test_bytes_past_a_known_end_are_there(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=SLOW)
    opened, fd = await rig.open(url)
    os.close(fd)
    assert (await rig.ready(opened["reader"], LARGE + 5, LARGE + 10))["size"] == LARGE


@pytest.mark.parametrize("size", [0, 1, 10_000])
async def test_a_small_file_is_there_at_once_and_asked_for_once(rig: Rig, origin: Origin, size: int) -> None:
    url = origin.serve("/file", content(size), headers={"Cache-Control": "no-store"})
    opened, fd = await rig.open(url)
    assert (opened["complete"], opened["size"]) == (True, size)
    assert read_all(fd) == content(size)
    assert sum(one.status in (200, 206) for one in origin.log) == 1


async def test_a_cached_file_is_opened_whole(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH)
    await rig.get(url)
    asked = len(origin.log)
    opened, fd = await rig.open(url)
    assert (opened["complete"], opened["bytes"]["cache"]) == (True, LARGE)
    assert read_all(fd) == content(LARGE)
    assert len(origin.log) == asked


async def test_a_descriptor_stays_good_when_the_file_is_removed(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH)
    opened, fd = await rig.open(url)
    if not opened["complete"]:
        await rig.ready(opened["reader"], 0, LARGE)
    await rig.get(url)
    await rig.call("rm", url=url)
    assert read_all(fd) == content(LARGE)


async def test_with_a_digest_nothing_is_handed_out_before_it_agrees(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=SLOW)
    right = "sha256:" + hashlib.sha256(content(LARGE)).hexdigest()
    opening = asyncio.create_task(rig.open(url, digests=[right]))
    await origin.stalled("/file")
    assert not opening.done()
    origin.release("/file")
    opened, fd = await opening
    assert opened["complete"] is True
    assert read_all(fd) == content(LARGE)


async def test_a_file_that_went_from_its_place_is_got_the_other_way(
    narrow: Rig, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=SLOW)
    _, first_fd = await narrow.open(url)
    os.close(first_fd)
    load = next(iter(narrow.agent.loads))
    assert load.partial is not None

    def gone() -> int:
        raise CacheUnusable("it was published just now")

    monkeypatch.setattr(load.partial, "fd", gone)
    opening = asyncio.create_task(narrow.open(url))
    await origin.stalled("/file")
    origin.release("/file")
    opened, fd = await opening
    assert (opened["complete"], read_all(fd)) == (True, content(LARGE))


async def test_a_reader_holds_the_download_and_the_last_to_go_ends_it(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=SLOW)
    first, fd = await rig.open(url)
    second, other_fd = await rig.open(url)
    os.close(fd)
    os.close(other_fd)
    await rig.call("close", reader=first["reader"])
    assert (await rig.call("status"))["loads"] == 1
    await rig.call("close", reader=second["reader"])
    assert (await rig.call("status"))["loads"] == 0


async def test_what_a_connection_had_open_ends_with_it(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=SLOW)
    _, fd = await rig.open(url)
    os.close(fd)
    rig.agent.readers.forget(rig.session())
    assert (await rig.call("status"))["loads"] == 0
    assert rig.session().readers == {}


async def test_a_reader_is_known_on_its_own_connection_only(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=SLOW)
    opened, fd = await rig.open(url)
    os.close(fd)
    for number, uid in ((opened["reader"], OTHER_UID), (opened["reader"] + 1, OWN_UID)):
        with pytest.raises(BadRequest):
            await rig.call("ready", uid=uid, reader=number, start=0, stop=1)
    assert await rig.call("close", uid=OTHER_UID, reader=opened["reader"]) == {}
    await rig.ready(opened["reader"], 0, 10)


async def test_a_read_has_a_deadline_and_the_reader_lives_on(narrow: Rig, origin: Origin) -> None:
    rig = narrow
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=SLOW)
    opened, fd = await rig.open(url)
    os.close(fd)
    await origin.stalled("/file")
    with pytest.raises(DeadlineExceeded, match="receiving"):
        await rig.ready(opened["reader"], LARGE - 10, LARGE, deadline_s=0.01)
    origin.release("/file")
    await rig.ready(opened["reader"], LARGE - 10, LARGE, deadline_s=10)


async def test_opening_has_a_deadline_too(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), behaviour=Behaviour(silent=True))
    with pytest.raises(DeadlineExceeded, match="asking"):
        await rig.open(url, deadline_s=0.02)
    assert (await rig.call("status"))["loads"] == 0


async def test_open_files_are_bounded(rig: Rig, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_module, "MAX_READERS_PER_SESSION", 2)
    urls = [origin.serve(f"/{name}", content(LARGE), behaviour=SLOW) for name in "abc"]
    for url in urls[:2]:
        _, fd = await rig.open(url)
        os.close(fd)
    with pytest.raises(Overloaded):
        await rig.open(urls[2])


@pytest.mark.parametrize("new", [LARGE, LARGE + 999, 10_000], ids=["same length", "longer", "small"])
async def test_a_file_that_changes_while_it_is_read_is_an_error_and_no_mix(
    narrow: Rig, origin: Origin, new: int
) -> None:
    rig = narrow
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=SLOW)
    opened, fd = await rig.open(url)
    await rig.ready(opened["reader"], 0, PIECE)
    origin.change("/file", content(new, 1), behaviour=Behaviour())
    reading = asyncio.create_task(rig.ready(opened["reader"], LARGE - 10, LARGE))
    await asyncio.sleep(0)
    origin.release("/file")
    with pytest.raises(OriginChanged):
        await reading
    os.close(fd)
    assert (await rig.get(url)).data == content(new, 1)
    with pytest.raises(OriginChanged):
        await rig.ready(opened["reader"], 0, 10)


async def test_a_change_that_shows_after_a_drop_is_no_mix(narrow: Rig, origin: Origin) -> None:
    unguarded: dict[str, Any] = {"etag": None, "last_modified": None}
    behaviour = Behaviour(stall_after=2 * PIECE + 50_000, ranges=False)
    url = origin.serve("/file", content(LARGE), behaviour=behaviour, **unguarded)
    opened, fd = await narrow.open(url)
    os.close(fd)
    await origin.stalled("/file")
    origin.change("/file", content(10_000, 1), behaviour=Behaviour(), **unguarded)
    for task in list(origin._tasks):
        task.cancel()
    with pytest.raises(OriginChanged):
        await narrow.ready(opened["reader"], LARGE - 10, LARGE)
    assert (await narrow.get(url)).data == content(10_000, 1)


async def test_a_drop_is_not_a_change(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(origin={"retries": 1, "streams": 1})
    behaviour = Behaviour(close_after=PIECE + 1000, faults=5)
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=behaviour)
    opened, fd = await rig.open(url)
    if not opened["complete"]:
        await rig.ready(opened["reader"], 0, LARGE)
    assert read_all(fd) == content(LARGE)


async def test_an_origin_that_was_away_for_a_while_is_not_a_change(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(origin={"retries": 1, "streams": 1})
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=SLOW)
    opened, fd = await rig.open(url)
    await rig.ready(opened["reader"], 0, PIECE)
    # The stream gives up after its tries, then the load asks anew and goes on where it was.
    origin.behave("/file", Behaviour(hang_up=True, faults=2))
    reading = asyncio.create_task(rig.ready(opened["reader"], 0, LARGE))
    await origin.stalled("/file")
    for task in list(origin._tasks):
        task.cancel()
    assert (await reading)["size"] == LARGE
    assert read_all(fd) == content(LARGE)


@pytest.mark.parametrize(("wish", "error"), [({}, NotFound), ({"offline": True}, NotCached)])
async def test_what_can_not_be_had_can_not_be_opened(
    rig: Rig, origin: Origin, wish: dict[str, bool], error: type[P2PStoreError]
) -> None:
    with pytest.raises(error):
        await rig.open(origin.url("/nothing"), **wish)
    assert len(origin.log) == (0 if wish else 1)


async def test_a_load_that_fails_fails_its_reads(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), behaviour=SLOW)
    opened, fd = await rig.open(url)
    os.close(fd)
    await origin.stalled("/file")
    origin.behave("/file", Behaviour(fail_times=-1, fail_status=404))
    reading = asyncio.create_task(rig.ready(opened["reader"], LARGE - 10, LARGE))
    await asyncio.sleep(0)
    for task in list(origin._tasks):
        task.cancel()
    with pytest.raises(P2PStoreError):
        await reading


async def test_what_is_opened_by_one_may_be_private_in_the_end(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), headers={"Cache-Control": "private"}, behaviour=SLOW)
    opened, fd = await rig.open(url)
    os.close(fd)
    await origin.stalled("/file")
    theirs = asyncio.create_task(rig.open(url, uid=OTHER_UID))
    assert not await soon(asyncio.shield(theirs))
    origin.release("/file")
    body, their_fd = await theirs
    if not body["complete"]:
        await rig.call("ready", uid=OTHER_UID, reader=body["reader"], start=0, stop=LARGE)
    assert read_all(their_fd) == content(LARGE)
    assert body["key"] != opened["key"]
