"""What a member's shell is told: plain values, all of them in the union."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_args

from p2pstore.swarm import tasks
from p2pstore.swarm.messages import Send
from p2pstore.swarm.tasks import Decision


def test_every_decision_is_in_the_union_and_frozen() -> None:
    defined = {
        cls
        for _, cls in inspect.getmembers(tasks, inspect.isclass)
        if cls.__module__ == tasks.__name__ and dataclasses.is_dataclass(cls)
    }
    assert defined | {Send} == set(get_args(Decision))
    assert all(cls.__dataclass_params__.frozen for cls in get_args(Decision))
