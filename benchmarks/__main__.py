"""`python -m benchmarks [NAME...]`: measure, print tables, keep results as JSON.

Figures are ratios within one run: contestants take turns on the same machine in the same minutes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.rounds import Outcome

NAMES: Final = ("cold", "warm", "small", "startup", "evicting")
RUNS: Final = {"cold": 7, "warm": 5, "small": 3, "startup": 5, "evicting": 3}
RESULTS: Final = Path(__file__).parent / "results"
PAGE: Final = Path(__file__).parents[1] / "docs/explanation/benchmarks.md"
NEEDS: Final = {
    "cold": ("nginx", "curl", "aria2c"),
    "warm": ("nginx",),
    "small": ("nginx", "aria2c"),
    "evicting": ("nginx",),
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure p2pstore beside what is known."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; none: all")
    parser.add_argument("--runs", type=int, default=0, help="runs of each contestant; 0: the usual number")
    parser.add_argument("--scale", type=float, default=1.0, help="a part of the usual size, for a quick look")
    parser.add_argument("--work", type=Path, help="where to put files; a local disk with 10 GB")
    parser.add_argument(
        "--keep", action="store_true", help="make these results the summary that the docs show"
    )
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    chosen.names = chosen.names or list(NAMES)
    return chosen


def _missing(names: list[str]) -> list[str]:
    return sorted({program for name in names for program in NEEDS.get(name, ()) if not shutil.which(program)})


def _measure(name: str, runs: int, scale: float, work: Path | None) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=work) as directory:
        run = importlib.import_module(f"benchmarks.{name}").run
        outcome: Outcome = run(Path(directory), runs or RUNS[name], scale)
    return outcome


def _save(outcomes: list[Outcome], about: dict[str, str], scale: float, keep: bool) -> None:
    RESULTS.mkdir(exist_ok=True)
    date = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    for outcome in outcomes:
        told = {"date": date, "scale": scale, "machine": about, **outcome.as_json()}
        path = RESULTS / f"{outcome.name}-{date.replace(':', '')}.json"
        path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        if keep:
            told.pop("runs")
            (RESULTS / f"latest-{outcome.name}.json").write_text(
                json.dumps(told, indent=1, ensure_ascii=False) + "\n"
            )
            _show_in_docs(outcome, about, date)


def _show_in_docs(outcome: Outcome, about: dict[str, str], date: str) -> None:
    """Put the table between the marks of this benchmark."""
    runs = len(next(iter(outcome.runs.values())))
    head = (
        f"{outcome.title}. {date[:10]}, {about['processor']}, {about['memory']}, kernel {about['kernel']}, "
        f"Python {about['python']}, {about['nginx']}, {about['curl'].split(' (')[0]}, {about['aria2c']}; {runs} runs."
    )
    before, mark, rest = PAGE.read_text().partition(f"<!-- {outcome.name} -->")
    _, end, after = rest.partition(f"<!-- /{outcome.name} -->")
    if not mark or not end:
        raise SystemExit(f"{PAGE} has no place for {outcome.name}")
    PAGE.write_text(f"{before}{mark}\n{head}\n\n{outcome.table()}\n{end}{after}")


def main() -> int:
    """Measure what was named."""
    chosen = _arguments()
    missing = _missing(chosen.names)
    if missing:
        print(f"benchmarks: programs are missing: {', '.join(missing)}", file=sys.stderr)
        return 1
    about = machine.description()
    print("  ".join(f"{name}: {value}" for name, value in about.items()))
    machine.warm_memory(int(machine.WARM_BYTES * min(1.0, chosen.scale)))
    outcomes = []
    for name in chosen.names:
        begin = time.monotonic()
        outcome = _measure(name, chosen.runs, chosen.scale, chosen.work)
        print(
            f"\n## {name}: {outcome.title}  ({time.monotonic() - begin:.0f} s)\n\n{outcome.table()}",
            flush=True,
        )
        outcomes.append(outcome)
    _save(outcomes, about, chosen.scale, chosen.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
