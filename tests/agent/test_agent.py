"""The story of `get`: from the cache when fresh, else one load for all who ask, and the truth about it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from p2pstore.errors import (
    AccessDenied,
    BadRequest,
    BadUrl,
    DeadlineExceeded,
    GateRefused,
    NotCached,
    NotFound,
    OriginError,
    OriginRefused,
)
from tests.agent.conftest import Making
from tests.agent.rig import LARGE, OWN_UID, PIECE, Got, Rig, content, read_all
from tests.origin import Behaviour, Origin, basic, bearer

FRESH = {"Cache-Control": "max-age=60"}
OTHER_UID = OWN_UID + 1234
SIZES = pytest.mark.parametrize("size", [0, 1, 10_000, 1 << 20, (1 << 20) + 1, LARGE])


# from the cache, or from the origin


@SIZES
async def test_the_first_get_asks_the_origin_and_the_second_does_not(
    rig: Rig, origin: Origin, size: int
) -> None:
    url = origin.serve("/file", content(size), headers=FRESH)
    cold = await rig.get(url)
    asked = len(origin.requests("/file"))
    warm = await rig.get(url)
    assert cold.data == warm.data == content(size)
    assert (cold["bytes"], warm["bytes"]) == (
        {"cache": 0, "peers": 0, "origin": size},
        {"cache": size, "peers": 0, "origin": 0},
    )
    assert len(origin.requests("/file")) == asked
    assert (cold["size"], cold["stale"], cold["private"], cold["url"]) == (size, False, False, url)
    assert (warm["root"], warm["ver"], warm["key"]) == (cold["root"], cold["ver"], cold["key"])
    assert sum(one.bytes_sent for one in origin.log if one.status == 206) == size


async def test_another_uid_has_the_public_file_too(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    await rig.get(url)
    got = await rig.get(url, uid=OTHER_UID)
    assert (got.data, got["bytes"]["cache"]) == (content(10_000), 10_000)
    assert len(origin.log) == 1


async def test_the_path_is_of_a_file_with_the_same_bytes(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    got = await rig.get(url, want="path")
    assert got.data is None
    assert await asyncio.to_thread(Path(got["path"]).read_bytes) == content(10_000)


async def test_who_wants_nothing_is_handed_nothing(rig: Rig, origin: Origin) -> None:
    got = await rig.get(origin.serve("/file", b"x", headers=FRESH), want="none")
    assert (got.data, got["fd"]) == (None, False)


async def test_the_same_bytes_at_two_urls_are_one_object(rig: Rig, origin: Origin) -> None:
    one = await rig.get(origin.serve("/one", content(LARGE)))
    two = await rig.get(origin.serve("/two", content(LARGE)))
    assert one["root"] == two["root"]
    assert one["key"] != two["key"]


async def test_a_descriptor_can_not_be_written_through(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"immutable", headers=FRESH)
    reply = await rig.agent.get(rig.session(), {"url": url}, lambda event, fd: None)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(reply.fd, b"x")
    os.close(reply.fd)


@pytest.mark.parametrize("late", [0, 1])
async def test_a_load_that_ends_while_somebody_looks_is_not_repeated(
    rig: Rig, origin: Origin, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second caller has looked under one key, or is about to, when the first one's load ends."""
    url = origin.serve("/file", content(10_000), headers=FRESH)
    looked, go, look = asyncio.Event(), asyncio.Event(), rig.agent.store.lookup
    calls = 0

    async def slow(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        found = await look(*args)
        if calls == 1 + late:
            looked.set()
            await go.wait()
        return found

    monkeypatch.setattr(rig.agent.store, "lookup", slow)
    second = asyncio.create_task(rig.get(url))
    await looked.wait()
    monkeypatch.setattr(rig.agent.store, "lookup", look)
    first = await rig.get(url)
    go.set()
    assert (await second).data == first.data == content(10_000)
    assert len(origin.requests("/file")) == 1


async def test_a_file_that_somebody_deleted_below_is_brought_again(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    got = await rig.get(url)
    os.unlink(got["path"])
    again = await rig.get(url)
    assert (again.data, again["bytes"]["origin"]) == (content(10_000), 10_000)


async def test_a_file_that_somebody_cut_below_is_never_handed_out(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    path = Path((await rig.get(url))["path"])
    path.chmod(0o600)
    os.truncate(path, 5_000)
    assert (await rig.get(url)).data == content(10_000)


# freshness


async def test_a_copy_past_its_lifetime_is_asked_about_and_then_fresh_again(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH)
    cold = await rig.get(url)
    before = len(origin.requests("/file"))
    rig.wall.ahead_s += 61
    again = await rig.get(url)
    assert [one.status for one in origin.requests("/file")[before:]] == [304]
    assert (again.data, again["stale"], again["ver"]) == (content(LARGE), False, cold["ver"])
    assert again["bytes"] == {"cache": LARGE, "peers": 0, "origin": 0}
    rig.wall.ahead_s += 59
    await rig.get(url)
    assert len(origin.requests("/file")) == before + 1


async def test_a_changed_file_is_a_new_version_and_the_old_one_stays_readable(
    rig: Rig, origin: Origin
) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH)
    old = await rig.agent.get(rig.session(), {"url": url}, lambda event, fd: None)
    assert isinstance(old.body, dict)
    origin.change("/file", content(LARGE, 1))
    rig.wall.ahead_s += 61
    new = await rig.get(url)
    assert new.data == content(LARGE, 1)
    assert new["ver"] != old.body["ver"]
    assert new["root"] != old.body["root"]
    told = await rig.stat(url)
    assert told["ver"] == new["ver"]
    assert set(told["versions"]) == {new["ver"], old.body["ver"]}
    assert (await rig.stat(url, ver=old.body["ver"]))["root"] == old.body["root"]
    assert read_all(old.fd) == content(LARGE)


@pytest.mark.parametrize("fields", [{"etag": None}, {"etag": None, "last_modified": None}], ids=str)
async def test_a_change_is_seen_without_strong_validators_too(
    rig: Rig, origin: Origin, fields: dict[str, Any]
) -> None:
    url = origin.serve("/file", content(LARGE), headers={"Cache-Control": "max-age=60"}, **fields)
    await rig.get(url)
    changed = dict(fields, last_modified=1_700_000_000.0) if "last_modified" not in fields else fields
    origin.change("/file", content(LARGE, 1), **changed)
    rig.wall.ahead_s += 61
    assert (await rig.get(url)).data == content(LARGE, 1)
    assert (await rig.get(url)).data == content(LARGE, 1)


async def test_a_fresh_copy_is_asked_about_when_the_caller_wants_it(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    await rig.get(url)
    assert (await rig.get(url, refresh=True)).data == content(10_000)
    rig.wall.ahead_s += 10
    await rig.get(url, max_age_s=30)
    assert [one.status for one in origin.log] == [206, 304]
    await rig.get(url, max_age_s=0)
    assert [one.status for one in origin.log] == [206, 304, 304]
    origin.change("/file", content(10_000, 1))
    assert (await rig.get(url)).data == content(10_000)
    assert (await rig.get(url, refresh=True)).data == content(10_000, 1)


async def test_offline_takes_what_is_there_at_any_age_and_asks_nobody(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    with pytest.raises(NotCached) as caught:
        await rig.get(url, offline=True)
    assert caught.value.exit_code == 3
    assert origin.log == []
    await rig.get(url)
    assert (await rig.get(url, offline=True))["stale"] is False
    rig.wall.ahead_s += 100 * 86400
    got = await rig.get(url, offline=True)
    assert (got.data, got["stale"]) == (content(10_000), True)
    assert len(origin.log) == 1


GONE = [
    Behaviour(hang_up=True),
    Behaviour(fail_times=-1, fail_status=500),
    Behaviour(fail_times=-1, fail_status=503, retry_after="3600"),
]


@pytest.mark.parametrize("behaviour", GONE, ids=["hangs up", "500", "503"])
async def test_a_stale_copy_stands_in_for_an_origin_in_trouble_and_says_so(
    rig: Rig, origin: Origin, behaviour: Behaviour
) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    await rig.get(url)
    origin.behave("/file", behaviour)
    rig.wall.ahead_s += 61
    got = await rig.get(url)
    assert (got.data, got["stale"], got["bytes"]["cache"]) == (content(10_000), True, 10_000)
    assert got["why"]
    assert (await rig.get(url))["stale"] is True, "it does not become fresh by itself"
    origin.behave("/file", Behaviour())
    assert (await rig.get(url))["stale"] is False


async def test_a_stale_copy_stands_in_for_an_origin_that_is_not_there(make_rig: Making) -> None:
    rig = await make_rig()
    async with Origin() as origin:
        url = origin.serve("/file", content(10_000), headers=FRESH)
        await rig.get(url)
    rig.wall.ahead_s += 61
    assert (await rig.get(url))["stale"] is True


async def test_no_stale_copy_is_served_to_who_does_not_want_it(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(freshness={"stale_if_error_s": 0.0})
    url = origin.serve("/file", content(10_000), headers=FRESH)
    await rig.get(url)
    origin.behave("/file", Behaviour(hang_up=True))
    rig.wall.ahead_s += 61
    with pytest.raises(OriginError):
        await rig.get(url)


async def test_no_stale_copy_is_served_past_its_time(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    await rig.get(url)
    origin.behave("/file", Behaviour(hang_up=True))
    rig.wall.ahead_s += 61 + rig.config.freshness.stale_if_error_s
    with pytest.raises(OriginError):
        await rig.get(url)


async def test_no_stale_copy_is_served_where_the_origin_forbade_it(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers={"Cache-Control": "max-age=60, must-revalidate"})
    await rig.get(url)
    origin.behave("/file", Behaviour(hang_up=True))
    rig.wall.ahead_s += 61
    with pytest.raises(OriginError):
        await rig.get(url)


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (410, NotFound), (403, AccessDenied), (451, OriginRefused)]
)
async def test_an_origin_that_says_no_is_believed_though_there_is_a_copy(
    rig: Rig, origin: Origin, status: int, error: type[Exception]
) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    await rig.get(url)
    origin.behave("/file", Behaviour(fail_times=-1, fail_status=status))
    rig.wall.ahead_s += 61
    with pytest.raises(error):
        await rig.get(url)


async def test_a_304_for_another_version_is_not_believed(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    await rig.get(url)
    origin.change("/file", content(10_000, 1))
    lie = b'HTTP/1.1 304 Not Modified\r\nETag: "another"\r\nConnection: close\r\n\r\n'
    origin.behave("/file", Behaviour(raw=lie, faults=2))
    rig.wall.ahead_s += 61
    got = await rig.get(url)
    assert (got.data, got["stale"]) == (content(10_000, 1), False)


# one load for all


@pytest.mark.parametrize("size", [10_000, LARGE])
async def test_fifty_who_ask_at_once_cost_one_download(rig: Rig, origin: Origin, size: int) -> None:
    url = origin.serve("/file", content(size), headers=FRESH)
    all_got = await asyncio.gather(*(rig.get(url, uid=OWN_UID + number % 2) for number in range(50)))
    assert all(got.data == content(size) for got in all_got)
    assert origin.bytes_sent("/file") == size
    if size == 10_000:
        assert len(origin.log) == 1


async def asking(rig: Rig, url: str, **args: Any) -> asyncio.Task[Got]:
    task = asyncio.create_task(rig.get(url, **args))
    await asyncio.sleep(0)
    return task


async def cancelled(*tasks: asyncio.Task[Got]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)


async def test_one_who_cancels_takes_only_itself_away(rig: Rig, origin: Origin) -> None:
    behaviour = Behaviour(stall_after=300_000)
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=behaviour)
    first, second, third = [await asking(rig, url) for _ in range(3)]
    await origin.stalled("/file")
    await rig.joined(2)
    await cancelled(first, third)
    origin.release("/file")
    assert (await second).data == content(LARGE)
    assert origin.bytes_sent("/file") == LARGE


async def test_the_one_who_began_may_leave_before_the_origin_answers(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), behaviour=Behaviour(silent=True, faults=1))
    first = await asking(rig, url)
    await origin.stalled("/file")
    second = await asking(rig, url)
    await rig.joined(1)
    await cancelled(first)
    origin.release("/file")
    assert (await second).data == content(10_000)


async def test_a_deadline_is_the_callers_own_and_says_what_was_waited_for(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), behaviour=Behaviour(stall_after=300_000))
    patient = await asking(rig, url)
    await origin.stalled("/file")
    with pytest.raises(DeadlineExceeded, match="receiving") as caught:
        await rig.get(url, deadline_s=0.01)
    assert caught.value.details["url"] == url
    assert caught.value.retryable
    origin.release("/file")
    assert (await patient).data == content(LARGE)


async def test_the_only_one_who_waits_is_told_the_reason_too(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"x", behaviour=Behaviour(silent=True))
    with pytest.raises(DeadlineExceeded, match=r"asking 127\.0\.0\.1"):
        await rig.get(url, deadline_s=0.02)


# what has come is not asked for again


def asked_twice(origin: Origin, path: str, confirmed: int, since: int) -> list[str]:
    """The ranges of later requests that touch what lay below `confirmed`."""
    again = []
    for one in origin.requests(path)[since:]:
        assert one.range is not None
        if int(one.range.removeprefix("bytes=").partition("-")[0]) < confirmed:
            again.append(one.range)
    return again


async def half_done(rig: Rig, origin: Origin) -> tuple[str, int, int]:
    """A download of which at least two pieces are on disk: its URL, those bytes, and how many requests there were."""
    url = origin.serve(
        "/file", content(LARGE), headers=FRESH, behaviour=Behaviour(stall_after=2 * PIECE + 50_000)
    )
    opened, fd = await rig.open(url)
    os.close(fd)
    await rig.ready(opened["reader"], 0, 2 * PIECE)
    return url, 2 * PIECE, opened["reader"]


async def test_what_came_before_everybody_left_is_not_asked_for_again(rig: Rig, origin: Origin) -> None:
    url, confirmed, reader = await half_done(rig, origin)
    await rig.call("close", reader=reader)
    before = len(origin.requests("/file"))
    origin.behave("/file", Behaviour())
    got = await rig.get(url)
    assert got.data == content(LARGE)
    assert asked_twice(origin, "/file", confirmed, before) == []
    assert all("if-range" in one.headers for one in origin.requests("/file")[before:])
    assert confirmed <= got["bytes"]["cache"] < LARGE


async def test_what_came_before_a_kill_is_not_asked_for_again(
    make_rig: Making, tmp_path: Path, origin: Origin
) -> None:
    rig = await make_rig()
    url, confirmed, _ = await half_done(rig, origin)
    killed = rig.as_if_killed(tmp_path / "found")
    before = len(origin.requests("/file"))
    origin.behave("/file", Behaviour())
    got = await (await make_rig(rig=killed)).get(url)
    assert got.data == content(LARGE)
    assert asked_twice(origin, "/file", confirmed, before) == []
    assert got["bytes"]["cache"] >= confirmed


async def test_entries_outlive_a_kill(make_rig: Making, tmp_path: Path, origin: Origin) -> None:
    rig = await make_rig()
    urls = [origin.serve(f"/{size}", content(size), headers=FRESH) for size in (0, 10_000, LARGE)]
    for url in urls:
        await rig.get(url)
    before = len(origin.log)
    after = await make_rig(rig=rig.as_if_killed(tmp_path / "found"))
    for url, size in zip(urls, (0, 10_000, LARGE), strict=True):
        assert (await after.get(url)).data == content(size)
    assert len(origin.log) == before


@pytest.mark.parametrize("same_length", [True, False])
async def test_a_download_begun_before_the_file_changed_is_begun_anew(
    rig: Rig, origin: Origin, same_length: bool
) -> None:
    url, _, reader = await half_done(rig, origin)
    await rig.call("close", reader=reader)
    new = content(LARGE if same_length else LARGE + 777, 1)
    origin.change("/file", new, behaviour=Behaviour())
    assert (await rig.get(url)).data == new


# whose it is


@pytest.mark.parametrize(
    ("sent", "auth"),
    [
        (basic("me", "secret"), {"user": "me", "password": "secret"}),
        (bearer("secret"), {"bearer": "secret"}),
    ],
    ids=["basic", "bearer"],
)
@pytest.mark.parametrize("size", [10_000, LARGE])
async def test_what_a_credential_opened_is_for_its_uid_and_credential_only(
    rig: Rig, origin: Origin, sent: str, auth: dict[str, str], size: int
) -> None:
    url = origin.serve("/file", content(size), headers=FRESH, behaviour=Behaviour(auth=sent))
    mine = await rig.get(url, auth=auth)
    assert (mine.data, mine["private"]) == (content(size), True)
    before = len(origin.log)
    assert (await rig.get(url, auth=auth))["bytes"]["cache"] == size
    assert len(origin.log) == before
    others: list[dict[str, Any]] = [{}, {"auth": {"bearer": "wrong"}}]
    for other in others:
        with pytest.raises(AccessDenied):
            await rig.get(url, **other)
        with pytest.raises(AccessDenied):
            await rig.get(url, uid=OTHER_UID, **other)
    before = len(origin.log)
    theirs = await rig.get(url, uid=OTHER_UID, auth=auth)
    assert len(origin.log) > before, "another uid shows its right to the origin, not to the cache"
    assert theirs["key"] != mine["key"]
    assert (await rig.stat(url, uid=OTHER_UID))["cached"] is False


async def test_a_credential_in_the_url_is_sent_and_never_shown(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH, behaviour=Behaviour(auth=basic("me", "hush")))
    got = await rig.get(url.replace("//", "//me:hush@"))
    assert got.data == content(10_000)
    assert got["private"] is True
    listed = await rig.call("ls")
    assert "hush" not in repr((got.fields, listed, await rig.call("status")))


PRIVATE = [
    {"Set-Cookie": "session=mine", **FRESH},
    {"Cache-Control": "private, max-age=60"},
    {"Vary": "Cookie", **FRESH},
    {"Vary": "*"},
    {"Cache-Control": "no-store"},
]


@pytest.mark.parametrize("headers", PRIVATE, ids=str)
@pytest.mark.parametrize("size", [10_000, LARGE])
async def test_what_the_origin_marks_as_somebodys_is_for_nobody_else(
    rig: Rig, origin: Origin, headers: dict[str, str], size: int
) -> None:
    url = origin.serve("/file", content(size), headers=headers)
    mine = await rig.get(url)
    origin.change("/file", content(size, 1))
    theirs = await rig.get(url, uid=OTHER_UID)
    assert (mine.data, theirs.data) == (content(size), content(size, 1))
    if "no-store" not in headers.get("Cache-Control", "") and headers.get("Vary") != "*":
        assert (mine["private"], theirs["private"]) == (True, True)
        before = len(origin.log)
        assert (await rig.get(url)).data == content(size)
        assert (await rig.get(url, uid=OTHER_UID)).data == content(size, 1)
        assert len(origin.log) == before


@pytest.mark.parametrize("headers", PRIVATE, ids=str)
async def test_it_is_for_nobody_else_though_both_asked_at_once(
    rig: Rig, origin: Origin, headers: dict[str, str]
) -> None:
    url = origin.serve("/file", content(LARGE), headers=headers)
    first, second = await asyncio.gather(rig.get(url), rig.get(url, uid=OTHER_UID))
    assert first.data == second.data == content(LARGE)
    assert origin.bytes_sent("/file") >= 2 * LARGE
    assert first["ver"] != second["ver"], "each has a key of its own"


async def test_a_private_copy_found_unchanged_is_not_given_to_who_asked_along(
    rig: Rig, origin: Origin
) -> None:
    url = origin.serve("/file", b"of the first", headers={"Cache-Control": "private, max-age=0"})
    await rig.get(url)
    origin.behave("/file", Behaviour(silent=True, faults=2))
    first = await asking(rig, url)
    await origin.stalled("/file")
    second = await asking(rig, url, uid=OTHER_UID)
    await rig.joined(1)
    origin.release("/file")
    mine, theirs = await asyncio.gather(first, second)
    assert mine["bytes"]["cache"] == len(b"of the first")
    assert theirs["bytes"]["origin"] == len(b"of the first")
    assert mine["key"] != theirs["key"]


async def test_a_public_file_that_became_private_is_its_askers_from_then_on(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"for all", headers={"Cache-Control": "max-age=5"})
    await rig.get(url)
    origin.change("/file", b"for me", headers={"Cache-Control": "private, max-age=600"})
    rig.wall.ahead_s += 10
    assert (await rig.get(url)).data == b"for me"
    before = len(origin.log)
    again = await rig.get(url)
    assert (again.data, again["private"]) == (b"for me", True)
    assert len(origin.log) == before
    origin.change("/file", b"for you")
    assert (await rig.get(url, uid=OTHER_UID)).data == b"for you"


@pytest.mark.parametrize("change", [{"Set-Cookie": "s=1"}, {"Cache-Control": "private"}], ids=str)
async def test_a_304_that_makes_it_private_is_heeded(
    rig: Rig, origin: Origin, change: dict[str, str]
) -> None:
    body = content(10_000)
    url = origin.serve("/file", body, headers={"Cache-Control": "max-age=5"}, etag='"same"')
    await rig.get(url)
    headers = {"Cache-Control": "max-age=600", **change}
    if "Cache-Control" in change:
        headers["Cache-Control"] = "private, max-age=600"
    origin.change("/file", body, headers=headers, etag='"same"')
    rig.wall.ahead_s += 10
    assert (await rig.get(url)).data == body
    before = len(origin.log)
    assert (await rig.get(url, uid=OTHER_UID)).data == body
    assert len(origin.log) > before, "the other one was not the one whom the origin answered"
    told = await rig.stat(url, uid=OTHER_UID)
    assert "s=1" not in repr(told)


async def test_cookies_of_an_answer_are_not_kept(rig: Rig, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/file", content(10_000), headers={"Set-Cookie": "session=verysecret", **FRESH})
    await rig.get(url)
    assert "verysecret" not in repr(await rig.stat(url))


async def test_variants_are_not_mixed_up(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"plain", headers={"Vary": "Accept", **FRESH})
    plain = [["Accept", "text/plain"]]
    html = [["Accept", "text/html"]]
    assert (await rig.get(url, headers=plain)).data == b"plain"
    origin.change("/file", b"html")
    assert (await rig.get(url, headers=html)).data == b"html"
    assert (await rig.get(url, headers=html))["bytes"]["cache"] == 4


async def test_variants_asked_for_at_once_are_not_mixed_up(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"plain", headers={"Vary": "Accept", **FRESH})
    origin.behave("/file", Behaviour(silent=True, faults=1))
    first = await asking(rig, url, headers=[["Accept", "text/plain"]])
    await origin.stalled("/file")
    second = await asking(rig, url, headers=[["Accept", "text/html"]])
    await rig.joined(1)
    origin.change("/file", b"html", at_request=2, behaviour=Behaviour())
    origin.release("/file")
    assert {(await first).data, (await second).data} == {b"plain", b"html"}


async def test_loopback_is_for_the_agents_own_user_unless_allowed(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(origin={"allow": ()})
    url = origin.serve("/file", b"x", headers=FRESH)
    with pytest.raises(GateRefused):
        await rig.get(url, uid=OTHER_UID)
    assert (await rig.get(url)).data == b"x"


# requests that are wrong


@pytest.mark.parametrize("verb", ["get", "open"])
async def test_a_descriptor_that_nobody_needs_is_closed(rig: Rig, origin: Origin, verb: str) -> None:
    url = origin.serve("/file", b"x", headers=FRESH)
    for asked in (url, "nonsense"):
        reading, writing = os.pipe()
        try:
            reply = await getattr(rig.agent, verb)(
                rig.session(), {"url": asked, "fd": True}, lambda event, fd: None, reading
            )
            os.close(reply.fd)
        except BadUrl:
            assert asked == "nonsense"
        with pytest.raises(BrokenPipeError):
            os.write(writing, b"anybody?")
        os.close(writing)


async def test_a_failure_reaches_everybody_and_is_tried_anew_next_time(rig: Rig, origin: Origin) -> None:
    url = origin.url("/later")
    results = await asyncio.gather(*(rig.get(url) for _ in range(5)), return_exceptions=True)
    assert [type(one) for one in results] == [NotFound] * 5
    assert len(origin.log) == 1
    origin.serve("/later", b"here now")
    assert (await rig.get(url)).data == b"here now"


async def test_progress_is_told_to_who_asked(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(jobs={"progress_interval_s": 0.01})
    url = origin.serve("/file", content(LARGE), behaviour=Behaviour(stall_after=300_000))
    task = await asking(rig, url, progress=True)
    silent = await asking(rig, url)
    await origin.stalled("/file")
    await rig.joined(1)
    await asyncio.sleep(0.03)
    origin.release("/file")
    got = await task
    told = [event for event in got.heard if event["event"] == "progress"]
    assert told
    assert [one["bytes"] for one in told] == sorted(one["bytes"] for one in told)
    assert told[-1]["total"] == LARGE
    assert told[-1]["source"] == "origin"
    assert {"rate", "eta_s"} <= told[-1].keys()
    assert (await silent).heard == []


async def test_progress_without_a_length_has_no_total(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(jobs={"progress_interval_s": 0.01})
    url = origin.serve(
        "/file", content(LARGE), behaviour=Behaviour(framing="chunked", ranges=False, stall_after=300_000)
    )
    task = await asking(rig, url, progress=True)
    await origin.stalled("/file")
    await asyncio.sleep(0.03)
    origin.release("/file")
    got = await task
    assert got.heard[0]["total"] is None
    assert got.heard[0]["eta_s"] is None
    assert got.data == content(LARGE)


async def test_an_agent_that_stops_tells_those_who_wait(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig()
    url = origin.serve("/file", b"x", behaviour=Behaviour(silent=True))
    task = await asking(rig, url)
    await origin.stalled("/file")
    await rig.agent.loads.aclose()
    assert (await asyncio.gather(task, return_exceptions=True))[0].retryable  # type: ignore[union-attr]


async def test_a_file_url_without_a_descriptor_is_refused(rig: Rig) -> None:
    with pytest.raises(BadRequest):
        await rig.get("file:///etc/hostname")
