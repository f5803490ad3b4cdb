"""From a command line to what is asked for."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from p2pstore.cli import wishes
from p2pstore.cli.quantities import parse_size
from p2pstore.cli.wishes import Wanted, Wish, by_digest, read_urls, read_wish, remote_name

FLAGS: dict[str, Any] = {
    "digests": (),
    "headers": (),
    "user": None,
    "bearer": None,
    "netrc": False,
    "netrc_file": None,
    "limit_rate": None,
    "max_time": None,
    "ignore_query": (),
}


def test_nothing_said_asks_for_nothing_special() -> None:
    assert read_wish(FLAGS) == Wish()


def test_everything_said(tmp_path: Path) -> None:
    (tmp_path / "headers").write_text("Authorization: Bearer x:y\n\nX-More:1\n")
    wish = read_wish(
        FLAGS
        | {
            "digests": ("sha256:aa",),
            "headers": ("Accept: text/plain", f"@{tmp_path}/headers"),
            "user": "me:pass:word",
            "limit_rate": 50.0,
            "max_time": 3.5,
            "ignore_query": ("session",),
            "offline": True,
        }
    )
    assert wish.headers == (("Accept", "text/plain"), ("Authorization", "Bearer x:y"), ("X-More", "1"))
    arguments = wish.arguments(Wanted("u", ("md5:bb",)))
    assert arguments == {
        "digest": ["sha256:aa", "md5:bb"],
        "headers": list(wish.headers),
        "auth": ("me", "pass:word"),
        "netrc": False,
        "refresh": False,
        "offline": True,
        "limit_rate": 50,
        "timeout_s": 3.5,
        "ignore_query": ["session"],
    }


def test_a_netrc_file_is_the_clients_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", "")
    assert read_wish(FLAGS | {"netrc": True}).netrc is True
    assert read_wish(FLAGS | {"netrc_file": "/home/me/site.netrc"}).netrc is True
    assert os.environ["NETRC"] == "/home/me/site.netrc"


def test_a_bearer_token_is_text() -> None:
    assert read_wish(FLAGS | {"bearer": "t0k"}).auth == "t0k"


def test_a_missing_password_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool, bool]] = []

    def prompt(text: str, *, hide_input: bool, err: bool) -> str:
        asked.append((text, hide_input, err))
        return "typed"

    monkeypatch.setattr(click, "prompt", prompt)
    assert read_wish(FLAGS | {"user": "me"}).auth == ("me", "typed")
    assert asked == [("Password for me", True, True)]


@pytest.mark.parametrize(
    "flags",
    [
        {"refresh": True, "offline": True},
        {"user": "a:b", "bearer": "t"},
        {"headers": ("no colon",)},
        {"headers": (": value",)},
    ],
)
def test_what_makes_no_sense_is_a_usage_error(flags: dict[str, Any]) -> None:
    with pytest.raises(click.UsageError):
        read_wish(FLAGS | flags)


def test_a_digest_is_that_of_one_file() -> None:
    assert read_wish(FLAGS | {"digests": ("md5:a", "sha256:b")}).digests == ("md5:a", "sha256:b")
    with pytest.raises(click.UsageError, match="beside its URL"):
        read_wish(FLAGS | {"digests": ("sha256:b",)}, 2)


def test_a_bad_header_is_not_repeated_because_it_may_be_a_secret() -> None:
    with pytest.raises(click.UsageError) as wrong:
        read_wish(FLAGS | {"headers": ("Authorization Bearer s3cret",)})
    assert "s3cret" not in wrong.value.message


def test_urls_come_from_arguments_and_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "urls").write_text("# a comment\n\nhttps://h/a sha256:aa\n  https://h/b\n")
    assert read_urls(["https://h/0"], str(tmp_path / "urls")) == [
        Wanted("https://h/0"),
        Wanted("https://h/a", ("sha256:aa",)),
        Wanted("https://h/b"),
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"https://h/c\n")))
    assert read_urls([], "-") == [Wanted("https://h/c")]


def test_no_url_at_all_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "urls").write_text("# nothing\n")
    for urls in (None, str(tmp_path / "urls")):
        with pytest.raises(click.UsageError, match="Missing argument 'URL'"):
            read_urls([], urls)


def test_a_list_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "MAX_LIST_BYTES", 10)
    (tmp_path / "urls").write_text("https://h/a\n")
    with pytest.raises(click.UsageError, match="larger than"):
        read_urls([], str(tmp_path / "urls"))


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "urls").write_bytes(b"\xff\xfe")
    with pytest.raises(click.UsageError, match="not UTF-8"):
        read_urls([], str(tmp_path / "urls"))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/b%20c.bin?x=1#y", "b c.bin"),
        ("https://h/", ""),
        ("https://h", ""),
        ("https://h/a/..", ""),
        ("https://h/%2e%2e", ""),
        ("https://h/a%2Fb", ""),
        ("https://h/a%00b", ""),
        ("https://h/a%0Ab", ""),
        ("https://h/" + "x" * 300, ""),
        ("put:results/run7.h5", "run7.h5"),
    ],
)
def test_the_remote_name_is_fit_for_a_file(url: str, name: str) -> None:
    assert remote_name(url) == name


def test_urls_with_digests_of_their_own_go_alone() -> None:
    wanted = [Wanted("a"), Wanted("b"), Wanted("c", ("md5:x",)), Wanted("d", ("md5:x",)), Wanted("e")]
    sent = [(urls, arguments["digest"]) for urls, arguments in by_digest(wanted, Wish())]
    assert sent == [(["a", "b"], None), (["c"], ["md5:x"]), (["d"], ["md5:x"]), (["e"], None)]


def test_quantities_say_how_to_write_them() -> None:
    read = wishes.quantity(parse_size)
    context, option = click.Context(click.Command("x")), click.Option(["--limit-rate"])
    assert read(context, option, None) is None
    assert read(context, option, "1K") == 1024
    with pytest.raises(click.BadParameter, match="512M"):
        read(context, option, "fast")
