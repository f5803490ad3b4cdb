"""What statuses and fields mean."""

from __future__ import annotations

import pytest

from p2pstore import errors
from p2pstore.sources.heads import Head
from p2pstore.sources.verdicts import check_range, error_of, first_span, named
from p2pstore.types import ByteRange

FIRST = Head(206, (("etag", '"v"'), ("last-modified", "Mon"), ("content-range", "bytes 0-9/100")))
SPAN = ByteRange(10, 20)
GOOD = {"content-range": "bytes 10-19/100", "content-length": "10"}


def answer(status: int = 206, **changes: str) -> Head:
    fields = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return Head(status, tuple(fields.items()))


@pytest.mark.parametrize(
    "head",
    [
        answer(),
        answer(etag='"v"', last_modified="Mon"),
        Head(206, (("content-range", "bytes 10-19/100"), ("transfer-encoding", "chunked"))),
    ],
)
def test_the_right_part_passes(head: Head) -> None:
    check_range(head, SPAN, FIRST, 100, 0.0, False)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (answer(200), errors.OriginChanged),
        (answer(412), errors.OriginChanged),
        (answer(416), errors.OriginChanged),
        (answer(etag='"w"'), errors.OriginChanged),
        (answer(etag='W/"v"'), errors.OriginChanged),
        (answer(last_modified="Tue"), errors.OriginChanged),
        (answer(content_encoding="gzip"), errors.OriginChanged),
        (answer(content_range="bytes 10-19/101"), errors.OriginChanged),
        (answer(content_range="bytes 11-20/100"), errors.OriginBroken),
        (answer(content_range="bytes 10-18/100"), errors.OriginBroken),
        (answer(content_length="11"), errors.OriginBroken),
        (answer(content_length="x"), errors.OriginBroken),
        (answer(304), errors.OriginBroken),
        (answer(301), errors.OriginBroken),
        (answer(404), errors.NotFound),
        (answer(403), errors.AccessDenied),
        (answer(503), errors.OriginBusy),
        (answer(500), errors.OriginError),
        (answer(400), errors.OriginRefused),
    ],
)
def test_every_other_answer_is_refused(head: Head, kind: type[Exception]) -> None:
    with pytest.raises(errors.P2PStoreError) as caught:
        check_range(head, SPAN, FIRST, 100, 0.0, False)
    assert type(caught.value) is kind


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_redirects_target_that_ran_out_must_be_asked_for_anew(status: int) -> None:
    with pytest.raises(errors.OriginChanged):
        check_range(answer(status), SPAN, FIRST, 100, 0.0, True)


@pytest.mark.parametrize(
    ("head", "wanted", "if_range", "good"),
    [
        (answer(), ByteRange(10, 20), "", True),
        (answer(), ByteRange(10, 50), "", True),
        (answer(), ByteRange(10, 15), "", False),
        (answer(), ByteRange(9, 20), "", False),
        (answer(), None, "", False),
        (answer(etag='"v"'), ByteRange(10, 20), '"v"', True),
        (answer(etag='"w"'), ByteRange(10, 20), '"v"', False),
        (answer(), ByteRange(10, 20), '"v"', True),
        (answer(last_modified="Tue"), ByteRange(10, 20), "Mon", False),
    ],
)
def test_first_span(head: Head, wanted: ByteRange | None, if_range: str, good: bool) -> None:
    if good:
        assert first_span(head, wanted, if_range) == (ByteRange(10, 20), 100)
    else:
        with pytest.raises(errors.OriginBroken):
            first_span(head, wanted, if_range)


def test_retry_after_as_a_date() -> None:
    head = Head(503, (("retry-after", "Thu, 01 Jan 1970 00:02:00 GMT"),))
    error = error_of(head, 90.0)
    assert isinstance(error, errors.OriginBusy)
    assert error.details["retry_after_s"] == 30.0


def test_an_error_names_its_url_once_and_without_secrets() -> None:
    error = named(errors.OriginBroken("why"), "http://u:p@h/a?X-Amz-Signature=secret&b=c")
    named(error, "http://other/")
    assert "secret" not in str(error) and "u:p" not in str(error)
    assert str(error).startswith("http://h/a") and "other" not in str(error)
    full = errors.NoSpace("full")
    assert named(full, "http://h/") is full and str(full) == "full"
