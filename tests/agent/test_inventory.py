"""What is here, whose it is, and taking it away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from p2pstore.agent import inventory as inventory_module
from p2pstore.errors import AccessDenied, BadRequest, NotFound
from p2pstore.types import Caller
from tests.agent.conftest import Making
from tests.agent.rig import LARGE, OWN_UID, Hearing, Rig, content
from tests.origin import Behaviour, Origin

FRESH = {"Cache-Control": "max-age=60"}
OTHER_UID = OWN_UID + 1234


async def listed(rig: Rig, **args: Any) -> list[str]:
    return [one["url"] for one in (await rig.call("ls", **args))["entries"]]


# stat


async def test_stat_tells_what_is_known_and_asks_nobody(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH, etag='"v1"')
    assert (await rig.stat(url))["cached"] is False
    got = await rig.get(url)
    told = await rig.stat(url)
    assert {name: told[name] for name in ("cached", "complete", "fresh", "stale", "private", "loading")} == {
        "cached": True,
        "complete": True,
        "fresh": True,
        "stale": False,
        "private": False,
        "loading": None,
    }
    assert (told["size"], told["root"], told["ver"], told["key"]) == (
        10_000,
        got["root"],
        got["ver"],
        got["key"],
    )
    assert ["etag", '"v1"'] in told["headers"]
    assert told["lifetime_s"] == 60
    assert told["versions"] == [got["ver"]]
    rig.wall.ahead_s += 100
    told = await rig.stat(url)
    assert (told["fresh"], told["stale"]) == (False, True)
    assert told["age_s"] >= 100
    assert len(origin.log) == 1


async def test_stat_says_how_far_a_load_is(rig: Rig, origin: Origin) -> None:
    behaviour = Behaviour(stall_after=100_000, ranges=False)
    url = origin.serve("/file", content(LARGE), headers=FRESH, behaviour=behaviour)
    _, fd = await rig.open(url)
    os.close(fd)
    await origin.stalled("/file")
    told = await rig.stat(url)
    assert (told["cached"], told["complete"]) == (False, False)
    assert told["loading"]["total"] == LARGE
    assert 0 <= told["loading"]["bytes"] <= 100_000


async def test_stat_of_a_version_that_is_not_there(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"x", headers=FRESH)
    await rig.get(url)
    assert (await rig.stat(url, ver="0" * 32))["cached"] is False


# ls


async def test_ls_tells_public_entries_and_ones_own(rig: Rig, origin: Origin, tmp_path: Path) -> None:
    public = origin.serve("/a-public", b"1", headers=FRESH)
    private = origin.serve("/b-private", b"22", headers={"Cache-Control": "private, max-age=60"})
    await rig.get(public)
    await rig.get(private, uid=OTHER_UID)
    assert await listed(rig, uid=OTHER_UID) == [public, private]
    assert await listed(rig, uid=OTHER_UID + 1) == [public]
    assert await listed(rig) == [public, private], "the agent's own user sees all"
    (one,) = (await rig.call("ls", prefix=private))["entries"]
    assert (one["size"], one["private"], one["current"]) == (2, True, True)


@pytest.mark.parametrize(
    ("sort", "order"), [("url", "abc"), ("size", "cab"), ("stored", "bca"), ("access", "bca")]
)
@pytest.mark.parametrize("descending", [False, True])
async def test_ls_sorts(rig: Rig, origin: Origin, sort: str, order: str, descending: bool) -> None:
    sizes = {"a": 200, "b": 3000, "c": 10}
    urls = {name: origin.serve(f"/{name}", content(size), headers=FRESH) for name, size in sizes.items()}
    for name in "bca":
        await rig.get(urls[name])
        rig.wall.ahead_s += 1
    wanted = [urls[name] for name in order]
    assert await listed(rig, sort=sort, descending=descending) == (wanted[::-1] if descending else wanted)


async def test_ls_comes_in_pages_that_miss_nothing(rig: Rig, origin: Origin) -> None:
    urls = [origin.serve(f"/{number:02}", b"x", headers=FRESH) for number in range(11)]
    for url in urls:
        await rig.get(url)
    found, after, pages = [], None, 0
    while pages == 0 or after is not None:
        page = await rig.call("ls", limit=4, **({"after": after} if after else {}))
        assert len(page["entries"]) <= 4
        found += [one["url"] for one in page["entries"]]
        after, pages = page["next"], pages + 1
    assert found == urls


async def test_ls_can_tell_old_versions_too(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"1", headers=FRESH)
    await rig.get(url)
    origin.change("/file", b"22")
    await rig.get(url, refresh=True)
    assert await listed(rig) == [url]
    entries = (await rig.call("ls", versions=True))["entries"]
    assert sorted((one["size"], one["current"]) for one in entries) == [(1, False), (2, True)]


# rm


async def test_what_was_removed_is_brought_again(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    await rig.get(url)
    assert await rig.call("rm", url=url) == {"removed": 1, "bytes": 10_000}
    assert (await rig.stat(url))["cached"] is False
    assert (await rig.get(url))["bytes"]["origin"] == 10_000
    with pytest.raises(NotFound):
        await rig.call("rm", url=url + "/other")


async def test_removing_takes_the_old_versions_along(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"1", headers=FRESH)
    await rig.get(url)
    origin.change("/file", b"22")
    await rig.get(url, refresh=True)
    assert (await rig.call("rm", url=url))["removed"] == 2
    assert (await rig.call("ls", versions=True))["entries"] == []


@pytest.mark.parametrize("uid", [OWN_UID, OTHER_UID])
async def test_one_removes_only_what_is_ones_own(rig: Rig, origin: Origin, uid: int) -> None:
    public = origin.serve("/x/public", b"1", headers=FRESH)
    private = origin.serve("/x/private", b"22", headers={"Cache-Control": "private, max-age=60"})
    await rig.get(public)
    for one in (OTHER_UID, OTHER_UID + 1):
        await rig.get(private, uid=one)
    prefix = public.removesuffix("public")
    removed = await rig.call("rm", uid=uid, prefix=prefix)
    assert removed["removed"] == (3 if uid == OWN_UID else 1)
    left = await listed(rig)
    assert left == ([] if uid == OWN_UID else [private, public])


async def test_a_public_entry_is_not_a_strangers_to_remove(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"1", headers=FRESH)
    await rig.get(url)
    with pytest.raises(AccessDenied):
        await rig.call("rm", uid=OTHER_UID, url=url)
    assert (await rig.stat(url))["cached"] is True


async def test_members_of_an_admin_group_may(
    make_rig: Making, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await make_rig(jobs={"admin_groups": ("root", "no-such-group")})
    url = origin.serve("/file", b"1", headers=FRESH)
    await rig.get(url)
    rig.session(OTHER_UID).caller = Caller(uid=OTHER_UID, gid=OTHER_UID, pid=1, groups=(0,))
    assert (await rig.call("rm", uid=OTHER_UID, url=url))["removed"] == 1


async def test_removing_something_needs_a_name(rig: Rig) -> None:
    with pytest.raises(BadRequest):
        await rig.call("rm")
    assert (await rig.call("rm", prefix="http://nothing/"))["removed"] == 0


async def test_a_prefix_is_removed_page_by_page(
    rig: Rig, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_module, "PAGE", 3)
    for number in range(10):
        await rig.get(origin.serve(f"/{number}", b"12", headers=FRESH))
    assert await rig.call("rm", prefix=origin.url("/")) == {"removed": 10, "bytes": 20}
    assert await listed(rig) == []


# check


async def test_damage_is_found_and_set_aside(rig: Rig, origin: Origin) -> None:
    good = origin.serve("/good", content(10_000), headers=FRESH)
    bad = origin.serve("/bad", content(LARGE), headers=FRESH)
    await rig.get(good)
    path = Path((await rig.get(bad))["path"])
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(LARGE // 2)
        byte = file.read(1)
        file.seek(LARGE // 2)
        file.write(bytes([byte[0] ^ 1]))
    hearing = Hearing()
    reply = await rig.agent.check(rig.session(), {}, hearing.push, -1)
    assert isinstance(reply.body, dict)
    assert (reply.body["checked"], reply.body["bad"], reply.body["unreadable"]) == (2, 1, 0)
    assert [(one["url"], one["ok"]) for one in hearing.heard] == [(bad, False)]
    assert (await rig.stat(bad))["cached"] is False
    assert (await rig.stat(good))["cached"] is True
    assert (await rig.get(bad)).data == content(LARGE)


async def test_every_hundredth_good_one_is_told_of(
    rig: Rig, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_module, "TOLD_EVERY", 2)
    for number in range(5):
        await rig.get(origin.serve(f"/{number}", content(10 + number), headers=FRESH))
    hearing = Hearing()
    await rig.agent.check(rig.session(), {}, hearing.push, -1)
    assert [one["ok"] for one in hearing.heard] == [True, True]


async def test_a_share_is_checked_when_asked_for(rig: Rig, origin: Origin) -> None:
    for number in range(20):
        await rig.get(origin.serve(f"/{number}", content(10 + number), headers=FRESH))
    none = await rig.call("check", subset=0.0)
    some = await rig.call("check", subset=0.5)
    every = await rig.call("check", subset=1.0)
    assert none["checked"] == 0
    assert 0 < some["checked"] < every["checked"] == 20
    assert (await rig.call("check", prefix=origin.url("/1")))["checked"] == 11


async def test_one_checks_what_one_may_see(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"22", headers={"Cache-Control": "private, max-age=60"})
    await rig.get(url)
    assert (await rig.call("check", uid=OTHER_UID))["checked"] == 0
    assert (await rig.call("check"))["checked"] == 1


# status


async def test_status_counts(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    await rig.get(url)
    await rig.get(url)
    status = await rig.call("status")
    assert status["pid"] == os.getpid()
    assert status["loads"] == 0
    assert status["cache_dir"] == str(rig.directory)
    assert status["usage"]["entries"] == 1
    assert 10_000 <= status["usage"]["used_bytes"] <= 10_000 + 8192
    counters = status["counters"]
    assert (counters["hits"], counters["misses"], counters["loads"]) == (1, 1, 1)
    assert (counters["cache_bytes"], counters["origin_bytes"]) == (10_000, 10_000)


async def test_the_configuration_in_force_is_shown(rig: Rig) -> None:
    shown = (await rig.call("show_config"))["config"]
    assert shown["origin"]["retries"] == rig.config.origin.retries
    assert {"cache", "origin", "freshness", "jobs"} <= shown.keys()
