"""`p2pstore config`: every setting, what holds, and where that came from."""

from __future__ import annotations

from typing import Any

import click

from p2pstore.cli.main import Globals
from p2pstore.cli.report import print_json
from p2pstore.cli.settings import SETTINGS, Effective, Setting, load, show_value, usual_file


@click.command(short_help="Show every setting and where it came from.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each setting.")
@click.option("--changed", is_flag=True, help="Only what is not a default.")
@click.pass_obj
def command(given: Globals, as_json: bool, changed: bool) -> int:
    """Show every setting with its value and where that came from, as an agent started now would take it.

    \b
    Examples:
      p2pstore config
      p2pstore --config site.toml config --changed
    """
    effective = load(given.config, {("", "socket"): given.socket} if given.socket else None)
    for setting in SETTINGS:
        source = effective.came_from[setting.table, setting.name]
        if changed and source == "default":
            continue
        if as_json:
            print_json(_fields(setting, effective, source))
        else:
            click.echo(
                f"{setting.place + ' = ' + show_value(setting, effective.value(setting)):<48}  # {source}"
            )
    if not as_json:
        click.echo(f"file: {effective.file or usual_file() + ' (not there)'}", err=True)
    for warning in effective.warnings:
        click.echo(f"p2pstore: {warning}", err=True)
    return 0


def _fields(setting: Setting, effective: Effective, source: str) -> dict[str, Any]:
    value = effective.value(setting)
    return {
        "field": f"{setting.table}.{setting.name}".lstrip("."),
        "value": list(value) if isinstance(value, tuple) else value,
        "from": source,
        "option": setting.option,
        "variable": setting.variable,
    }
