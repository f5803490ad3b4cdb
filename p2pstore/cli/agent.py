"""`p2pstore agent`: run an agent in the foreground; every field of the configuration is an option of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from p2pstore.cli.main import Globals, say
from p2pstore.cli.quantities import show_size
from p2pstore.cli.settings import SETTINGS, Effective, Setting, load, show_value
from p2pstore.errors import BadConfig

if TYPE_CHECKING:
    from p2pstore.daemon.assembly import Running

EXIT_CONFIG: Final = 78
"""sysexits EX_CONFIG: starting again without a change to the configuration can't help."""
_METAVARS: Final = {"size": "SIZE", "rate": "RATE", "duration": "DURATION"}


class _AgentCommand(click.Command):
    """Shows its options by the tables of the configuration."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None:
                table, mark, _ = (parameter.name or "").partition("__")
                groups.setdefault(table if mark else "", []).append(row)
        for table, rows in groups.items():
            with formatter.section(f"Options of [{table}]" if table else "Options"):
                formatter.write_dl(rows)


def _option(setting: Setting) -> click.Option:
    names = [f"{setting.table}__{setting.name}", setting.option]
    if setting.kind is bool:
        names[1] += "/--no-" + setting.option[2:]
        return click.Option(names, default=None, help=setting.doc)
    if setting.kind == tuple[str, ...]:
        metavar = "A,B,..."
    else:
        metavar = _METAVARS.get(setting.unit, {str: "TEXT", int: "N", float: "NUMBER"}[setting.kind])
    help_text = (
        f"{setting.doc}  [default: {shown}]"
        if (shown := show_value(setting, setting.default)) != '""'
        else setting.doc
    )
    return click.Option(names, default=None, metavar=metavar, help=help_text)


def _run(config: str | None, **options: Any) -> int:
    """Run an agent in the foreground until Ctrl-C or SIGTERM.

    Needs no configuration. Each option may also stand in the configuration file or in the environment: --cache-size is
    P2PSTORE_CACHE_SIZE and size_bytes of [cache]. Options win over the environment, which wins over the file. Sizes are
    written like 10G, durations like 30s, lists with commas.

    \b
    Examples:
      p2pstore agent
      p2pstore agent --cache-dir /scratch/p2pstore --cache-size 200G
      p2pstore agent --socket /tmp/p.sock --idle-exit 10m
    """
    outer = click.get_current_context().find_object(Globals) or Globals()
    given: dict[tuple[str, str], Any] = {}
    for name, value in options.items():
        if value is not None:
            table, _, field = name.partition("__")
            given[table, field] = value
    if outer.socket is not None:
        given.setdefault(("", "socket"), outer.socket)
    try:
        return _serve(load(config or outer.config, given))
    except BadConfig as wrong:
        say(str(wrong))
        return EXIT_CONFIG


def _serve(effective: Effective) -> int:
    import asyncio

    from p2pstore.daemon import run_agent
    from p2pstore.daemon.logs import log_to_stderr
    from p2pstore.daemon.process import guard_memory, raise_descriptor_limit

    log_to_stderr(effective.config.log_level)
    guard_memory()
    raise_descriptor_limit()
    for warning in effective.warnings:
        say(warning)
    asyncio.run(run_agent(effective.config, ready=_show_ready))
    return 0


def _show_ready(running: Running) -> None:
    click.echo(
        f"ready · socket {running.socket} · cache {running.cache_dir} · quota {show_size(running.quota_bytes)} "
        f"· pid {os.getpid()}"
    )
    from p2pstore.client.paths import own_socket

    socket = "" if running.socket == own_socket() else f"--socket {running.socket} "
    click.echo(f"  try it:  p2pstore {socket}get https://example.org/big.bin -o big.bin")


command = _AgentCommand(
    "agent",
    callback=_run,
    help=_run.__doc__,
    short_help="Run an agent in the foreground.",
    params=[
        click.Option(["--config"], metavar="FILE", help="The configuration file (P2PSTORE_CONFIG)."),
        *(_option(setting) for setting in SETTINGS),
    ],
    context_settings={"max_content_width": 110},
)
