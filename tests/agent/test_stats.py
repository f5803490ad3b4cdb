"""Counters are numbers, and every one is documented."""

from __future__ import annotations

import ast
import inspect

from p2pstore.agent import stats as stats_module
from p2pstore.agent.stats import Stats


def test_a_snapshot_is_a_copy_of_all_counters() -> None:
    stats = Stats()
    stats.hits += 2
    before = stats.snapshot()
    stats.hits += 1
    assert before["hits"] == 2
    assert stats.snapshot()["hits"] == 3
    assert set(before) == set(Stats.__dataclass_fields__)


def test_all_begin_at_nothing() -> None:
    assert set(Stats().snapshot().values()) == {0}


def test_every_counter_says_what_it_counts() -> None:
    lines = inspect.getsource(stats_module).splitlines()
    fields = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.AnnAssign)]
    assert len(fields) == len(Stats.__dataclass_fields__)
    assert all("  # " in lines[one.lineno - 1] for one in fields)
