"""The short way: only what is surely right, and never a moment longer than it is."""

from __future__ import annotations

import os
from typing import Any

import msgpack
import pytest

from p2pstore.agent import hits as hits_module
from p2pstore.errors import BadUrl
from tests.agent.conftest import Making
from tests.agent.rig import OWN_UID, Rig, content, read_all
from tests.origin import Behaviour, Origin

FRESH = {"Cache-Control": "max-age=60"}


def hit(rig: Rig, url: str, *, uid: int = OWN_UID, **args: Any) -> tuple[dict[str, Any], bytes] | None:
    """What the short way to `get` says: the result and the file's bytes."""
    reply = rig.agent.try_get(rig.session(uid), {"url": url, **args})
    if reply is None:
        return None
    assert isinstance(reply.body, bytes)
    return msgpack.unpackb(reply.body), read_all(reply.fd) if reply.fd >= 0 else b""


def told(rig: Rig, url: str, **args: Any) -> dict[str, Any] | None:
    reply = rig.agent.try_stat(rig.session(), {"url": url, **args})
    return None if reply is None else msgpack.unpackb(reply.body)


async def test_a_file_that_is_not_here_takes_the_long_way(rig: Rig) -> None:
    assert hit(rig, "http://127.0.0.1:9/file") is None
    assert told(rig, "http://127.0.0.1:9/file") is None


async def test_a_wrong_url_is_an_error_or_left_to_the_long_way(rig: Rig) -> None:
    for ask in (hit, told):
        try:
            assert ask(rig, "nonsense") is None
        except BadUrl:
            continue


