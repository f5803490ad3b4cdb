"""Bytes that changed on the disk behind the agent's back: never vouched for, and mended where there is an origin."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from p2pstore.errors import IntegrityError
from tests.agent.rig import Rig
from tests.origin import Origin, content

FRESH = {"Cache-Control": "max-age=60"}
BODY = content(10_000)
RIGHT = "sha256:" + hashlib.sha256(BODY).hexdigest()


def damage(path: str) -> None:
    """Change one byte, as an administrator with a wrong command would."""
    os.chmod(path, 0o644)
    found = bytearray(Path(path).read_bytes())
    found[1000] ^= 1
    Path(path).write_bytes(found)
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("compared_before", [False, True])
async def test_a_digest_is_not_confirmed_for_damaged_bytes(
    rig: Rig, origin: Origin, compared_before: bool
) -> None:
    url = origin.serve("/file", BODY, headers=FRESH)
    got = await rig.get(url, digests=[RIGHT] if compared_before else [])
    damage(got["path"])
    again = await rig.get(url, digests=[RIGHT])
    assert again.data == BODY
    assert again["bytes"]["origin"] == len(BODY)


async def test_check_goes_on_after_an_object_that_two_entries_share(rig: Rig, origin: Origin) -> None:
    for path in ("/one", "/two", "/z"):
        await rig.get(origin.serve(path, BODY if path != "/z" else content(500), headers=FRESH))
    damage((await rig.get(origin.url("/one")))["path"])
    told = await rig.call("check")
    assert (told["checked"], told["bad"]) == (3, 2)


async def test_a_damaged_result_is_an_error_and_not_an_absence(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(BODY)
    await rig.call("put", name="mine", fd=os.open(tmp_path / "mine", os.O_RDONLY))
    damage((await rig.get("put:mine"))["path"])
    with pytest.raises(IntegrityError):
        await rig.get("put:mine", digests=[RIGHT])


async def test_an_index_that_is_deleted_under_a_running_agent_is_made_anew(rig: Rig, origin: Origin) -> None:
    url = origin.serve("/file", BODY, headers=FRESH)
    await rig.get(url)
    for name in rig.directory.glob("index.sqlite*"):
        name.unlink()
    for _ in range(1000):
        listed = await rig.call("ls")
        if listed["entries"]:
            break
        await asyncio.sleep(0.01)
    assert [one["url"] for one in listed["entries"]] == [url]


async def test_a_folder_in_the_place_of_a_record_disturbs_nothing_else(rig: Rig, origin: Origin) -> None:
    kept, lost = (origin.serve(path, BODY, headers=FRESH) for path in ("/kept", "/lost"))
    await rig.get(kept)
    key = (await rig.get(lost))["key"]
    record = rig.directory / "meta" / key[:2] / key
    record.unlink()
    record.mkdir()
    await rig.aclose()
    for name in rig.directory.glob("index.sqlite*"):
        name.unlink()
    await rig.start()
    assert (await rig.get(kept))["bytes"]["cache"] == len(BODY)
    assert (await rig.get(lost)).data == BODY
    assert (await rig.call("status"))["usage"]["degraded"] == ""
