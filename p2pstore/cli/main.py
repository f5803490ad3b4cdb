"""The command group: finds a command's module when it is called, and turns what went wrong into one line and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import click

from p2pstore.errors import NoSpace, P2PStoreError

COMMANDS: Final = {
    "agent": "p2pstore.cli.agent",
    "check": "p2pstore.cli.check",
    "completion": "p2pstore.cli.completion",
    "config": "p2pstore.cli.config",
    "demo": "p2pstore.cli.demo",
    "doctor": "p2pstore.cli.doctor",
    "events": "p2pstore.cli.events",
    "explain": "p2pstore.cli.explain",
    "get": "p2pstore.cli.get",
    "ls": "p2pstore.cli.ls",
    "prefetch": "p2pstore.cli.prefetch",
    "put": "p2pstore.cli.put",
    "rm": "p2pstore.cli.rm",
    "stat": "p2pstore.cli.stat",
    "status": "p2pstore.cli.status",
    "wait": "p2pstore.cli.wait",
}
"""Command and the module that holds it, as `command`."""

EXIT_INTERRUPTED: Final = 130


@dataclass(frozen=True)
class Globals:
    """What was said before the command's name; `None` where nothing was."""

    socket: str | None = None
    config: str | None = None


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for, so that `get` does not pay for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None for an unknown name."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the nearest name for a misspelled one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as wrong:
            near = nearest(args[0], COMMANDS) if args else ""
            if not near:
                raise
            raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{near}'?", ctx) from wrong


def nearest(word: str, known: Any) -> str:
    """The known word most like this one, or empty."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1)), "")


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from p2pstore import __version__

        click.echo(f"p2pstore {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 access denied, 5 integrity, 6 network or timeout, "
    "7 no agent, 8 no space, 9 some of several failed, 130 interrupted.",
)
@click.option("--socket", metavar="PATH", help="The agent's socket; P2PSTORE_SOCKET says it too.")
@click.option("--config", metavar="FILE", help="The configuration file; P2PSTORE_CONFIG says it too.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version.",
)
@click.pass_context
def cli(ctx: click.Context, socket: str | None, config: str | None) -> None:
    """Ask this node's agent for a URL, get a verified file that is downloaded once.

    \b
    Examples:
      p2pstore get https://example.org/big.bin -o big.bin
      p2pstore agent --cache-size 50G
      p2pstore doctor
    """
    ctx.obj = Globals(socket, config)


def run(argv: list[str] | None = None) -> NoReturn:
    """The program: runs one command and exits with the code that docs/reference/exit-codes.md names."""
    sys.exit(outcome(argv))


def outcome(argv: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        result = cli.main(args=argv, prog_name="p2pstore", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        say("interrupted")
        return EXIT_INTERRUPTED
    except P2PStoreError as error:
        say(str(error))
        return error.exit_code
    except OSError as error:
        return _system_error(error)


def _system_error(error: OSError) -> int:
    if error.errno == errno.EPIPE:
        # The reader of stdout is gone: nobody is left to tell, and the interpreter must not flush once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    place = f"{error.filename}: " if error.filename else ""
    say(f"{place}{os.strerror(error.errno) if error.errno else error}")
    return NoSpace.exit_code if error.errno in {errno.ENOSPC, errno.EDQUOT} else 1


def say(line: str) -> None:
    """One line for people, on stderr."""
    click.echo(f"p2pstore: {line}", err=True)
