"""`p2pstore agent`: every setting is an option, and what is wrong at the start has its own exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from p2pstore import daemon
from p2pstore.cli import agent
from p2pstore.cli.main import outcome
from p2pstore.config import Config
from p2pstore.daemon import logs, process
from p2pstore.errors import CacheLocked, CacheUnusable, P2PStoreError


class Started:
    """What an agent would have been started with; `error` is raised in its place."""

    config: Config | None = None
    error: P2PStoreError | None = None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """No agent, no change to this process."""
    one = Started()

    async def run_agent(config: Config, *, ready: Any) -> None:
        if one.error is not None:
            raise one.error
        one.config = config

    monkeypatch.setattr(daemon, "run_agent", run_agent)
    monkeypatch.setattr(logs, "log_to_stderr", lambda level: None)
    monkeypatch.setattr(process, "guard_memory", lambda: None)
    monkeypatch.setattr(process, "raise_descriptor_limit", lambda: 0)
    return one


def test_options_reach_the_agent(started: Started, tmp_path: Path) -> None:
    argv = ["--cache-dir", "/c", "--cache-size", "10G", "--socket", "/s", "--idle-exit", "1m30s"]
    argv += ["--origin-allow", "10.0.0.0/8,h", "--cache-allow-network-fs", "--origin-limit-rate", "50M"]
    assert outcome(["--config", "/dev/null", "agent", *argv]) == 0
    assert started.config is not None
    assert (started.config.socket, started.config.idle_exit_s) == ("/s", 90.0)
    assert (started.config.cache.dir, started.config.cache.size_bytes) == ("/c", 10 << 30)
    assert started.config.cache.allow_network_fs is True
    assert started.config.origin.allow == ("10.0.0.0/8", "h")
    assert started.config.origin.limit_rate_bytes_per_s == 50 << 20


def test_what_stands_before_the_command_holds_too(started: Started, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('socket = "/file"\n[origin]\nstreams = 2\n')
    assert outcome(["--socket", "/outer", "--config", str(tmp_path / "c.toml"), "agent"]) == 0
    assert started.config is not None
    assert (started.config.socket, started.config.origin.streams) == ("/outer", 2)
    assert outcome(["--socket", "/outer", "agent", "--config", "/dev/null", "--socket", "/inner"]) == 0
    assert started.config.socket == "/inner"


def test_a_switch_can_be_turned_off(started: Started, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[cache]\nallow_network_fs = true\n")
    assert outcome(["agent", "--config", str(tmp_path / "c.toml"), "--no-cache-allow-network-fs"]) == 0
    assert started.config is not None
    assert started.config.cache.allow_network_fs is False


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--cache-size", "much"], "not a size"),
        (["--origin-streams", "1000"], "between 1 and 64"),
        (["--config", "/nowhere/c.toml"], "no configuration file"),
    ],
)
def test_a_wrong_configuration_is_78(
    started: Started, argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(["agent", *argv]) == 78
    assert said in capsys.readouterr().err
    assert started.config is None


@pytest.mark.parametrize(
    ("error", "code"), [(CacheLocked("another agent uses it"), 75), (CacheUnusable("not yours"), 1)]
)
def test_what_fails_later_has_its_code(
    started: Started, error: P2PStoreError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    started.error = error
    assert outcome(["--config", "/dev/null", "agent"]) == code
    assert capsys.readouterr().err == f"p2pstore: {error}\n"


def test_variables_that_mean_nothing_are_told(
    started: Started, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("P2PSTORE_CACHE_SIZES", "1G")
    assert outcome(["--config", "/dev/null", "agent"]) == 0
    assert "did you mean P2PSTORE_CACHE_SIZE?" in capsys.readouterr().err


def test_the_ready_line_says_how_to_try_it(capsys: pytest.CaptureFixture[str]) -> None:
    from p2pstore.daemon.assembly import Running

    agent._show_ready(Running("/x/agent.sock", "/cache", 10 << 30))
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("ready · socket /x/agent.sock · cache /cache · quota 10.0 GiB · pid ")
    assert "p2pstore --socket /x/agent.sock get " in second