async def test_a_fresh_file_is_handed_out_at_once(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    cold = await rig.agent.get(rig.session(), {"url": url}, lambda event, fd: None)
    os.close(cold.fd)
    found = hit(rig, url)
    assert found is not None
    fields, data = found
    assert data == content(10_000)
    assert isinstance(cold.body, dict)
    assert fields.keys() == cold.body.keys()
    assert {name: fields[name] for name in ("url", "key", "ver", "root", "size", "path", "content_type")} == {
        name: cold.body[name] for name in ("url", "key", "ver", "root", "size", "path", "content_type")
    }
    assert fields["bytes"] == {"cache": 10_000, "peers": 0, "origin": 0}


async def test_both_ways_of_stat_agree(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    await rig.get(url)
    short, long = told(rig, url), await rig.stat(url)
    assert short is not None
    assert short.keys() <= long.keys()
    changing = {"age_s", "why"}
    assert {n: v for n, v in short.items() if n not in changing} == {
        n: long[n] for n in short if n not in changing
    }


async def test_it_ends_with_the_lifetime(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"x", headers={"Cache-Control": "max-age=5"})
    await rig.get(url)
    assert hit(rig, url) is not None
    rig.wall.ahead_s += 4.5
    assert hit(rig, url) is not None
    rig.wall.ahead_s += 0.6
    assert hit(rig, url) is None
    assert (told(rig, url) or {})["fresh"] is False


async def test_the_age_is_not_older_than_a_second(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"x", headers=FRESH)
    await rig.get(url)
    hit(rig, url)
    rig.wall.ahead_s += 10
    assert (hit(rig, url) or ({}, b""))[0]["age_s"] >= 10
    assert (told(rig, url) or {})["age_s"] >= 10


async def test_a_clock_that_was_put_back_makes_nothing_last_longer(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"x", headers=FRESH)
    await rig.get(url)
    hit(rig, url)
    rig.wall.ahead_s -= 1000
    found = hit(rig, url)
    assert found is None or found[0]["age_s"] >= 0


async def test_a_new_version_is_seen_at_once(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"old", headers=FRESH)
    await rig.get(url)
    assert hit(rig, url) is not None
    told(rig, url)
    origin.change("/file", b"new!")
    await rig.get(url, refresh=True)
    assert (hit(rig, url) or ({}, b""))[1] == b"new!"
    assert (told(rig, url) or {})["size"] == 4


async def test_a_removed_file_is_missed_at_once(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"x", headers=FRESH)
    await rig.get(url)
    assert hit(rig, url) is not None
    await rig.call("rm", url=url)
    assert hit(rig, url) is None
    assert told(rig, url) is None


async def test_a_file_that_went_behind_our_back_takes_the_long_way(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"x", headers=FRESH)
    path = (await rig.get(url))["path"]
    hit(rig, url)
    os.unlink(path)
    assert hit(rig, url) is None


@pytest.mark.parametrize(
    "args",
    [
        {"refresh": True},
        {"offline": True},
        {"max_age_s": 0},
        {"digests": ["sha256:" + "0" * 64]},
        {"headers": [["Cookie", "a=1"]]},
        {"auth": {"bearer": "t"}},
        {"want": "none"},
        {"ignore_query": ["a"]},
    ],
    ids=str,
)
async def test_whatever_needs_a_second_look_takes_the_long_way(
    rig: Rig, origin: Origin, args: dict[str, Any]
) -> None:
    url = origin.serve("/file", b"x", headers=FRESH)
    await rig.get(url)
    assert hit(rig, url, **args) is None


@pytest.mark.parametrize("harmless", [{"want": "fd"}, {"deadline_s": 5.0}, {"stream": True}], ids=str)
async def test_what_changes_nothing_for_a_hit_does_not(
    rig: Rig, origin: Origin, harmless: dict[str, Any]
) -> None:
    url = origin.serve("/file", b"x", headers=FRESH)
    await rig.get(url)
    assert hit(rig, url, **harmless) is not None


async def test_private_files_never_come_this_way(make_rig: Making, origin: Origin) -> None:
    rig = await make_rig(origin={"private_hosts": ("localhost",)})
    private = origin.serve("/private", b"x", headers={"Cache-Control": "private, max-age=60"})
    guarded = origin.serve("/guarded", b"x", headers=FRESH, behaviour=Behaviour(auth="Basic bWU6aHVzaA=="))
    with_user = guarded.replace("//", "//me:hush@")
    by_address = origin.serve("/file", b"x", headers=FRESH).replace("127.0.0.1", "localhost")
    for url in (private, with_user, by_address):
        await rig.get(url)
        assert hit(rig, url) is None
        assert told(rig, url) is None


async def test_variants_never_come_this_way(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"gzip", headers={"Vary": "Accept-Encoding", **FRESH})
    await rig.get(url, headers=[["Accept-Encoding", "gzip"]])
    assert hit(rig, url) is None


async def test_what_is_remembered_is_bounded(
    rig: Rig, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hits_module, "MAX_ANSWERS", 3)
    for number in range(10):
        url = origin.serve(f"/{number}", b"x", headers=FRESH)
        await rig.get(url)
        assert hit(rig, url) is not None
        assert told(rig, url) is not None
    hits = rig.agent.hits
    assert max(len(hits._keys), len(hits._gets), len(hits._stats_answers)) <= 3


async def test_hits_are_counted(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", content(1000), headers=FRESH)
    await rig.get(url)
    for _ in range(3):
        hit(rig, url)
    counters = (await rig.call("status"))["counters"]
    assert (counters["hits"], counters["cache_bytes"]) == (3, 3000)


async def test_a_path_is_told_to_whoever_may_use_it(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", b"x", headers=FRESH)
    await rig.get(url)
    own, other = hit(rig, url), hit(rig, url, uid=OWN_UID + 1)
    assert own is not None
    assert other is not None
    assert own[0]["path"] == other[0]["path"] != ""


async def test_a_path_is_handed_out_without_a_descriptor_and_kept_for_a_while(
    rig: Rig, origin: Origin
) -> None:
    url = origin.serve("/file", content(10_000), headers=FRESH)
    await rig.get(url)
    found = hit(rig, url, want="path")
    assert found is not None
    fields, data = found
    assert (fields["fd"], data) == (False, b"")
    with open(fields["path"], "rb") as file:
        assert file.read() == content(10_000)
