"""What an operator can set: one frozen dataclass a table, checked when made; reading files and environment is the CLI's job.

Each field says in its metadata what `--help` and the reference page say. `[cache] size_bytes` is the field, `--cache-size` the
option and `P2PSTORE_CACHE_SIZE` the variable: the option drops the unit, because the value carries one (`10G`, `30s`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

from p2pstore.errors import BadConfig

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30


def _setting(default: Any, doc: str, low: float | None = None, high: float | None = None) -> Any:
    metadata = {"doc": doc, "low": low, "high": high}
    if isinstance(default, tuple):
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


def _check(table: str, section: Any) -> None:
    for one in fields(section):
        low, high = one.metadata.get("low"), one.metadata.get("high")
        value = getattr(section, one.name)
        if (low is not None and value < low) or (high is not None and value > high):
            raise BadConfig(f"[{table}] {one.name} = {value}: must be between {low} and {high}")


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """Table `[cache]`: where bytes stay and for how long."""

    dir: str = _setting(
        "", "Directory of the cache; empty: $XDG_CACHE_HOME/p2pstore, for root /var/cache/p2pstore."
    )
    size_bytes: int = _setting(0, "Quota in bytes of disk blocks; 0: a tenth of the file system.", 0)
    high_ratio: float = _setting(0.95, "Eviction begins above this part of the quota.", 0.01, 1.0)
    low_ratio: float = _setting(0.85, "Eviction goes down to this part of the quota.", 0.0, 1.0)
    free_bytes: int = _setting(
        256 * MIB, "Space that is always left free on the file system; never more than a twentieth of it.", 0
    )
    free_inodes_ratio: float = _setting(
        0.05, "Part of the file system's inodes that is always left free.", 0.0, 0.9
    )
    partial_age_s: float = _setting(86400.0, "An unfinished download untouched for this long is removed.", 1)
    flush_interval_s: float = _setting(
        5.0, "Cached copies become durable (syncfs) at least this often while there are new ones.", 0.1
    )
    flush_bytes: int = _setting(256 * MIB, "Cached copies become durable once this many new bytes wait.", MIB)
    allow_network_fs: bool = _setting(
        False, "Use a cache directory on NFS, Lustre or another network file system."
    )

    def __post_init__(self) -> None:
        _check("cache", self)
        if self.low_ratio >= self.high_ratio:
            raise BadConfig("[cache] low_ratio must be below high_ratio")


@dataclass(frozen=True, kw_only=True)
class OriginConfig:
    """Table `[origin]`: how origins are asked."""

    streams: int = _setting(4, "Range requests at once for one large file.", 1, 64)
    connections: int = _setting(16, "Connections at once to one origin host.", 1, 1024)
    request_bytes: int = _setting(8 * MIB, "The largest range asked for in one request.", 256 * KIB, GIB)
    connect_timeout_s: float = _setting(10.0, "Time for name resolution, connection and TLS together.", 0.1)
    header_timeout_s: float = _setting(30.0, "Time from request to the end of the answer's head.", 0.1)
    stall_timeout_s: float = _setting(
        30.0, "A transfer below the minimum rate for this long is given up and tried again.", 0.1
    )
    min_rate_bytes_per_s: int = _setting(KIB, "The minimum rate.", 0)
    retries: int = _setting(5, "Tries after the first that brought no new byte.", 0, 100)
    retry_wait_s: float = _setting(
        0.5, "Wait before the first retry; doubled each time, with jitter, at most 30 s.", 0.0
    )
    retry_after_max_s: float = _setting(120.0, "A Retry-After above this is an error at once.", 0.0)
    max_redirects: int = _setting(5, "Redirects followed for one request.", 0, 20)
    max_object_bytes: int = _setting(16 << 40, "A larger file is refused.", 1)
    limit_rate_bytes_per_s: int = _setting(0, "Rate limit for everything from origins; 0: none.", 0)
    allow: tuple[str, ...] = _setting(
        (), "Networks, addresses or host names allowed although the gate denies them."
    )
    deny: tuple[str, ...] = _setting(
        (), "Networks, addresses or host names refused although the gate allows them."
    )
    private_hosts: tuple[str, ...] = _setting(
        (), "Hosts that admit by source address: everything from them is private."
    )
    ca_file: str = _setting("", "Certificates to trust instead of the system's (PEM).")
    user_agent: str = _setting("p2pstore", "User-Agent sent to origins.")

    def __post_init__(self) -> None:
        _check("origin", self)


@dataclass(frozen=True, kw_only=True)
class FreshnessConfig:
    """Table `[freshness]`: RFC 9111 where it leaves a choice."""

    heuristic_ratio: float = _setting(
        0.1, "Part of the age since Last-Modified for which an answer without lifetime is fresh.", 0.0, 1.0
    )
    heuristic_max_s: float = _setting(86400.0, "Upper bound of such a guessed lifetime.", 0.0)
    stale_if_error_s: float = _setting(
        7 * 86400.0,
        "When the origin can't be reached a copy this long past its lifetime is served and said to be stale; 0: never.",
        0.0,
    )

    def __post_init__(self) -> None:
        _check("freshness", self)


@dataclass(frozen=True, kw_only=True)
class JobsConfig:
    """Table `[jobs]`: the unix socket."""

    max_connections: int = _setting(5000, "Connections at once.", 1)
    max_connections_per_uid: int = _setting(1024, "Connections at once from one uid.", 1)
    max_requests: int = _setting(1024, "Requests in flight on one connection; more are left unread.", 1)
    max_loads: int = _setting(64, "Loads from origins at once; more wait their turn.", 1)
    max_waiting: int = _setting(100_000, "Requests that wait for a load at once; more are refused.", 1)
    wait_timeout_s: float = _setting(86400.0, "Deadline of a request that names none.", 1.0)
    progress_interval_s: float = _setting(0.2, "Time between progress events of one request.", 0.01)
    admin_groups: tuple[str, ...] = _setting(
        ("p2pstore-admin",), "Members of these groups may see and remove everybody's entries."
    )

    def __post_init__(self) -> None:
        _check("jobs", self)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything; top-level fields stand above the tables in the file."""

    socket: str = _setting(
        "", "Unix socket; empty: $XDG_RUNTIME_DIR/p2pstore/agent.sock, for root /run/p2pstore/agent.sock."
    )
    log_level: str = _setting("info", "debug, info, warning or error.")
    idle_exit_s: float = _setting(0.0, "Exit after this long without connections and loads; 0: never.", 0.0)
    max_runtime_s: float = _setting(0.0, "Exit after this long, so that restarts are routine; 0: never.", 0.0)
    cache: CacheConfig = field(default_factory=CacheConfig)
    origin: OriginConfig = field(default_factory=OriginConfig)
    freshness: FreshnessConfig = field(default_factory=FreshnessConfig)
    jobs: JobsConfig = field(default_factory=JobsConfig)

    def __post_init__(self) -> None:
        _check("config", self)
        if self.log_level not in {"debug", "info", "warning", "error"}:
            raise BadConfig(f"log_level = {self.log_level!r}: use debug, info, warning or error")


TABLES: Final = {
    "cache": CacheConfig,
    "origin": OriginConfig,
    "freshness": FreshnessConfig,
    "jobs": JobsConfig,
}
"""The tables of the file by name."""
UNITS: Final = ("_bytes_per_s", "_bytes", "_s")
"""Suffixes that options and variables drop."""


def option_of(table: str, name: str) -> str:
    """The command-line option of a field: `cache`, `size_bytes` gives `--cache-size`."""
    for unit in UNITS:
        if name.endswith(unit):
            name = name.removesuffix(unit)
            break
    return "--" + "-".join(filter(None, (table, name))).replace("_", "-")


def variable_of(table: str, name: str) -> str:
    """The environment variable of a field: `cache`, `size_bytes` gives `P2PSTORE_CACHE_SIZE`."""
    return "P2PSTORE_" + option_of(table, name)[2:].replace("-", "_").upper()
