"""`p2pstore status`: the agent's own state in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from p2pstore.cli.embedded import connect
from p2pstore.cli.main import Globals
from p2pstore.cli.quantities import show_seconds, show_size
from p2pstore.cli.report import print_json


@click.command(short_help="Show what the agent holds and has done.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def command(given: Globals, as_json: bool) -> int:
    """Show what the agent holds and has done since it started; the bytes spared from origins first.

    \b
    Examples:
      p2pstore status
      p2pstore status --json
    """
    with connect(given) as client:
        status = client.status()
    if as_json:
        print_json(status)
    else:
        click.echo("\n".join(describe(status)))
    return 0


def describe(status: Mapping[str, Any]) -> list[str]:
    """The lines for people."""
    usage, counters = status["usage"], status["counters"]
    unfinished = (
        f", {show_size(usage['partial_bytes'])} of it for unfinished files" if usage["partial_bytes"] else ""
    )
    lines = [
        f"spared    {show_size(counters['cache_bytes'])} not asked of origins again, {show_size(counters['origin_bytes'])} fetched",
        f"cache     {show_size(usage['used_bytes'])} of {show_size(usage['quota_bytes'])}, {usage['entries']} entries{unfinished}",
        f"requests  {counters['hits']} hits, {counters['misses']} misses, {counters['joined']} joined a load, "
        f"{counters['stale_served']} stale",
        f"loads     {status['loads']} now, {counters['loads']} begun, {counters['loads_failed']} failed",
        f"agent     {status['version']}, pid {status['pid']}, up {show_seconds(status['uptime_s'])}, "
        f"{status['connections']} connections",
        f"socket    {status['socket']}",
        f"directory {status['cache_dir']}",
    ]
    if usage["degraded"]:
        lines.append(f"DEGRADED  {usage['degraded']}; p2pstore doctor says more")
    return lines
