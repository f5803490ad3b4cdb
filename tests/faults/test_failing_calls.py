"""The Nth call to the operating system fails, for many N: an answer or a clean error, no crash, nothing wrong, nothing lost."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pytest

from tests.faults.agents import Agent, NotReady
from tests.faults.ledger import Ledger, Promise, content
from tests.faults.nginx import Nginx
from tests.faults.trials import budget_s, trials
from tests.faults.wire import AgentSaidNo, Wire

CALLS: Final = {
    "open": ("EIO", "ENOSPC", "EROFS", "EMFILE", "EACCES"),
    "write": ("EIO", "ENOSPC", "EROFS", "short"),
    "pwrite": ("EIO", "ENOSPC", "EROFS", "short"),
    "fsync": ("EIO", "ENOSPC"),
    "rename": ("EIO", "ENOSPC", "EROFS"),
    "replace": ("EIO", "ENOSPC", "EROFS"),
    "link": ("EIO", "ENOSPC", "EROFS", "EMLINK"),
    "unlink": ("EIO", "EROFS"),
    "mkdir": ("EIO", "ENOSPC"),
    "fallocate": ("EIO", "ENOSPC", "EOPNOTSUPP"),
    "syncfs": ("EIO", "ENOSPC"),
    "ftruncate": ("EIO",),
    "copy_file_range": ("EIO", "EXDEV", "short"),
    "sendfile": ("EIO", "short"),
    "preadv": ("EIO",),
    "fchmod": ("EIO",),
    "statvfs": ("EIO",),
    "rmdir": ("EIO",),
    "stat": ("EIO",),
}
"""Functions of `os` or the C library with the ways they fail; `short` is a transfer of half of what was asked."""
MOST_CALLS: Final = 12
MEANT: Final = frozenset(
    "no_space cache_unusable node_error integrity not_found not_cached overloaded origin_error origin_broken origin_unreachable".split()
)


def _scenario(wire: Wire, nginx: Nginx, ledger: Ledger, number: int) -> list[str]:
    """Put, get small, get large, get again, list, remove."""
    found: list[str] = []
    result = content(f"call-{number}", 30_000)
    for name in (f"call-{number}", f"more-{number}"):
        ledger.offered[name] = Promise.of(result)
        if _tried(found, lambda name=name: wire.put(name, result)):
            ledger.acknowledged[name] = ledger.offered.pop(name)
    for url in (nginx.url("fresh/small"), nginx.url("fresh/large"), nginx.url("fresh/small")):
        ledger.asked.add(url)
        _tried(found, lambda url=url: found.extend(_got(ledger, url, wire.get(url, refresh=True))))
    _tried(found, lambda: wire.call("ls"))
    if _tried(found, lambda: wire.call("rm", {"name": f"more-{number}"})):
        ledger.acknowledged.pop(f"more-{number}", None)
    # What was being removed may be there or not.
    elif f"more-{number}" in ledger.acknowledged:
        ledger.offered[f"more-{number}"] = ledger.acknowledged.pop(f"more-{number}")
    return found


def _got(ledger: Ledger, url: str, data: bytes) -> list[str]:
    broken = ledger.urls[url].broken_by(data)
    return [f"wrong: handed out {url}: {broken}"] if broken else []


def _tried(found: list[str], step: object) -> bool:
    assert callable(step)
    try:
        step()
    except AgentSaidNo as no:
        if no.code not in MEANT:
            found.append(f"not a clean error: {no}")
        return False
    return True


def _trial(
    number: int, call: str, failure: str, nth: int, agent: Agent, nginx: Nginx, *plants: str
) -> list[str]:
    ledger = Ledger()
    for name, size in (("small", 9_000), ("large", 1_300_000)):
        data = content(name, size)
        if not (nginx.www / name).exists():
            nginx.file(name, data)
        ledger.urls[nginx.url(f"fresh/{name}")] = Promise.of(data)
    found: list[str] = []
    counter = agent.directory / "injected"
    counter.write_bytes(bytes(8))
    try:
        agent.settings = {"CACHE_FLUSH_INTERVAL": "0.1s"}
        agent.start(f"calls.fail={call}:{failure}:{nth}:{agent.cache}:{counter}", *plants)
    except NotReady as error:
        # Not starting is a clean end when it says why; a trace is a crash.
        if "Traceback" in str(error):
            found.append(f"crashed at the start: {str(error)[-600:]}")
    else:
        try:
            with agent.wire(timeout_s=20) as wire:
                found += _scenario(wire, nginx, ledger, number)
        except (ConnectionError, FileNotFoundError) as error:
            found.append(f"the agent went away: {error} {agent.tail()[-600:]}")
        except TimeoutError:
            found.append("hang")
        if not found and not agent.running():
            found.append(f"the agent ended: {agent.tail()[-600:]}")
        agent.kill()
    agent.start()
    with agent.wire() as wire:
        found += ledger.violations(wire)
        for name in (*ledger.acknowledged, *ledger.offered):
            _tried(found, lambda name=name: wire.call("rm", {"name": name}))
    agent.kill()
    return [f"{call} {failure} at {nth}: {line}" for line in found]


def _injected(agent: Agent) -> bool:
    return any(Path(agent.directory / "injected").read_bytes())


@pytest.mark.timeout(budget_s(120))
def test_any_call_may_fail(agent: Agent, nginx: Nginx) -> None:
    rng = random.Random("calls")
    cases = [(call, failure) for call, failures in CALLS.items() for failure in failures]
    found: list[str] = []
    hit = 0
    total = trials("failing call")
    for number in range(total):
        call, failure = cases[number % len(cases)]
        nth = number // len(cases) + 1 if rng.random() < 0.6 else rng.randint(1, 40)
        found += _trial(number, call, failure, nth, agent, nginx)
        hit += _injected(agent)
    assert found == []
    assert hit > total // 4, f"only {hit} of {total} runs met their failure"


@pytest.mark.timeout(budget_s(30))
@pytest.mark.parametrize("plant", ["calls.errors_are_ignored"])
def test_an_ignored_failure_is_noticed(plant: str, agent: Agent, nginx: Nginx) -> None:
    # Which of the calls carries bytes of a file, and which a note about it, is not the same each time.
    for nth in range(1, MOST_CALLS + 1):
        for call in ("pwrite", "write", "copy_file_range", "sendfile"):
            found = _trial(nth, call, "short", nth, agent, nginx, plant)
            if any("wrong" in line or "lost" in line for line in found):
                return
    pytest.fail(f"none of the first {MOST_CALLS} calls of each kind made a difference")
