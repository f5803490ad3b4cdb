"""Starts agents within milliseconds: imports the product once, then forks a child for each.

A hundred power cuts need a hundred agents; importing takes most of the time of a start. A child is an agent like any
other: `p2pstore.__main__.main` with its own arguments, environment and plants (see `launch.py`). Requests come as JSON
lines on standard input, answers go to standard output.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
import traceback
from typing import Any, Final

from tests.faults.launch import Spec, run

PREIMPORTED: Final = (
    "p2pstore.__main__",
    "p2pstore.cli.main",
    "p2pstore.cli.agent",
    "p2pstore.daemon.assembly",
    "p2pstore.daemon.logs",
    "p2pstore.daemon.process",
    "p2pstore.client.paths",
)


def _start(fields: dict[str, Any]) -> int:
    spec = Spec(**fields)
    pid = os.fork()
    if pid:
        return pid
    try:
        run(spec)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(70)


def _wait(pid: int, timeout_s: float) -> int | None:
    watched = os.pidfd_open(pid)
    try:
        if not select.select([watched], [], [], timeout_s)[0]:
            return None
    finally:
        os.close(watched)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """Serve until standard input ends."""
    for name in PREIMPORTED:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.set_inheritable(answers.fileno(), False)
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "start":
            answer: dict[str, Any] = {"pid": _start(request["spec"])}
        else:
            answer = {"status": _wait(request["pid"], request["timeout_s"])}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
