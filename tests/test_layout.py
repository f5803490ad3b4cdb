"""The rules of CONTRIBUTING.md that a machine can check: places, sizes, names and docstrings."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "p2pstore"
MODULES: Final = sorted(PACKAGE.rglob("*.py"))
TESTS: Final = sorted((ROOT / "tests").rglob("*.py"))

MAX_MODULE_LINES: Final = 400
MAX_FUNCTION_LINES: Final = 40
VAGUE: Final = re.compile(
    r"(?i)(^|_)(utils?|helpers?|common|misc|manager)(_|$)|(Utils?|Helpers?|Manager|Common)(?![a-z])"
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), _named(path))


def code_lines(function: Function) -> int:
    """Lines of a function from its `def` to its end, without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def long_functions(tree: ast.Module) -> list[str]:
    """Functions above the limit, each with its number of lines."""
    found = (one for one in ast.walk(tree) if isinstance(one, Function))
    return [f"{one.name}: {code_lines(one)}" for one in found if code_lines(one) > MAX_FUNCTION_LINES]


def vague_names(tree: ast.Module) -> list[str]:
    """Classes whose name says nothing of what they are for."""
    return [one.name for one in ast.walk(tree) if isinstance(one, ast.ClassDef) and VAGUE.search(one.name)]


def undocumented(tree: ast.Module) -> list[str]:
    """Public classes, functions and methods without a docstring, and the module if it has none.

    A method of a class with bases may keep the docstring of what it implements.
    """
    missing = [] if ast.get_docstring(tree) else ["the module"]
    for name, node, inherits in _public(tree.body, "", inherits=False):
        if ast.get_docstring(node) is None and not inherits:
            missing.append(name)
    return missing


def _public(
    body: list[ast.stmt], prefix: str, *, inherits: bool
) -> Iterator[tuple[str, Function | ast.ClassDef, bool]]:
    for node in body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        marks = {ast.unparse(one).rpartition(".")[2] for one in node.decorator_list}
        if marks & {"overload", "setter"}:
            continue
        yield prefix + node.name, node, inherits
        if isinstance(node, ast.ClassDef):
            yield from _public(node.body, f"{prefix}{node.name}.", inherits=bool(node.bases))


def test_every_module_has_its_tests() -> None:
    wanted = {
        ROOT / "tests" / path.parent.relative_to(PACKAGE) / f"test_{path.name}"
        for path in MODULES
        if not path.name.startswith("__")
    }
    assert [_named(path) for path in sorted(wanted) if not path.exists()] == []


def test_test_folders_are_not_packages() -> None:
    assert [_named(path) for path in TESTS if path.name == "__init__.py"] == []


def test_modules_are_short() -> None:
    lengths = {_named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_MODULE_LINES} == {}


def test_functions_are_short() -> None:
    assert {_named(path): long for path in MODULES if (long := long_functions(_parsed(path)))} == {}


def test_names_say_what_a_thing_is_for() -> None:
    assert [_named(path) for path in MODULES + TESTS if VAGUE.search(path.stem)] == []
    assert {_named(path): vague for path in MODULES if (vague := vague_names(_parsed(path)))} == {}


def test_public_names_are_documented() -> None:
    assert {_named(path): names for path in MODULES if (names := undocumented(_parsed(path)))} == {}


LINK: Final = re.compile(r"(?<!\!)\[[^\]\n]+\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")


def test_links_between_documents_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changelog.d").glob("*.md")]
    broken = [
        f"{_named(page)}: {target}"
        for page in pages
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert len(pages) > 10
    assert broken == []


def test_annotations_are_never_evaluated() -> None:
    wanted = "from __future__ import annotations"
    bare = [
        path
        for path in MODULES + TESTS
        if wanted not in (text := path.read_text("utf-8")) and "import " in text
    ]
    assert [_named(path) for path in bare] == []


def test_every_core_is_kept_pure() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    floors, cores, _ = settings["tool"]["importlinter"]["contracts"]
    pure = [name.strip() for floor in floors["layers"][6:] for name in floor.split("|")]
    there = {f"p2pstore.{name.strip('()')}" for name in pure if (PACKAGE / name.strip("()")).exists()}
    there |= {f"p2pstore.{name}" for name in pure if (PACKAGE / f"{name}.py").exists()}
    assert there == set(cores["source_modules"])


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():\n" + "    x = 1\n" * 40, ["f: 41"]),
        ("def f():\n" + "    x = 1\n" * 39, []),
        ('def f():\n    """Two\n    lines."""\n' + "    x = 1\n" * 39, []),
        ("class A:\n  async def f(self):\n" + "    x = 1\n" * 50, ["f: 51"]),
    ],
)
def test_long_functions_are_found(source: str, found: list[str]) -> None:
    assert long_functions(ast.parse(source)) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""M."""\ndef f(): pass', ["f"]),
        ("", ["the module"]),
        ('"""M."""\nclass A:\n  """A."""\n  def f(self): pass\n  def _g(self): pass', ["A.f"]),
        ('"""M."""\nclass A(B):\n  """A."""\n  def f(self): pass', []),
        ('"""M."""\nclass A(B):\n  def f(self): pass', ["A"]),
        ('"""M."""\nclass _A:\n  def f(self): pass', []),
    ],
)
def test_missing_docstrings_are_found(source: str, found: list[str]) -> None:
    assert undocumented(ast.parse(source)) == found


@pytest.mark.parametrize("name", ["utils", "io_helpers", "CacheManager", "common", "FetchUtils"])
def test_vague_names_are_found(name: str) -> None:
    assert VAGUE.search(name)


@pytest.mark.parametrize("name", ["UncommonCase", "commonwealth", "manage", "utilisation", "entry"])
def test_other_names_are_not(name: str) -> None:
    assert not VAGUE.search(name)
