"""The messages: plain values, all of them in the union, none that can be changed on the way."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_args

import pytest

from p2pstore.swarm import messages
from p2pstore.swarm.messages import Message

NOT_SENT = {"HeldLease", "Outcome", "TableLease", "Table", "Send"}
"""Parts of messages, and the decision to send one."""
DEFINED = [
    cls
    for _, cls in inspect.getmembers(messages, inspect.isclass)
    if cls.__module__ == messages.__name__ and dataclasses.is_dataclass(cls)
]


def test_every_message_is_in_the_union() -> None:
    assert {cls.__name__ for cls in DEFINED} - NOT_SENT == {cls.__name__ for cls in get_args(Message)}


@pytest.mark.parametrize("cls", DEFINED, ids=lambda cls: cls.__name__)
def test_nothing_can_be_changed(cls: type) -> None:
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert not hasattr(cls, "__dict__") or "__slots__" in vars(cls)


def test_every_word_of_a_referee_names_its_term() -> None:
    from_members = {"Join", "Leave", "Ask", "Opened", "Brought", "Got", "Failed", "Released", "Urgent"}
    from_members |= {"Stale", "Revalidated"}
    for cls in get_args(Message):
        fields = {field.name for field in dataclasses.fields(cls)}
        assert cls.__name__ in from_members or "term" in fields
