"""`p2pstore completion`: the lines that make a shell complete our commands and options."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from p2pstore.cli.main import cli

SHELLS: Final = ("bash", "zsh", "fish")
VARIABLE: Final = "_P2PSTORE_COMPLETE"
"""Set by the shell's function when it asks this program what could follow."""


@click.command(short_help="Print what a shell needs to complete commands.")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    """Print what SHELL needs to complete p2pstore's commands and options.

    \b
    Examples:
      p2pstore completion bash > ~/.local/share/bash-completion/completions/p2pstore
      p2pstore completion zsh > ~/.zfunc/_p2pstore
      p2pstore completion fish > ~/.config/fish/completions/p2pstore.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click can't complete for {shell}.")
    click.echo(kind(cli, {}, "p2pstore", VARIABLE).source())
    return 0
