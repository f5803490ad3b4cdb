from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pstore.errors import BadRequest
from p2pstore.wire import messages
from p2pstore.wire.frames import Decoder
from p2pstore.wire.messages import ARGUMENTS, ONE_OF, REQUIRED, TAKES_FD, check_arguments

GOOD: dict[str, list[dict[str, Any]]] = {
    "get": [
        {"url": "https://a.example/x"},
        {
            "url": "https://a.example/x",
            "digests": ["sha256:00"],
            "headers": [["Accept", "text/plain"], ["X-Empty", ""]],
            "auth": {"user": "u", "password": "p"},
            "refresh": True,
            "offline": False,
            "max_age_s": 0,
            "limit_rate": 1,
            "deadline_s": 2.5,
            "progress": True,
            "want": "path",
            "ignore_query": ["utm_source"],
            "fd": False,
        },
    ],
    "open": [{"url": "u", "auth": {"bearer": "t"}}],
    "ready": [{"reader": 0, "start": 0, "stop": 1}],
    "close": [{"reader": 7}],
    "prefetch": [{"urls": []}, {"urls": ["u"] * 10_000, "deadline_s": 1}],
    "wait": [{"urls": ["u"], "progress": False}],
    "cancel": [{"id": 1}, {"url": "u"}],
    "stat": [{"url": "u"}, {"name": "n", "ver": "0" * 32}],
    "ls": [
        {},
        {"prefix": "", "sort": "size", "descending": True, "limit": 1000, "after": "x", "versions": True},
    ],
    "rm": [{"url": "u"}, {"name": "n"}, {"prefix": "p", "versions": True}],
    "put": [{"name": "n", "fd": True, "replace": True}],
    "events": [{}, {"kinds": ["ready"]}],
    "check": [{}, {"subset": 0.5, "prefix": ""}],
    "status": [{}],
    "config": [{}],
}

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("fetch", {}, "no verb"),
    ("get", {}, "needs url"),
    ("get", {"url": ""}, "url"),
    ("get", {"url": "x" * 8193}, "url"),
    ("get", {"url": None}, "url"),
    ("get", {"url": b"x"}, "url"),
    ("get", {"url": "u", "colour": 1}, "colour"),
    ("get", {"url": "u", b"url": 1}, "no argument"),  # type: ignore[dict-item]
    ("get", {"url": "u", "refresh": 1}, "true or false"),
    ("get", {"url": "u", "max_age_s": -1}, "max_age_s"),
    ("get", {"url": "u", "max_age_s": math.nan}, "max_age_s"),
    ("get", {"url": "u", "max_age_s": math.inf}, "max_age_s"),
    ("get", {"url": "u", "max_age_s": True}, "max_age_s"),
    ("get", {"url": "u", "deadline_s": 0}, "deadline_s"),
    ("get", {"url": "u", "limit_rate": 1.5}, "limit_rate"),
    ("get", {"url": "u", "want": "bytes"}, "fd, path, none"),
    ("get", {"url": "u", "want": []}, "fd, path, none"),
    ("get", {"url": "u", "digests": "sha256:00"}, "digests"),
    ("get", {"url": "u", "digests": ["x"] * 9}, "digests"),
    ("get", {"url": "u", "digests": [1]}, "digests"),
    ("get", {"url": "u", "headers": {"a": "b"}}, "headers"),
    ("get", {"url": "u", "headers": [["a"]]}, "pair"),
    ("get", {"url": "u", "headers": [["a", 1]]}, "pair"),
    ("get", {"url": "u", "headers": [["a b", "c"]]}, "header name"),
    ("get", {"url": "u", "headers": [["a\n", "c"]]}, "header name"),
    ("get", {"url": "u", "headers": [["a", "b\r\nEvil: 1"]]}, "control"),
    ("get", {"url": "u", "headers": [["a", "b"]] * 65}, "headers"),
    ("get", {"url": "u", "auth": {}}, "auth"),
    ("get", {"url": "u", "auth": {"user": "u"}}, "auth"),
    ("get", {"url": "u", "auth": {"bearer": "a", "user": "u", "password": "p"}}, "auth"),
    ("get", {"url": "u", "auth": {"bearer": 1}}, "auth"),
    ("get", {"url": "u", "auth": {"bearer": "a\nb"}}, "auth"),
    ("ready", {"reader": 1, "start": 0}, "needs stop"),
    ("ready", {"reader": 1, "start": 5, "stop": 5}, "range"),
    ("ready", {"reader": 1, "start": -1, "stop": 5}, "start"),
    ("ready", {"reader": 1, "start": 0, "stop": 1 << 63}, "stop"),
    ("close", {}, "needs reader"),
    ("prefetch", {}, "needs urls"),
    ("prefetch", {"urls": ["u"] * 10_001}, "urls"),
    ("wait", {"urls": [""]}, "urls"),
    ("cancel", {}, "exactly one"),
    ("cancel", {"id": 1, "url": "u"}, "exactly one"),
    ("cancel", {"id": 0}, "id"),
    ("stat", {}, "exactly one"),
    ("stat", {"url": "u", "name": "n"}, "exactly one"),
    ("ls", {"sort": "colour"}, "sort"),
    ("ls", {"limit": 0}, "limit"),
    ("ls", {"limit": 1001}, "limit"),
    ("rm", {"prefix": ""}, "prefix"),
    ("rm", {}, "exactly one"),
    ("put", {"name": "n"}, "needs fd"),
    ("events", {"kinds": "ready"}, "kinds"),
    ("check", {"subset": 1.1}, "subset"),
    ("status", {"x": 1}, "none"),
]

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_every_verb_has_a_good_example() -> None:
    assert set(GOOD) == set(ARGUMENTS)
    for verb, examples in GOOD.items():
        for args in examples:
            check_arguments(verb, args)


