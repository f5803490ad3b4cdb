"""Every error keeps its code, its exit code and its words on the way over the socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pstore import errors
from p2pstore.errors import BY_CODE, P2PStoreError, from_wire

EVERY = sorted(BY_CODE.values(), key=lambda cls: cls.__name__)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=20))


def declared() -> set[type[P2PStoreError]]:
    return {
        thing
        for thing in vars(errors).values()
        if isinstance(thing, type) and issubclass(thing, P2PStoreError)
    }


def test_every_error_of_the_module_has_a_code_of_its_own() -> None:
    assert set(BY_CODE.values()) == declared()
    assert len({cls.code for cls in declared()}) == len(declared())


def test_the_tree_in_the_docstring_names_every_error() -> None:
    assert errors.__doc__ is not None
    assert {cls.__name__ for cls in declared()} <= set(errors.__doc__.replace(",", " ").split())


@pytest.mark.parametrize(
    ("cls", "exit_code"),
    [
        (errors.P2PStoreError, 1),
        (errors.BadUrl, 2),
        (errors.BadDigest, 2),
        (errors.NameTaken, 2),
        (errors.NotFound, 3),
        (errors.NotCached, 3),
        (errors.AccessDenied, 4),
        (errors.GateRefused, 4),
        (errors.DigestMismatch, 5),
        (errors.OriginUnreachable, 6),
        (errors.OriginBusy, 6),
        (errors.DeadlineExceeded, 6),
        (errors.AgentUnreachable, 7),
        (errors.NoSpace, 8),
        (errors.CacheLocked, 75),
        (errors.Cancelled, 130),
        (errors.CacheUnusable, 1),
        (errors.InternalError, 1),
    ],
)
def test_exit_codes_are_what_scripts_count_on(cls: type[P2PStoreError], exit_code: int) -> None:
    assert cls.exit_code == exit_code


def test_the_exit_code_of_a_partial_failure_belongs_to_no_error() -> None:
    assert errors.EXIT_SOME_FAILED not in {cls.exit_code for cls in declared()}


def test_whoever_is_to_blame_shows_in_the_type() -> None:
    assert issubclass(errors.NotCached, errors.NotFound)
    assert issubclass(errors.GateRefused, errors.AccessDenied)
    assert issubclass(errors.DigestMismatch, errors.IntegrityError)
    assert not issubclass(errors.DeadlineExceeded, errors.OriginError)


@pytest.mark.parametrize(
    ("cls", "retryable"),
    [
        (errors.OriginError, True),
        (errors.OriginBusy, True),
        (errors.OriginChanged, True),
        (errors.OriginRefused, False),
        (errors.NotFound, False),
        (errors.DigestMismatch, False),
        (errors.DeadlineExceeded, True),
        (errors.NoSpace, True),
        (errors.Overloaded, True),
        (errors.BadRequest, False),
        (errors.AgentUnreachable, True),
    ],
)
def test_what_may_succeed_later_by_itself_says_so(cls: type[P2PStoreError], retryable: bool) -> None:
    assert cls("x").retryable is retryable


def test_a_line_for_people_ends_with_the_next_step() -> None:
    assert str(errors.NotFound("http://a/x: 404")) == "http://a/x: 404"
    assert str(errors.NotFound("http://a/x: 404", hint="check it")) == "http://a/x: 404 (check it)"


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_an_error_crosses_the_socket_whole(cls: type[P2PStoreError]) -> None:
    sent = cls("what happened", hint="what to do", url="http://a/x", found="f", expected="e")
    wire = sent.to_wire()
    assert wire["retryable"] is cls.retryable
    back = from_wire(wire)
    assert type(back) is cls
    assert (back.message, back.hint, back.details) == (sent.message, sent.hint, sent.details)
    assert str(back) == str(sent)


def test_a_newer_agents_error_is_still_an_error() -> None:
    back = from_wire({"code": "invented_next_year", "message": "hm", "hint": "", "details": {"a": 1}})
    assert type(back) is P2PStoreError
    assert (back.message, back.details) == ("hm", {"a": 1})


@given(
    st.dictionaries(
        st.sampled_from(["code", "message", "hint", "details", "retryable", "other"]),
        st.one_of(
            PLAIN, st.lists(PLAIN), st.dictionaries(st.one_of(st.text(max_size=8), st.integers()), PLAIN)
        ),
    )
)
def test_no_fields_of_the_other_side_break_the_reading(fields: dict[str, object]) -> None:
    assert isinstance(from_wire(fields), P2PStoreError)


def test_details_can_not_pose_as_the_message() -> None:
    details = {"message": "false", "hint": "false", "self": 1, "cls": 2}
    back = from_wire({"code": "not_found", "message": "true", "details": details})
    assert (back.message, back.hint) == ("true", "")
    assert back.details["self"] == 1
