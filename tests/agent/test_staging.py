"""Bringing files before they are asked for, and waiting without asking again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from p2pstore.agent import staging as staging_module
from p2pstore.errors import BadUrl, Overloaded
from tests.agent.conftest import Making
from tests.agent.rig import LARGE, OWN_UID, Hearing, Rig, content
from tests.origin import Behaviour, Origin

FRESH = {"Cache-Control": "max-age=60"}
OTHER_UID = OWN_UID + 1234


async def is_open(awaitable: Awaitable[object]) -> bool:
    """Whether it is still waited for after a moment."""
    task = asyncio.ensure_future(awaitable)
    done, _ = await asyncio.wait([task], timeout=0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return not done


async def test_prefetch_answers_at_once_and_wait_when_it_is_there(rig: Rig, origin: Origin) -> None:
    urls = [origin.serve(f"/{size}", content(size), headers=FRESH) for size in (0, 10_000, LARGE)]
    assert await rig.call("prefetch", urls=urls) == {"accepted": 3, "cached": 0}
    waited = await rig.call("wait", urls=urls)
    assert waited["results"] == [{"url": url, "ok": True} for url in urls]
    asked = len(origin.log)
    assert await rig.call("prefetch", urls=urls) == {"accepted": 0, "cached": 3}
    assert (await rig.get(urls[2])).data == content(LARGE)
    assert len(origin.log) == asked


async def test_the_same_url_is_brought_once(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=Behaviour(stall_after=100_000))
    await rig.call("prefetch", urls=[url, url])
    await rig.call("prefetch", urls=[url])
    getting = asyncio.create_task(rig.get(url))
    await origin.stalled("/file")
    origin.release("/file")
    assert (await getting).data == content(LARGE)
    assert (await rig.call("wait", urls=[url]))["results"][0]["ok"]
    assert origin.bytes_sent("/file") == LARGE


async def test_wait_begins_nothing(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"x", headers=FRESH)
    (result,) = (await rig.call("wait", urls=[url]))["results"]
    assert (result["ok"], result["error"]["code"]) == (False, "not_cached")
    assert origin.log == []


async def test_wait_follows_what_somebody_else_began(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH, behaviour=Behaviour(silent=True, faults=1))
    getting = asyncio.create_task(rig.get(url))
    await origin.stalled("/file")
    assert await is_open(rig.call("wait", urls=[url]))
    waiting = asyncio.create_task(rig.call("wait", urls=[url], uid=OTHER_UID))
    await asyncio.sleep(0)
    origin.release("/file")
    assert (await waiting)["results"] == [{"url": url, "ok": True}]
    await getting


async def test_each_url_has_its_own_outcome(rig: Rig, origin: Origin) -> None:
    good = origin.serve("/good", b"x", headers=FRESH)
    bad = origin.url("/bad")
    await rig.call("prefetch", urls=[bad, good])
    results = (await rig.call("wait", urls=[bad, good]))["results"]
    assert [one["ok"] for one in results] == [False, True]
    assert results[0]["error"]["code"] == "not_found"
    again = (await rig.call("wait", urls=[bad]))["results"][0]
    assert again["error"]["code"] == "not_found", "the reason is remembered for who asks late"
    origin.serve("/bad", b"now", headers=FRESH)
    assert (await rig.call("prefetch", urls=[bad]))["accepted"] == 1
    assert (await rig.call("wait", urls=[bad]))["results"][0]["ok"]


async def test_a_load_that_fails_while_it_is_waited_for_tells_why(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"x", behaviour=Behaviour(silent=True))
    getting = asyncio.create_task(rig.get(url))
    await origin.stalled("/file")
    waiting = asyncio.create_task(rig.call("wait", urls=[url]))
    await asyncio.sleep(0)
    origin.remove("/file")
    for task in list(origin._tasks):
        task.cancel()
    await asyncio.gather(getting, return_exceptions=True)
    assert (await waiting)["results"][0]["error"]["code"] == "not_found"


async def test_waiting_has_a_deadline_and_the_prefetch_goes_on(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH, behaviour=Behaviour(silent=True))
    await rig.call("prefetch", urls=[url])
    await origin.stalled("/file")
    (result,) = (await rig.call("wait", urls=[url], deadline_s=0.01))["results"]
    assert (result["ok"], result["error"]["code"]) == (False, "deadline")
    origin.release("/file")
    assert (await rig.call("wait", urls=[url]))["results"][0]["ok"]


async def test_waiting_tells_its_progress(rig: Rig, origin: Origin) -> None:
    urls = [origin.serve(f"/{number}", b"x", headers=FRESH) for number in range(3)]
    await rig.call("prefetch", urls=urls)
    hearing = Hearing()
    await rig.agent.wait(rig.session(), {"urls": urls, "progress": True}, hearing.push, -1)
    assert [(one["bytes"], one["total"]) for one in hearing.heard] == [(1, 3), (2, 3), (3, 3)]


async def test_a_stale_copy_is_brought_up_to_date(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"old", headers=FRESH)
    await rig.get(url)
    origin.change("/file", b"new")
    rig.wall.ahead_s += 61
    assert await rig.call("prefetch", urls=[url]) == {"accepted": 1, "cached": 0}
    await rig.call("wait", urls=[url])
    asked = len(origin.log)
    assert (await rig.get(url)).data == b"new"
    assert len(origin.log) == asked


async def test_a_wrong_url_refuses_them_all_and_begins_none(rig: Rig, origin: Origin) -> None:
    good = origin.serve("/good", b"x", headers=FRESH)
    with pytest.raises(BadUrl):
        await rig.call("prefetch", urls=[good, "nonsense"])
    (result,) = (await rig.call("wait", urls=[good]))["results"]
    assert result["ok"] is False
    assert origin.log == []


# taking back


async def test_a_prefetch_can_be_taken_back(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), behaviour=Behaviour(silent=True))
    await rig.call("prefetch", urls=[url])
    await origin.stalled("/file")
    waiting = asyncio.create_task(rig.call("wait", urls=[url]))
    await asyncio.sleep(0)
    assert await rig.call("cancel_url", url=url) == {"cancelled": True}
    assert (await waiting)["results"][0]["ok"] is False
    assert await rig.call("cancel_url", url=url) == {"cancelled": False}
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await rig.call("status"))["loads"] == 0


async def test_one_that_has_not_begun_can_be_taken_back_too(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(jobs={"max_loads": 1})
    first = origin.serve("/first", b"1", headers=FRESH, behaviour=Behaviour(silent=True))
    second = origin.serve("/second", b"2", headers=FRESH)
    third = origin.serve("/third", b"3", headers=FRESH)
    await rig.call("prefetch", urls=[first, second, third])
    await origin.stalled("/first")
    assert (await rig.call("cancel_url", url=second))["cancelled"]
    origin.release("/first")
    results = (await rig.call("wait", urls=[first, second, third]))["results"]
    assert [one["ok"] for one in results] == [True, False, True]
    assert origin.requests("/second") == []


async def test_taking_back_touches_nobody_else(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=Behaviour(stall_after=100_000))
    await rig.call("prefetch", urls=[url])
    await origin.stalled("/file")
    getting = asyncio.create_task(rig.get(url))
    await rig.joined(1)
    assert (await rig.call("cancel_url", url=url))["cancelled"]
    origin.release("/file")
    assert (await getting).data == content(LARGE)
    assert origin.bytes_sent("/file") == LARGE


@pytest.mark.parametrize(
    ("began", "asks", "may"),
    [
        (OTHER_UID, OTHER_UID, True),
        (OTHER_UID, OTHER_UID + 1, False),
        (OWN_UID, OTHER_UID, False),
        (OTHER_UID, OWN_UID, True),
    ],
    ids=["its own", "a stranger's", "the agent's user's", "by the agent's user"],
)
async def test_only_ones_own_can_be_taken_back(
    rig: Rig, origin: Origin, began: int, asks: int, may: bool
) -> None:
    url = origin.serve("/file", b"x", headers=FRESH, behaviour=Behaviour(silent=True))
    await rig.call("prefetch", uid=began, urls=[url])
    await origin.stalled("/file")
    assert (await rig.call("cancel_url", uid=asks, url=url))["cancelled"] is may
    origin.release("/file")
    (result,) = (await rig.call("wait", uid=began, urls=[url]))["results"]
    assert result["ok"] is not may


# bounds


async def test_many_are_brought_a_few_at_a_time(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(jobs={"max_loads": 3})
    urls = [
        origin.serve(f"/{number}", b"x", headers=FRESH, behaviour=Behaviour(silent=True))
        for number in range(10)
    ]
    assert (await rig.call("prefetch", urls=urls))["accepted"] == 10
    for number in range(3):
        await origin.stalled(f"/{number}")
    assert len(origin.log) == 3
    for number in range(10):
        origin.release(f"/{number}")
    assert all(one["ok"] for one in (await rig.call("wait", urls=urls))["results"])


async def test_a_get_goes_past_the_queue(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(jobs={"max_loads": 2})
    slow = [origin.serve(f"/{n}", b"x", headers=FRESH, behaviour=Behaviour(delay_s=0.02)) for n in range(10)]
    await rig.call("prefetch", urls=slow)
    url = origin.serve("/wanted", b"wanted", headers=FRESH)
    assert (await rig.get(url)).data == b"wanted"
    assert len(origin.log) < 10
    await rig.call("wait", urls=slow)


async def test_what_waits_is_bounded(rig: Rig, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging_module, "MAX_QUEUED", 2)
    urls = [origin.serve(f"/{n}", b"x", behaviour=Behaviour(silent=True)) for n in range(3)]
    with pytest.raises(Overloaded):
        await rig.call("prefetch", urls=urls)


async def test_failures_that_are_remembered_are_bounded(
    rig: Rig, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging_module, "MAX_FAILURES", 2)
    urls = [origin.url(f"/{number}") for number in range(5)]
    await rig.call("prefetch", urls=urls)
    await rig.call("wait", urls=urls)
    assert len(rig.agent.staging._failures) == 2


async def test_idle_is_when_nothing_is_queued_or_loaded(rig: Rig, origin: Origin) -> None:
    assert rig.agent.idle_since() is not None
    url = origin.serve("/file", b"x", headers=FRESH, behaviour=Behaviour(silent=True))
    await rig.call("prefetch", urls=[url])
    assert rig.agent.idle_since() is None
    await origin.stalled("/file")
    assert rig.agent.idle_since() is None
    origin.release("/file")
    await rig.call("wait", urls=[url])
    await rig.settled()
    since = rig.agent.idle_since()
    assert since is not None
    assert rig.agent.idle_since() == since


async def test_private_files_can_be_prefetched(rig: Rig, origin: Origin) -> None:
    args: dict[str, Any] = {"auth": {"bearer": "t"}}
    url = origin.serve("/file", b"x", headers=FRESH, behaviour=Behaviour(auth="Bearer t"))
    await rig.call("prefetch", urls=[url], **args)
    assert (await rig.call("wait", urls=[url], **args))["results"][0]["ok"]
    assert (await rig.get(url, **args))["bytes"]["cache"] == 1
    assert (await rig.call("wait", urls=[url]))["results"][0]["ok"] is False


async def test_what_the_origin_made_private_counts_as_there_for_its_asker(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"x", headers={"Cache-Control": "private, max-age=60"})
    await rig.call("prefetch", urls=[url])
    assert (await rig.call("wait", urls=[url]))["results"][0]["ok"]
    assert await rig.call("prefetch", urls=[url]) == {"accepted": 0, "cached": 1}
    assert (await rig.call("wait", uid=OTHER_UID, urls=[url]))["results"][0]["ok"] is False