@pytest.mark.parametrize(("verb", "args", "says"), BAD)
def test_what_cannot_be_meant_is_refused(verb: str, args: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        check_arguments(verb, args)


def test_a_refusal_shows_no_secret() -> None:
    with pytest.raises(BadRequest) as caught:
        check_arguments("get", {"url": "u", "auth": {"bearer": "hunter2\n"}})
    with pytest.raises(BadRequest) as other:
        check_arguments("get", {"url": "u", "headers": [["Authorization", "hunter2\n"]]})
    assert "hunter2" not in str(caught.value) + str(other.value)


@settings(max_examples=300)
@given(st.data())
def test_any_arguments_give_only_the_declared_error(data: st.DataObject) -> None:
    verb = data.draw(st.sampled_from(sorted(ARGUMENTS)) | st.text(max_size=8))
    names = st.sampled_from([*sorted(ARGUMENTS.get(verb, {})), "other"])
    args = data.draw(st.dictionaries(names, ANYTHING, max_size=6))
    try:
        check_arguments(verb, args)
    except BadRequest:
        return
    assert args.keys() <= ARGUMENTS[verb].keys()


def test_the_tables_name_only_known_arguments() -> None:
    for table in (REQUIRED, ONE_OF):
        for verb, names in table.items():
            assert names <= ARGUMENTS[verb].keys()
    assert {verb for verb, checks in ARGUMENTS.items() if "fd" in checks} == TAKES_FD


def test_the_greeting_names_the_protocol() -> None:
    assert messages.greeting("0.1.0", 5, 7) == {
        "p2pstore": "0.1.0",
        "protocol": 1,
        "pid": 5,
        "uid": 7,
        "max_frame": 1 << 20,
    }


def test_the_exchange_in_the_reference_page_is_real() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "protocol.md").read_text(encoding="utf-8")
    block = page.split("```")[1]
    frames = [
        bytes.fromhex("".join(line[6:53] for line in part.strip("\n").splitlines()))
        for part in block.strip("\n").split("\n\n")
    ]
    greeting, request, answer = (Decoder().feed(frame)[0] for frame in frames)
    assert greeting == [0, messages.GREETING, messages.greeting("0.1.0", 4711, 1000)]
    assert request == [1, "get", {"url": "https://example.org/a"}]
    assert answer[:2] == [1, messages.DONE] and answer[2]["fd"] is True and answer[2]["size"] == 5
    check_arguments(request[1], request[2])
