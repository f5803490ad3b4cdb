"""`p2pstore check`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from p2pstore.cli.main import outcome
from tests.cli.conftest import ScriptedClient


def checking(*events: dict[str, Any], bad: int = 0, unreadable: int = 0) -> Any:
    def check(*, subset: float, prefix: str, on_checked: Any) -> dict[str, Any]:
        for event in events:
            on_checked({"event": "checked", **event})
        return {"checked": 10, "bad": bad, "bytes": 1 << 20, "unreadable": unreadable}

    return check


@pytest.mark.parametrize(
    ("found", "code"), [({}, 0), ({"bad": 1}, 5), ({"unreadable": 1}, 1), ({"bad": 1, "unreadable": 1}, 5)]
)
def test_the_code_says_how_it_is(
    client: ScriptedClient, found: dict[str, int], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    client.answers["check"] = checking(**found)
    assert outcome(["check"]) == code
    bad, unreadable = found.get("bad", 0), found.get("unreadable", 0)
    said = f"10 objects, 1.0 MiB read: {bad} damaged, {unreadable} unreadable\n"
    assert capsys.readouterr() == ("", said)


def test_only_what_is_bad_is_named(client: ScriptedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.answers["check"] = checking(
        {"url": "https://h/good", "ok": True}, {"url": "https://h/bad", "ok": False, "root": "r"}, bad=1
    )
    assert outcome(["check", "--json", "--subset", "5%", "https://h/"]) == 5
    out, err = capsys.readouterr()
    first, last = (json.loads(line) for line in out.splitlines())
    assert first == {"url": "https://h/bad", "ok": False, "root": "r"}
    assert last["summary"]["bad"] == 1
    assert err == "p2pstore: https://h/bad: damaged, set aside\n"
    assert (client.asked[0][2]["subset"], client.asked[0][2]["prefix"]) == (0.05, "https://h/")


@pytest.mark.parametrize("share", ["0", "0%", "101%", "some", "1.5"])
def test_a_share_is_a_share(client: ScriptedClient, share: str) -> None:
    assert outcome(["check", "--subset", share]) == 2
    assert client.asked == []
