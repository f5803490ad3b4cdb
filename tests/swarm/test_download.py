"""The choice of spans: order, sizes, readers first, taking over, and nothing twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore.swarm import download as download_module
from p2pstore.swarm.download import MAX_READERS, SPLIT_PIECES, Download, Span
from p2pstore.swarm.pieces import bits
from p2pstore.types import ByteRange

PIECE = 100


@pytest.fixture(autouse=True)
def take_over_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small objects show what a slow stream of a large one would."""
    monkeypatch.setattr(download_module, "TAKE_OVER_PIECES", 4)


def test_a_stream_that_is_hardly_slower_than_the_others_keeps_its_span(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for most, taken in ((16, False), (10, True)):
        monkeypatch.setattr(download_module, "TAKE_OVER_PIECES", most)
        download = make(28, request_pieces=28)
        slow, quick = download.next_span(), download.next_span()
        assert (shape(slow), shape(quick)) == ((0, 14), (14, 14))
        fetch(download, quick)
        assert (download.next_span() is not None) is taken


def make(pieces: int = 40, *, have: int = 0, streams: int = 1, request_pieces: int = 8) -> Download:
    return Download(
        pieces * PIECE, PIECE, have=have, streams=streams, request_bytes=request_pieces * PIECE + PIECE // 2
    )


def shape(span: Span | None) -> tuple[int, int] | None:
    return None if span is None else (span.first, span.count)


def fetch(download: Download, span: Span | None, count: int | None = None) -> None:
    assert span is not None
    for index in range(span.first, span.first + (span.count if count is None else count)):
        assert download.piece_done(index)


def pieces(first: int, count: int) -> ByteRange:
    return ByteRange(first * PIECE, (first + count) * PIECE)


def test_file_order_and_request_size() -> None:
    download = make()
    assert [shape(download.next_span()) for _ in range(3)] == [(0, 8), (8, 8), (16, 8)]
    download.check()


def test_a_span_is_one_piece_when_a_request_may_be_smaller() -> None:
    download = Download(1000, PIECE, streams=1, request_bytes=1)
    assert shape(download.next_span()) == (0, 1)


def test_spans_shrink_so_that_streams_end_together() -> None:
    # 20 pieces over 2 streams: a quarter of what is missing each time, rounded up.
    download = make(20, streams=2, request_pieces=100)
    sizes = []
    while (span := download.next_span()) is not None:
        sizes.append(span.count)
        fetch(download, span)
        download.span_ended(span)
    assert sizes == [5, 4, 3, 2, 2, 1, 1, 1, 1]
    assert download.done


def test_no_streams_count_as_one() -> None:
    assert shape(make(20, streams=0, request_pieces=100).next_span()) == (0, 10)


def test_a_span_ends_where_something_is_there_already() -> None:
    download = make(have=bits(3, 2))
    assert [shape(download.next_span()) for _ in range(2)] == [(0, 3), (5, 8)]


def test_an_empty_object_is_done() -> None:
    download = Download(0, PIECE, streams=4, request_bytes=1)
    assert download.done
    assert download.missing_bytes == 0
    assert download.next_span() is None
    assert download.wait_for(1, ByteRange(0, 1))
    download.check()


def test_the_short_last_piece_counts_its_bytes() -> None:
    download = Download(250, PIECE, streams=1, request_bytes=1000)
    assert download.missing_bytes == 250
    download.piece_done(2)
    assert download.missing_bytes == 200
    assert Download(250, PIECE, have=0b100, streams=1, request_bytes=1).missing_bytes == 200
    assert Download(250, PIECE, have=0b111, streams=1, request_bytes=1).missing_bytes == 0
    download.check()


@pytest.mark.parametrize("have", [0b1000, -1])
def test_have_of_another_object_is_refused(have: int) -> None:
    with pytest.raises(ValueError, match="have"):
        Download(250, PIECE, have=have, streams=1, request_bytes=1)


def test_a_piece_is_done_once() -> None:
    download = make(2)
    assert download.piece_done(0)
    assert not download.piece_done(0)
    assert download.missing_bytes == PIECE
    with pytest.raises(IndexError):
        download.piece_done(2)


def test_what_a_failed_span_lacks_is_free_again() -> None:
    download = make()
    span = download.next_span()
    fetch(download, span, 3)
    assert span is not None
    download.span_ended(span)
    download.check()
    assert shape(download.next_span()) == (3, 8)


def test_ending_a_span_twice_does_not_free_its_successor() -> None:
    download = make()
    old = download.next_span()
    assert old is not None
    download.span_ended(old)
    new = download.next_span()
    assert shape(new) == shape(old)
    assert new is not None
    download.span_ended(old)
    assert download.span_limit(old) == 0
    assert download.span_limit(new) == new.count
    download.check()
    assert shape(download.next_span()) == (8, 8)


def test_a_piece_from_elsewhere_is_not_asked_for() -> None:
    download = make(8)
    download.piece_done(2)
    assert [shape(download.next_span()) for _ in range(2)] == [(0, 2), (3, 4)]


def test_ready_and_wait_for_agree() -> None:
    download = make(have=bits(4, 4))
    assert download.ready(pieces(4, 4)) and download.wait_for(1, pieces(4, 4))
    assert not download.ready(pieces(4, 5)) and not download.wait_for(1, pieces(4, 5))
    assert download.ready(ByteRange(40 * PIECE, 50 * PIECE))


def test_a_blocked_reader_comes_first() -> None:
    download = make()
    download.next_span()
    assert not download.wait_for(1, pieces(30, 2))
    assert shape(download.next_span()) == (30, 8)
    download.check()


def test_the_first_missing_piece_of_the_range_is_meant() -> None:
    download = make(have=bits(20, 3))
    download.wait_for(1, pieces(20, 10))
    assert shape(download.next_span()) == (23, 8)


def test_the_rest_of_a_range_is_urgent_while_its_start_is_on_its_way() -> None:
    download = make(request_pieces=2)
    download.wait_for(1, pieces(20, 10))
    assert [shape(download.next_span()) for _ in range(3)] == [(20, 2), (22, 2), (24, 2)]


def test_readers_take_turns() -> None:
    download = make(request_pieces=2)
    download.wait_for(1, pieces(10, 10))
    download.wait_for(2, pieces(30, 10))
    spans = [shape(download.next_span()) for _ in range(4)]
    assert spans == [(10, 2), (30, 2), (12, 2), (32, 2)]


def test_a_satisfied_reader_only_sets_the_order() -> None:
    download = make(request_pieces=2)
    download.wait_for(1, pieces(10, 1))
    fetch(download, download.next_span())
    # Reader 1 has what it waited for, without having said so; it is no more urgent than reader 2.
    assert not download.wait_for(2, pieces(30, 1))
    assert shape(download.next_span()) == (30, 2)
    assert download.wait_for(1, pieces(10, 2))
    assert shape(download.next_span()) == (12, 2)


def test_order_begins_at_the_lowest_reader_and_wraps() -> None:
    download = make(10, have=bits(4, 2), request_pieces=3)
    assert download.wait_for(1, pieces(5, 1))
    assert download.wait_for(2, pieces(4, 1))
    assert [shape(download.next_span()) for _ in range(3)] == [(6, 3), (9, 1), (0, 3)]


def test_a_reader_that_left_counts_no_more() -> None:
    download = make()
    download.wait_for(1, pieces(30, 1))
    download.forget(1)
    download.forget(1)
    assert shape(download.next_span()) == (0, 8)


def test_readers_are_bounded_and_one_more_is_still_answered() -> None:
    download = make()
    for reader in range(MAX_READERS):
        download.wait_for(reader, pieces(0, 1))
    assert not download.wait_for(MAX_READERS, pieces(30, 1))
    download.check()
    assert shape(download.next_span()) == (0, 8)
    assert download.wait_for(3, pieces(39, 1)) is False  # known ones may still move
    assert shape(download.next_span()) == (39, 1)


def test_a_reader_far_ahead_in_a_span_cuts_it() -> None:
    download = make(request_pieces=16)
    slow = download.next_span()
    assert slow is not None
    download.wait_for(1, pieces(10, 1))
    assert shape(download.next_span()) == (10, 16)
    assert download.span_limit(slow) == 10
    download.check()


def test_a_reader_soon_to_be_served_cuts_nothing() -> None:
    download = make(request_pieces=16)
    slow = download.next_span()
    assert slow is not None
    download.wait_for(1, pieces(5, 1))
    assert shape(download.next_span()) == (16, 16)
    assert download.span_limit(slow) == 16


def test_what_has_begun_is_not_taken_for_a_reader() -> None:
    download = make(request_pieces=16)
    slow = download.next_span()
    assert slow is not None
    assert download.span_limit(slow, 9) == 16
    download.wait_for(1, pieces(12, 1))
    assert shape(download.next_span()) == (16, 16)
    assert download.span_limit(slow, 10) == 16


def test_a_free_stream_takes_half_of_what_another_has_not_begun() -> None:
    download = make(40, request_pieces=16)
    spans = [download.next_span() for _ in range(3)]
    assert [shape(span) for span in spans] == [(0, 16), (16, 16), (32, 8)]
    for span in spans[1:]:
        fetch(download, span)
        assert span is not None
        download.span_ended(span)
    slow = spans[0]
    assert slow is not None
    assert download.span_limit(slow, 6) == 16  # six begun: ten wait, five go
    taken = download.next_span()
    assert shape(taken) == (11, 5)
    assert download.span_limit(slow) == 11
    download.check()
    fetch(download, slow, 11)
    download.span_ended(slow)
    fetch(download, taken)
    assert download.done


def test_the_largest_rest_is_split() -> None:
    download = make(32, request_pieces=16)
    one, two = download.next_span(), download.next_span()
    assert one is not None and two is not None
    download.span_limit(one, 8)
    assert shape(download.next_span()) == (25, 7)
    assert (download.span_limit(one), download.span_limit(two)) == (16, 9)


def test_small_rests_are_not_split() -> None:
    download = make(16, request_pieces=16, streams=0)
    one = download.next_span()
    two = download.next_span()
    assert [shape(one), shape(two)] == [(0, 8), (8, 8)]
    assert one is not None and two is not None
    download.span_limit(one, 8 - SPLIT_PIECES + 1)
    download.span_limit(two, 8 - SPLIT_PIECES + 1)
    assert download.next_span() is None


def test_a_span_whose_pieces_are_all_there_has_nothing_to_split() -> None:
    download = make(8, request_pieces=8, streams=0)
    one, two = download.next_span(), download.next_span()
    fetch(download, one)
    fetch(download, two)
    assert download.next_span() is None
    assert download.done
    download.check()


def test_a_tail_that_came_from_elsewhere_is_not_asked_for() -> None:
    download = make(16, request_pieces=8, streams=0)
    one, two = download.next_span(), download.next_span()
    fetch(download, two)
    assert one is not None
    for index in range(4, 8):
        download.piece_done(index)
    assert download.next_span() is None
    download.check()


def test_an_answer_that_comes_in_already_claims_its_pieces() -> None:
    download = make(have=bits(10, 1))
    span = download.claim(0, 4)
    assert shape(span) == (0, 4)
    assert shape(download.claim(8, 100)) == (8, 2)
    assert download.claim(2, 1) is None
    assert download.claim(10, 1) is None
    assert download.claim(40, 1) is None
    assert download.claim(20, 0) is None
    download.check()
    assert shape(download.next_span()) == (4, 4)
    assert span is not None
    download.span_ended(span)
    assert shape(download.next_span()) == (0, 4)


@pytest.mark.parametrize(
    ("ahead", "taken"), [(-1, (9, 7)), (1, (9, 7)), (2, (9, 7)), (7, (12, 4)), (13, None)]
)
def test_streams_may_be_further_ahead_than_they_say(ahead: int, taken: tuple[int, int] | None) -> None:
    download = Download(16 * PIECE, PIECE, streams=0, request_bytes=16 * PIECE, ahead_pieces=ahead)
    download.claim(0, 16)
    assert shape(download.next_span()) == taken
    download.check()


def test_begun_is_bounded_by_the_span() -> None:
    download = make()
    span = download.next_span()
    assert span is not None
    assert download.span_limit(span, 10_000) == span.count
    download.check()


def test_a_stream_that_looks_back_has_still_begun() -> None:
    download = make(request_pieces=16)
    span = download.next_span()
    assert span is not None
    download.span_limit(span, 12)
    download.span_limit(span, 3)
    download.wait_for(1, pieces(11, 1))
    assert shape(download.next_span()) == (16, 16)


@given(
    length=st.integers(0, 3000),
    have=st.integers(0, (1 << 30) - 1),
    streams=st.integers(1, 8),
    request=st.integers(1, 2000),
)
def test_everything_missing_is_asked_for_exactly_once(
    length: int, have: int, streams: int, request: int
) -> None:
    count = -(-length // PIECE)
    have &= bits(0, count)
    download = Download(length, PIECE, have=have, streams=streams, request_bytes=request)
    asked: list[int] = []
    while (span := download.next_span()) is not None:
        download.check()
        asked += range(span.first, span.first + span.count)
        fetch(download, span)
        download.span_ended(span)
    assert download.done and download.missing_bytes == 0
    assert sorted(asked) == [i for i in range(count) if not have >> i & 1]


@pytest.mark.parametrize("broken", ["_free", "have", "missing_bytes"])
def test_check_finds_a_broken_book(broken: str) -> None:
    download = make()
    download.next_span()
    download.check()
    setattr(download, broken, getattr(download, broken) ^ 1)
    with pytest.raises(AssertionError):
        download.check()


def test_check_finds_a_piece_in_two_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    download = make(40, request_pieces=16)
    monkeypatch.setattr(download_module, "SPLIT_PIECES", 2)
    span = download.next_span()
    assert span is not None
    next(iter(download._active.values())).stop += 1
    download.next_span()
    with pytest.raises(AssertionError, match="two spans"):
        download.check()
