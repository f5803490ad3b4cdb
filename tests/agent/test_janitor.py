"""Room is made before it is needed, and who listens hears of it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from p2pstore.agent import janitor as janitor_module
from p2pstore.config import MIB
from tests.agent.conftest import Making
from tests.agent.rig import LARGE, OWN_UID, Rig, content, read_all
from tests.origin import Behaviour, Origin

FRESH = {"Cache-Control": "max-age=6000"}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janitor_module, "ROUND_S", 0.01)


class Heard:
    """A subscription and what it heard, to be waited for."""

    def __init__(self, rig: Rig, *kinds: str, uid: int = OWN_UID) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.leave = rig.agent.subscribe(kinds, rig.session(uid).caller, self.events.put_nowait)

    async def next(self) -> dict[str, Any]:
        """The next event."""
        return await asyncio.wait_for(self.events.get(), 5)

    def so_far(self) -> list[str]:
        """The kinds heard and not yet taken."""
        return [self.events.get_nowait()["event"] for _ in range(self.events.qsize())]


async def test_more_than_the_quota_flows_through_and_the_oldest_go(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(cache={"size_bytes": 4 * MIB})
    heard = Heard(rig, "evicted")
    urls = [origin.serve(f"/{number}", content(MIB, number), headers=FRESH) for number in range(10)]
    for number, url in enumerate(urls):
        assert (await rig.get(url)).data == content(MIB, number)
    first = await heard.next()
    assert (first["url"], first["size"]) == (urls[0], MIB)
    usage = (await rig.call("status"))["usage"]
    assert usage["used_bytes"] <= 4 * MIB
    assert (await rig.stat(urls[-1]))["cached"] is True
    assert (await rig.call("status"))["counters"]["evicted"] >= 6


async def test_what_was_used_lately_stays(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(cache={"size_bytes": 4 * MIB})
    used = origin.serve("/used", content(MIB), headers=FRESH)
    await rig.get(used)
    for number in range(6):
        await rig.get(origin.serve(f"/{number}", content(MIB // 2, number), headers=FRESH))
        await rig.get(used)
    assert (await rig.stat(used))["cached"] is True


async def test_an_open_file_is_read_to_its_end_though_it_was_evicted(
    make_rig: Making, origin: Origin
) -> None:
    rig = await make_rig(cache={"size_bytes": 4 * MIB})
    heard = Heard(rig, "evicted")
    reply = await rig.agent.get(
        rig.session(), {"url": origin.serve("/file", content(MIB), headers=FRESH)}, lambda event, fd: None
    )
    for number in range(1, 7):
        await rig.get(origin.serve(f"/{number}", content(MIB, number), headers=FRESH))
    assert (await heard.next())["url"].endswith("/file")
    assert read_all(reply.fd) == content(MIB)


async def test_a_path_that_was_handed_out_is_left_alone_for_a_while(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(cache={"size_bytes": 4 * MIB})
    url = origin.serve("/file", content(MIB), headers=FRESH)
    path = (await rig.get(url, want="path"))["path"]
    for number in range(1, 8):
        await rig.get(origin.serve(f"/{number}", content(MIB, number), headers=FRESH))
    with open(path, "rb") as file:
        assert file.read() == content(MIB)


async def test_the_life_of_an_entry_is_told(rig: Rig, origin: Origin) -> None:
    heard = Heard(rig)
    url = origin.serve("/file", content(10_000), headers={"Cache-Control": "max-age=5"})
    await rig.get(url)
    assert heard.so_far() == ["queued", "started", "ready"]
    rig.wall.ahead_s += 10
    await rig.get(url)
    assert heard.so_far() == ["queued", "started", "revalidated", "ready"]
    await rig.call("rm", url=url)
    event = await heard.next()
    assert (event["event"], event["url"]) == ("removed", url)
    with pytest.raises(Exception, match="404"):
        await rig.get(origin.url("/nothing"))
    assert heard.so_far() == ["queued", "started", "failed"]
    heard.leave()
    await rig.get(url)
    assert heard.so_far() == []


async def test_every_event_says_what_when_and_which(rig: Rig, origin: Origin) -> None:
    heard = Heard(rig, "ready", "failed")
    url = origin.serve("/file", content(10_000), headers=FRESH)
    got = await rig.get(url)
    ready = await heard.next()
    assert (ready["url"], ready["key"], ready["size"], ready["root"]) == (
        url,
        got["key"],
        10_000,
        got["root"],
    )
    assert ready["at"] == pytest.approx(rig.wall(), abs=60)
    with pytest.raises(Exception, match="404"):
        await rig.get(origin.url("/nothing"))
    assert (await heard.next())["error"]["code"] == "not_found"


async def test_progress_is_told_to_who_wants_it(rig: Rig, origin: Origin) -> None:
    heard, usual = Heard(rig, "progress"), Heard(rig)
    behaviour = Behaviour(stall_after=100_000)
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=behaviour)
    _, fd = await rig.open(url)
    os.close(fd)
    told = await heard.next()
    while told["total"] is None:  # the origin has not answered yet
        told = await heard.next()
    assert (told["event"], told["url"], told["total"]) == ("progress", url, LARGE)
    assert 0 <= told["bytes"] <= LARGE
    assert {"rate", "eta_s", "source"} <= told.keys()
    assert "progress" not in usual.so_far()


@pytest.mark.parametrize(("uid", "hears"), [(OWN_UID + 1, False), (OWN_UID + 2, True), (OWN_UID, True)])
async def test_what_is_somebodys_is_told_to_nobody_else(
    rig: Rig, origin: Origin, uid: int, hears: bool
) -> None:
    heard = Heard(rig, uid=uid)
    auth = {"bearer": "t"}
    url = origin.serve("/file", b"x", headers=FRESH, behaviour=Behaviour(auth="Bearer t"))
    await rig.get(url, uid=OWN_UID + 2, auth=auth)
    await rig.call("rm", uid=OWN_UID + 2, url=url, auth=auth)
    assert (await heard.next())["event"] == "queued" if hears else heard.so_far() == []


async def test_what_the_origin_made_private_is_told_to_nobody_else(rig: Rig, origin: Origin) -> None:
    heard = Heard(rig, "ready", "removed", "revalidated", "verified", uid=OWN_UID + 1)
    url = origin.serve("/file", b"x", headers={"Cache-Control": "private"})
    await rig.get(url, uid=OWN_UID + 2)
    assert heard.so_far() == []
