"""Records and piece logs: what was written comes back, and what is damaged is noticed."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.errors import IntegrityError
from p2pstore.types import PUBLIC, Entry, Key, Root, Version
from p2pstore.wire import records
from p2pstore.wire.records import (
    LOG_LINE_BYTES,
    LogHeader,
    decode_log,
    decode_record,
    encode_length,
    encode_log_header,
    encode_piece,
    encode_record,
)

ENTRY = Entry(
    key=Key("ab" * 32),
    url="http://example.org/a",
    scope=PUBLIC,
    ver=Version("cd" * 16),
    root=Root("ef" * 32),
    size_bytes=1000,
    piece_bytes=262144,
    headers=(("etag", '"1"'), ("x", "\udcff")),
    vary=(("accept", "*/*"),),
    request_at=1.5,
    response_at=2.5,
    stored_at=3.5,
    digests={"sha256": "00"},
    verified="digest",
    boot_id="boot",
    durable=True,
    owner_uid=1000,
)
HEADER = LogHeader(
    key=ENTRY.key, ver=ENTRY.ver, length=1 << 20, piece_bytes=262144, validator='"1"', boot_id="boot"
)
text = st.text(
    st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), max_size=20
)
times = st.floats(allow_nan=False)
entries = st.builds(
    Entry,
    key=st.binary(min_size=32, max_size=32).map(lambda raw: Key(raw.hex())),
    ver=st.binary(min_size=16, max_size=16).map(lambda raw: Version(raw.hex())),
    root=st.binary(min_size=32, max_size=32).map(lambda raw: Root(raw.hex())),
    url=text,
    scope=text,
    size_bytes=st.integers(0, 1 << 62),
    piece_bytes=st.integers(0, 1 << 40),
    headers=st.lists(st.tuples(text, text), max_size=4).map(tuple),
    vary=st.lists(st.tuples(text, text), max_size=2).map(tuple),
    request_at=times,
    response_at=times,
    stored_at=times,
    digests=st.dictionaries(text, text, max_size=3),
    verified=text,
    boot_id=text,
    durable=st.booleans(),
    owner_uid=st.integers(-1, 1 << 32),
)


@given(entries)
def test_a_record_comes_back(entry: Entry) -> None:
    assert decode_record(encode_record(entry)) == entry


def test_times_may_be_whole_numbers() -> None:
    assert decode_record(encode_record(ENTRY.with_changes(stored_at=7))).stored_at == 7.0


@given(st.data())
def test_a_damaged_record_is_noticed(data: st.DataObject) -> None:
    good = bytearray(encode_record(ENTRY))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    # Three bytes of the head are not used; everything else is under the check or part of it.
    if at not in (5, 6, 7):
        with pytest.raises(IntegrityError):
            decode_record(bytes(good))


@given(st.integers(0, 400), st.booleans())
def test_a_torn_record_is_noticed(size: int, zeros: bool) -> None:
    good = encode_record(ENTRY)
    torn = good[:size] + (bytes(max(len(good) - size, 0)) if zeros else b"")
    if torn != good:
        with pytest.raises(IntegrityError):
            decode_record(torn)


def test_nothing_may_follow_a_record() -> None:
    with pytest.raises(IntegrityError):
        decode_record(encode_record(ENTRY) + b"\0")


def test_a_newer_record_is_not_guessed_at() -> None:
    data = bytearray(encode_record(ENTRY))
    data[4] = 2
    with pytest.raises(IntegrityError, match="version 2"):
        decode_record(bytes(data))


@given(st.binary(max_size=300))
def test_any_bytes_give_a_record_or_the_declared_error(data: bytes) -> None:
    for start in (b"", b"p2pR\x01\0\0\0", b"p2pL\x01\0\0\0"):
        for read in (decode_record, decode_log):
            with pytest.raises(IntegrityError):
                read(start + data)


@given(
    st.recursive(
        st.none() | st.integers(-5, 5) | st.binary(max_size=3) | st.text(max_size=3), st.lists, max_leaves=30
    )
)
def test_a_sealed_record_of_other_values_is_refused(value: object) -> None:
    fields = value if isinstance(value, list) else [value]
    with pytest.raises(IntegrityError):
        decode_record(records._sealed(b"p2pR", fields))
    with pytest.raises(IntegrityError):
        decode_log(records._sealed(b"p2pL", fields))


def _log(pieces: list[tuple[int, bytes]]) -> tuple[bytes, int]:
    head, salt = encode_log_header(HEADER)
    return head + b"".join(encode_piece(index, digest, salt) for index, digest in pieces), salt


def test_a_log_comes_back() -> None:
    data, salt = _log([(2, b"c" * 32), (0, b"a" * 32)])
    log = decode_log(data)
    assert (log.header, log.salt, log.good_bytes) == (HEADER, salt, len(data))
    assert log.pieces == {2: b"c" * 32, 0: b"a" * 32}
    assert log.length == HEADER.length


def test_a_length_may_come_later() -> None:
    head, salt = encode_log_header(dataclasses.replace(HEADER, length=None))
    assert decode_log(head).length is None
    assert decode_log(head + encode_length(700, salt)).length == 700


def test_pieces_beyond_the_end_do_not_count() -> None:
    data, _ = _log([(3, b"d" * 32), (4, b"e" * 32)])
    assert set(decode_log(data).pieces) == {3}


@given(st.data())
def test_a_damaged_line_ends_the_log(data: st.DataObject) -> None:
    good, _ = _log([(index, bytes([index]) * 32) for index in range(4)])
    head = len(good) - 4 * LOG_LINE_BYTES
    at = data.draw(st.integers(head, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    whole = (at - head) // LOG_LINE_BYTES
    log = decode_log(bytes(bad))
    assert log.pieces == {index: bytes([index]) * 32 for index in range(whole)}
    assert log.good_bytes == head + whole * LOG_LINE_BYTES


def test_a_cut_line_ends_the_log() -> None:
    good, _ = _log([(0, b"a" * 32), (1, b"b" * 32)])
    assert set(decode_log(good[:-1]).pieces) == {0}


def test_a_line_of_another_log_does_not_count() -> None:
    head, _ = encode_log_header(HEADER)
    _, other_salt = encode_log_header(dataclasses.replace(HEADER, validator='"2"'))
    assert decode_log(head + encode_piece(0, b"a" * 32, other_salt)).pieces == {}
