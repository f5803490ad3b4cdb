"""The reference pages and the program say the same: each flag, field, variable, event and error, and nothing that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from p2pstore.agent.events import KINDS
from p2pstore.cli.main import COMMANDS, EXIT_INTERRUPTED, cli
from p2pstore.cli.settings import OTHER_VARIABLES, SETTINGS, Setting, show_value
from p2pstore.errors import BY_CODE, EXIT_SOME_FAILED
from p2pstore.wire.messages import ARGUMENTS

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
REFERENCE: Final = DOCS / "reference"
PAGES: Final = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])
EXIT_CONFIG: Final = 78

_FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`([^`\n]+)`")
_OPTION: Final = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
_VARIABLE: Final = re.compile(r"\bP2PSTORE_[A-Z0-9_]+")
_LINK: Final = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
_OTHER_PROGRAMS: Final = (
    "systemctl",
    "journalctl",
    "curl",
    "aria2c",
    "pip",
    "pipx",
    "make",
    "ulimit",
    "sudo",
    "loginctl",
    "systemd",
)
"""A line of an example that begins with one of these has its own flags."""


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def command_of(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def options_of(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option)]


def spellings(command: click.Command) -> set[str]:
    """Every spelling of every option, with that of `--help`."""
    return {name for one in options_of(command) for name in (*one.opts, *one.secondary_opts)} | {
        "-h",
        "--help",
    }


def option_row(option: click.Option) -> str:
    """The line of docs/reference/cli.md for an option."""
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if isinstance(option.type, click.Choice):
        value = " `" + "\\|".join(option.type.choices) + "`"
    else:
        value = f" `{option.metavar}`".replace("|", "\\|") if option.metavar else ""
        value = value or ("" if option.is_flag else " `N`")
    default = f" Default: `{option.default}`." if option.show_default else ""
    return f"| {names}{value} | {(option.help or '').replace('|', chr(92) + '|')}{default} |"


def setting_row(one: Setting) -> str:
    """The line of docs/reference/config.md for a setting."""
    option = f"{one.option}, --no-{one.option[2:]}" if one.kind is bool else one.option
    default = show_value(one, one.default).replace("|", "\\|")
    return f"| `{one.name}` | `{option}` | `{one.variable}` | `{default}` | {one.doc} |"


def sections(text: str, prefix: str = "## ") -> dict[str, str]:
    """The parts of a page by their headings."""
    parts = re.split(rf"^{re.escape(prefix)}(.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> list[str]:
    """The lines of the tables of a text, without heads and rulers."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    ruled = {at for at, line in enumerate(lines) if re.fullmatch(r"[|\s:-]+", line)}
    return [line for at, line in enumerate(lines) if at not in ruled and at + 1 not in ruled]


def option_rows(text: str) -> list[str]:
    """The rows that tell of options; a section may have other tables."""
    return [row for row in rows(text) if row.startswith("| `-")]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"agent"}))
def test_each_command_is_documented_with_exactly_its_options(name: str) -> None:
    section = sections(page("cli.md")).get(f"p2pstore {name}")
    assert section is not None, f"docs/reference/cli.md has no section 'p2pstore {name}'"
    wanted = [option_row(one) for one in options_of(command_of(name))]
    assert option_rows(section) == wanted, "\n" + "\n".join(wanted)


def test_the_group_is_documented_with_exactly_its_options() -> None:
    section = sections(page("cli.md"))["Before the command"]
    wanted = [option_row(one) for one in options_of(cli)]
    assert option_rows(section) == wanted, "\n" + "\n".join(wanted)


def test_no_command_is_documented_that_is_not_there() -> None:
    found = {one.removeprefix("p2pstore ") for one in sections(page("cli.md")) if one.startswith("p2pstore ")}
    assert found == set(COMMANDS)


def test_each_option_of_the_agent_is_a_setting() -> None:
    wanted = {one.option for one in SETTINGS} | {
        f"--no-{one.option[2:]}" for one in SETTINGS if one.kind is bool
    }
    assert spellings(command_of("agent")) == wanted | {"--config", "-h", "--help"}


@pytest.mark.parametrize("table", sorted({one.table for one in SETTINGS}))
def test_each_setting_is_documented_as_it_is(table: str) -> None:
    section = sections(page("config.md")).get(f"[{table}]" if table else "Above the tables", "")
    wanted = [setting_row(one) for one in SETTINGS if one.table == table]
    assert rows(section) == wanted, "\n" + "\n".join(wanted)


