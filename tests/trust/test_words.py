"""One-word text forms: whole or refused, and never quoted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import BadConfig
from p2pstore.trust import words

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def decode(text: str, most_bytes: int = 100) -> bytes:
    return words.decode(
        "pre1", text, what="the thing", hint="do that", error=BadConfig, most_bytes=most_bytes
    )


def test_a_known_word() -> None:
    assert words.encode("pre1", b"payload") == "pre1obqxs3dpmfsjxanwba"


@given(st.binary(max_size=100))
def test_what_is_written_is_read(payload: bytes) -> None:
    word = words.encode("pre1", payload)
    assert decode(f" \n{word}\r\n") == payload
    assert len(word) == 4 + words.word_chars(len(payload))


@given(st.data())
def test_a_changed_character_is_found(data: st.DataObject) -> None:
    word = words.encode("pre1", data.draw(st.binary(min_size=1, max_size=40)))
    at = data.draw(st.integers(4, len(word) - 1))
    other = data.draw(st.sampled_from(ALPHABET).filter(lambda one: one != word[at]))
    with pytest.raises(BadConfig, match="cut or mistyped"):
        decode(word[:at] + other + word[at + 1 :])


@given(st.binary(min_size=1, max_size=40), st.integers(1, 60))
def test_a_cut_word_is_found(payload: bytes, lost: int) -> None:
    word = words.encode("pre1", payload)
    with pytest.raises(BadConfig):
        decode(word[: max(len(word) - lost, 0)])


@given(st.text(max_size=80))
def test_no_text_gets_through_or_is_quoted(text: str) -> None:
    with pytest.raises(BadConfig) as caught:
        decode("pre1" + text)
    body = text.strip()
    assert len(body) < 8 or body not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("other1aaaa", "does not begin with pre1"),
        ("pre1AAAA", "other than a-z and 2-7"),
        ("pre1aa=a", "other than a-z and 2-7"),
        ("pre1aa aa", "other than a-z and 2-7"),
        ("pre1\u017faaa", "other than a-z and 2-7"),
        ("pre1a", "cut or mistyped"),
        ("pre1", "cut or mistyped"),
        ("pre1" + "a" * 400, "has 404 characters; no such text has more than 171"),
        ("pre1" + "a" * 200, "has 204 characters; no such text has more than 171"),
    ],
)
def test_the_error_says_why(text: str, why: str) -> None:
    with pytest.raises(BadConfig, match=why) as caught:
        decode(text)
    assert caught.value.hint == "do that"
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_the_spare_bits_have_one_spelling() -> None:
    word = words.encode("pre1", b"12")  # 6 bytes are 48 bits in 10 characters: two bits to spare
    spelt = [word[:-1] + last for last in ALPHABET]
    read = [one for one in spelt if _reads(one)]
    assert read == [word]


def _reads(text: str) -> bool:
    try:
        decode(text)
    except BadConfig:
        return False
    return True


@pytest.mark.parametrize("planted", [False, True])
def test_the_checksum_is_what_finds_it(planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    word = words.encode("pre1", b"payload")
    if planted:
        check = words._check("pre1", b"payload")
        monkeypatch.setattr(words, "_check", lambda prefix, payload: check)
    assert _reads(word[:5] + "c" + word[6:]) is planted
