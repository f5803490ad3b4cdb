"""What every test may count on: toy origins, and a hypothesis that repeats itself exactly.

Anything a test writes goes below `tmp_path`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings

from tests.origin import Origin

SOAKING = os.environ.get("SOAK", "") not in ("", "0")
"""`make soak`: search where a plain run repeats itself."""

settings.register_profile("repeat", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("search", deadline=None, max_examples=5000, database=None, print_blob=True)
settings.load_profile("search" if SOAKING else "repeat")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the seed of the simulations: print it on failure, give it to see the same run again."""
    parser.addoption("--p2p-seed", type=int, default=0, help="seed of simulated tests (default 0)")


@pytest.fixture
def p2p_seed(request: pytest.FixtureRequest) -> int:
    """The seed that a simulation starts from."""
    return int(request.config.getoption("--p2p-seed"))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no P2PSTORE_ variable and no proxy of whoever runs them."""
    for name in list(os.environ):
        if name.startswith("P2PSTORE_") or name.lower() in (
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "no_proxy",
        ):
            monkeypatch.delenv(name)


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """A toy origin on the test's own loop."""
    async with Origin() as one:
        yield one


@pytest.fixture
async def other_origin() -> AsyncIterator[Origin]:
    """A second one: another port, so another origin."""
    async with Origin() as one:
        yield one


@pytest.fixture
async def tls_origin() -> AsyncIterator[Origin]:
    """One that speaks https; trust it with `client_context()` or `ca_pem`."""
    async with Origin(tls=True) as one:
        yield one


@pytest.fixture
def threaded_origin() -> Iterator[Origin]:
    """One in a thread of its own, for tests of blocking code and of programs."""
    with Origin() as one:
        yield one
