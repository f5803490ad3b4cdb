"""Runs contestants in turn, so that a slow minute of the machine meets all of them, and sums up what came out."""

from __future__ import annotations

import gc
import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Sample: TypeAlias = dict[str, float]
"""One run: measured names and their values; `seconds` is always there or everything is a rate."""
Contestant: TypeAlias = Callable[[], Sample]


@dataclass(frozen=True)
class Spread:
    """Least, middle and most of several runs."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of at least one value."""
        return cls(min(values), statistics.median(values), max(values))

    def __str__(self) -> str:
        return " / ".join(shown(value) for value in (self.min, self.median, self.max))


def shown(value: float) -> str:
    """A number with three digits that matter."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


@dataclass
class Outcome:
    """All runs of one benchmark."""

    name: str
    title: str
    runs: dict[str, list[Sample]]
    ratios: list[tuple[str, str, str]] = field(default_factory=list)
    """Measured name, contestant, and the one it is compared with: medians within this run."""
    notes: list[str] = field(default_factory=list)

    def spread(self, contestant: str, measured: str) -> Spread:
        """Over the runs."""
        return Spread.of([sample[measured] for sample in self.runs[contestant] if measured in sample])

    def measured(self) -> list[str]:
        """All measured names, in order of appearance."""
        return list(
            dict.fromkeys(name for samples in self.runs.values() for sample in samples for name in sample)
        )

    def ratio(self, measured: str, one: str, other: str) -> float:
        """Median of one over median of the other."""
        return self.spread(one, measured).median / self.spread(other, measured).median

    def as_json(self) -> dict[str, Any]:
        """Everything, raw runs included."""
        return {
            "name": self.name,
            "title": self.title,
            "runs": self.runs,
            "summary": {
                contestant: {
                    name: vars(self.spread(contestant, name))
                    for name in self.measured()
                    if any(name in sample for sample in samples)
                }
                for contestant, samples in self.runs.items()
            },
            "ratios": {
                f"{name}: {one} / {other}": round(self.ratio(name, one, other), 4)
                for name, one, other in self.ratios
            },
            "notes": self.notes,
        }

    def table(self) -> str:
        """As Markdown: a row for each contestant, least / median / most for each measured name."""
        names = self.measured()
        lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for contestant, samples in self.runs.items():
            cells = [
                str(self.spread(contestant, name)) if any(name in sample for sample in samples) else ""
                for name in names
            ]
            lines.append(f"| {contestant} | " + " | ".join(cells) + " |")
        lines += [
            "",
            *(
                f"- {name}: {one} is {self.ratio(name, one, other):.2f} x {other}"
                for name, one, other in self.ratios
            ),
        ]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)])


def alternate(
    contestants: Mapping[str, Contestant], runs: int, *, before: Callable[[str], None] = lambda name: None
) -> dict[str, list[Sample]]:
    """Every contestant once, then every one again; `before` cleans up outside of what is measured."""
    results: dict[str, list[Sample]] = {name: [] for name in contestants}
    for number in range(runs + 1):
        order = list(contestants)
        if number % 2:
            order.reverse()
        for name in order:
            before(name)
            # What others left unwritten would be written at this one's expense.
            os.sync()
            gc.collect()
            sample = contestants[name]()
            # The first round warms everybody up.
            if number:
                results[name].append(sample)
    return results
