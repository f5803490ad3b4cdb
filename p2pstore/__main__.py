"""`python -m p2pstore` and the `p2pstore` program."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    from p2pstore.cli.main import run

    run()


if __name__ == "__main__":
    main()