def test_no_table_is_documented_that_is_not_there() -> None:
    found = {one for one in sections(page("config.md")) if one.startswith("[")}
    assert found == {f"[{one.table}]" for one in SETTINGS if one.table}


def test_no_page_names_a_variable_that_means_nothing() -> None:
    known = {one.variable for one in SETTINGS} | set(OTHER_VARIABLES)
    found = {(path.name, name) for path in PAGES for name in _VARIABLE.findall(path.read_text("utf-8"))}
    assert {one for one in found if one[1] not in known and not one[1].endswith("_")} == set()
    assert {name for _, name in found} >= known


def examples(text: str) -> Iterator[str]:
    """What is written as code: single words and the lines of blocks, joined where a backslash goes on."""
    for block in _FENCE.findall(text):
        lines = re.sub(r"\\\n\s*", " ", block).splitlines()[1:-1]
        yield from (line.partition("  #")[0] for line in lines)
    yield from _CODE.findall(_FENCE.sub("", text))


def foreign(line: str) -> bool:
    """Whether an example is about another program."""
    return bool(re.match(rf"[$#]?\s*({'|'.join(_OTHER_PROGRAMS)})\b", line.strip()))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_shows_an_option_that_is_not_there(path: Path) -> None:
    known = spellings(cli).union(*(spellings(command_of(name)) for name in COMMANDS))
    shown = [
        line for line in examples(path.read_text("utf-8")) if line.startswith("-") or "p2pstore " in line
    ]
    unknown = {name for line in shown if not foreign(line) for name in _OPTION.findall(line)} - known
    # `-m` of Python and the words of other programs in a pipe are not ours.
    assert {one for one in unknown if one.startswith("--")} == set()


@pytest.mark.parametrize(
    "path",
    [path for path in PAGES if path.parent.name != "adr"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_examples_name_commands_that_are_there(path: Path) -> None:
    found = set()
    for line in examples(path.read_text("utf-8")):
        for words in re.findall(r"(?:^|\s|\()p2pstore((?:\s+--(?:socket|config)\s+\S+)*)\s+([a-z]+)\b", line):
            found.add(words[1])
    assert found - set(COMMANDS) == set()


def test_each_error_and_its_exit_code_is_documented() -> None:
    text = page("errors.md")
    assert {code for code in BY_CODE if f"`{code}`" not in text} == set()
    wrong = [
        code
        for code, cls in BY_CODE.items()
        if not any(f"`{code}`" in row and re.search(rf"\|\s*{cls.exit_code}\s*\|", row) for row in rows(text))
    ]
    assert wrong == []


def test_each_exit_code_is_documented_with_its_errors() -> None:
    documented = {int(row.split("|")[1]): row for row in rows(page("exit-codes.md"))}
    wanted = {cls.exit_code for cls in BY_CODE.values()} | {
        0,
        EXIT_SOME_FAILED,
        EXIT_INTERRUPTED,
        EXIT_CONFIG,
    }
    assert set(documented) == wanted
    missing = [code for code, cls in BY_CODE.items() if f"`{code}`" not in documented[cls.exit_code]]
    assert missing == []
    named = {name for row in documented.values() for name in _CODE.findall(row.split("|")[3])}
    assert named == set(BY_CODE)


def test_each_event_is_documented() -> None:
    named = {name for row in rows(page("events.md")) for name in _CODE.findall(row.split("|")[1])}
    assert named >= set(KINDS)
    help_text = command_of("events").help or ""
    assert [kind for kind in KINDS if not re.search(rf"\b{kind}\b", help_text)] == []


def test_each_verb_and_argument_of_the_socket_is_documented() -> None:
    text = page("protocol.md")
    assert [verb for verb in ARGUMENTS if f"`{verb}`" not in text] == []
    assert sorted({name for args in ARGUMENTS.values() for name in args if f"`{name}`" not in text}) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    links = [link for link, _ in _LINK.findall(_FENCE.sub("", path.read_text("utf-8"))) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_each_help_has_examples_that_parse() -> None:
    for name in COMMANDS:
        text = command_of(name).help or ""
        lines = [line.strip() for line in text.partition("Example")[2].splitlines()]
        shown = [line for line in lines if "p2pstore" in line]
        assert shown, f"p2pstore {name} --help shows no example"
        known = spellings(command_of(name)) | spellings(cli)
        for line in shown:
            mine = re.split(r"[|;&>)]", line[line.index("p2pstore") :])[0]
            assert {one for one in _OPTION.findall(mine) if one.startswith("--")} <= known, line
