"""One spelling for each URL, nothing secret in it, and BadUrl as the only way to fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.cache.canonical import MAX_URL_CHARS, canonical, redact
from p2pstore.errors import BadUrl

SIGNED = "https://b.s3.example/k?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=5ec7e7&versionId=%7e3"


# RFC 3986 6.2.2, 6.2.3 and RFC 5891
@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://example.org", "http://example.org/"),
        ("HTTP://EXAMPLE.org:80", "http://example.org/"),
        ("https://example.org:443/", "https://example.org/"),
        ("https://example.org:80/", "https://example.org:80/"),
        ("http://example.org:/a", "http://example.org/a"),
        ("http://example.org/a/../b/./c", "http://example.org/b/c"),
        ("http://example.org/%7Ea%2fb", "http://example.org/~a%2Fb"),
        ("http://example.org/a#frag?x", "http://example.org/a"),
        ("http://example.org?", "http://example.org/?"),
        ("http://example.org/?b=2&a=1&b=2", "http://example.org/?b=2&a=1&b=2"),
        ("http://u:p@example.org/", "http://example.org/"),
        ("  http://example.org/\n", "http://example.org/"),
        ("http://BÜCHER.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
        ("http://[2001:DB8::0:1]:8080/", "http://[2001:db8::1]:8080/"),
        ("file:///a/../b%41?"[:-1], "file:///bA"),
        ("file:/a", "file:///a"),
        ("FILE://LOCALHOST/a#x", "file:///a"),
    ],
)
def test_text(url: str, text: str) -> None:
    found = canonical(url)
    assert found.text == found.fetch == text
    assert canonical(text).text == text
    assert (found.signer, found.credential) == (None, "")


def test_parts() -> None:
    found = canonical("https://us%40er:p%3Aw:x@[::1]:8443/a")
    assert found.userinfo == ("us@er", "p:w:x")
    assert (found.scheme, found.host, found.port) == ("https", "::1", 8443)
    assert canonical("http://h/").port == 80
    assert canonical("https://user@h/").userinfo == ("user", "")
    assert canonical("https://:pw@h/").userinfo == ("", "pw")
    assert canonical("https://@h/").userinfo is canonical("https://:@h/").userinfo is None
    local = canonical("file:///a")
    assert (local.scheme, local.host, local.port, local.userinfo) == ("file", "", 0, None)


def test_a_signature_is_sent_but_is_no_part_of_the_identity() -> None:
    found = canonical(SIGNED)
    assert found.text == "https://b.s3.example/k?versionId=~3"
    assert found.fetch == SIGNED
    assert (found.signer, found.credential) == ("s3", "AKIA")
    assert canonical("http://h/p?token=1").text == "http://h/p"
    assert canonical("http://h/p?&token=1").text == "http://h/p"
    assert canonical("http://h/p?a&token=1&").text == "http://h/p?a&"


def test_path_of_a_signed_url_is_sent_as_it_is_named() -> None:
    assert canonical("http://h/a/%2e%2e/%7e?token=%7e|").fetch == "http://h/~?token=%7e%7C"


def test_ignored_parameters_are_sent_but_make_no_difference() -> None:
    found = canonical("http://h/p?session=1&a=2&SESSION=3", ("session",))
    assert found.text == "http://h/p?a=2&SESSION=3"
    assert found.fetch == "http://h/p?session=1&a=2&SESSION=3"
    assert canonical("http://h/p?s%65ssion=1", ("session",)).text == "http://h/p"
    assert canonical("http://h/p", ("session",)).text == "http://h/p"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "scheme"),
        ("example.org/a", "scheme"),
        ("ftp://h/a", "'ftp' is not served"),
        ("s3://bucket/key", "'s3' is not served"),
        ("put:name", "'put' is not served"),
        ("http:h/a", "no host"),
        ("http:///a", "no host"),
        ("http://:80/", "no host"),
        ("http://h:x/", "port"),
        ("http://h:0/", "port"),
        ("http://h:65536/", "port"),
        ("http://h\\@evil.example/", "backslash"),
        ("http://a@b@c/", "@"),
        ("http://h/a b", "space"),
        ("http://h/a\nb", "control"),
        ("http://h/\x85", "control"),
        ("http://h\x00/", "control"),
        ("http://a%zz/", "percent escape"),
        ("http://a%ff/", "not text"),
        ("http://127.1/", "four decimal"),
        ("http://[::1%25lo]/", "zone"),
        ("http://u%0d%0a:x@h/", "control"),
        ("http://u%ff@h/", "not text"),
        ("http://h/\ud800", "not text"),
        ("http://h/" + "a" * MAX_URL_CHARS, "more than 8192"),
        ("http://h/" + "ü" * 3000, "percent-encoded"),
        ("file:///" + "ü" * 3000, "percent-encoded"),
        ("file://other/a", "no other host"),
        ("file:a", "absolute"),
        ("file://localhost", "absolute"),
        ("file:///a?b", "%3F"),
        ("file:///a%00", "zero byte"),
    ],
)
def test_refused(url: str, reason: str) -> None:
    with pytest.raises(BadUrl, match=reason) as caught:
        canonical(url)
    assert caught.value.hint and caught.value.details["url"] == redact(url)


def test_an_error_shows_no_secret() -> None:
    with pytest.raises(BadUrl) as caught:
        canonical("http://user:hunter2@h:x/?token=hunter2#hunter2")
    assert "hunter2" not in str(caught.value) + repr(caught.value.details)


def test_notes_say_what_was_changed() -> None:
    assert canonical("http://h/a?b=1").notes == ()
    found = " | ".join(canonical("HTTP://u@H:080/../a?x=%7e&token=1&i=1#f", ("i",)).notes)
    for word in (
        "scheme",
        "user information",
        "written as h",
        "port",
        "path",
        "fragment",
        "(token)",
        "ignored",
        "query",
    ):
        assert word in found
    assert any("fragment" in note for note in canonical("file:///a#b").notes)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://u:p@h/a?b=1#c", "http://h/a?b=1"),
        (SIGNED, "https://b.s3.example/k?X-Amz-Credential=...&X-Amz-Signature=...&versionId=%7e3"),
        ("http://h?token", "http://h?token=..."),
        ("http://u:p/q@h/a", "http://h/a"),
        ("http://u:p#q@h/a", "http://h/a"),
        ("u:p@h/a", "h/a"),
        ("http:u:p@h/a", "h/a"),
        ("http:\\\\u:p@h/a", "http:\\\\h/a"),
        ("http://h:80/npm/@scope/a", "http://h:80/npm/@scope/a"),
        ("http://[::1]/@a", "http://[::1]/@a"),
        ("http://h/a\r\nb", "http://h/a%0D%0Ab"),
        ("\ud800", "\\ud800"),
        ("x" * 9000, "x" * MAX_URL_CHARS),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown


ODD = st.text(
    alphabet=st.sampled_from("ahtp:/?#[]@!$&'()*+,;=%.0179AZ~-_ \\\"<>|^`{}\n\x00üß℀。\uff11\u200d\ud800")
)
URLS = st.builds(
    "{}://{}{}{}{}{}".format,
    st.sampled_from(["http", "HTTPS", "file", "hTTp"]),
    st.sampled_from(["", "u@", "u:p%40@", "@", "a@b@"]),
    st.one_of(
        st.sampled_from(
            ["h", "EXAMPLE.org.", "[::1]", "[::FFFF:1.2.3.4]", "1.2.3.4", "1.2", "bücher.example", "a_b.c"]
        ),
        ODD,
    ),
    st.sampled_from(["", ":", ":80", ":443", ":0443", ":99999"]),
    st.one_of(st.just(""), ODD.map(lambda text: "/" + text)),
    st.one_of(
        st.just(""),
        ODD.map(lambda text: "?" + text),
        st.lists(
            st.sampled_from(
                ["a=1", "a=%7e", "token=x", "X-Amz-Signature=y", "sig=z", "sv=1", "", "Expires=2"]
            )
        ).map(lambda pieces: "?" + "&".join(pieces)),
    ),
)


@given(st.one_of(URLS, st.text(), ODD))
def test_canonical_is_idempotent_and_fails_with_bad_url_only(url: str) -> None:
    try:
        found = canonical(url)
    except BadUrl:
        return
    again = canonical(found.text)
    assert again.text == found.text == again.fetch
    assert (again.userinfo, again.signer, again.credential, again.notes) == (None, None, "", ())
    assert (again.scheme, again.host, again.port) == (found.scheme, found.host, found.port)
    sent = canonical(found.fetch)
    assert (sent.text, sent.fetch, sent.credential) == (found.text, found.fetch, found.credential)
    assert found.text.isascii() and found.fetch.isascii() and " " not in found.fetch


@given(st.one_of(URLS, st.text(), ODD))
def test_redact_takes_any_text(url: str) -> None:
    shown = redact(url)
    shown.encode("utf-8")
    assert not any(character < " " for character in shown)


@given(
    st.sampled_from(["", "x", "@", "/", "#", "?", ":", "%zz", "\\", "é", "\n"]),
    st.sampled_from(["h", "[::1]", "h:x", ""]),
)
def test_redact_shows_no_password(odd: str, host: str) -> None:
    assert "hunter2" not in redact(f"https://user:{odd}hunter2{odd}@{host}/p?token=hunter2#hunter2")
