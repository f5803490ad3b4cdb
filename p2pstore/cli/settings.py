"""The configuration as an operator gives it: options over environment over file over defaults, and where each value came from.

Everything here is made from the metadata of `p2pstore.config`, so that a new field is an option, a variable and a key of
the file at once. Sizes (`10G`) and durations (`30s`) may be written with units in all three; lists are separated by commas,
or are arrays in the file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec

from p2pstore.cli.quantities import parse_duration, parse_size, write_duration, write_size
from p2pstore.config import TABLES, Config, option_of, variable_of
from p2pstore.errors import BadConfig

CONFIG_VARIABLE: Final = "P2PSTORE_CONFIG"
"""Names the configuration file."""
OTHER_VARIABLES: Final = (CONFIG_VARIABLE,)
"""Variables of ours that stand for no field."""
SYSTEM_FILE: Final = "/etc/p2pstore/config.toml"
MAX_FILE_BYTES: Final = 1 << 20
"""A larger configuration file is a mistake."""


@dataclass(frozen=True)
class Setting:
    """One field of the configuration with its three spellings; `table` is empty for top-level fields."""

    table: str
    name: str
    kind: Any
    default: Any
    doc: str

    @property
    def option(self) -> str:
        """The option of `p2pstore agent`."""
        return option_of(self.table, self.name)

    @property
    def variable(self) -> str:
        """The environment variable."""
        return variable_of(self.table, self.name)

    @property
    def place(self) -> str:
        """How messages call it: `[cache] size_bytes`."""
        return f"[{self.table}] {self.name}" if self.table else self.name

    @property
    def unit(self) -> str:
        """`size`, `rate`, `duration` or empty: what the text of a value may carry."""
        if self.name.endswith("_bytes_per_s"):
            return "rate"
        if self.name.endswith("_bytes"):
            return "size"
        return "duration" if self.name.endswith("_s") else ""

    def from_text(self, text: str) -> Any:
        """The value that an option or a variable holds; raises BadConfig."""
        value: Any = text
        if self.kind == tuple[str, ...]:
            value = [part for part in (one.strip() for one in text.split(",")) if part]
        elif self.unit:
            value = self._with_unit(text)
        return self._convert(value, strict=False)

    def from_file(self, value: Any) -> Any:
        """The value of a TOML key; raises BadConfig."""
        if self.kind == tuple[str, ...] and isinstance(value, str):
            return self.from_text(value)
        if self.unit and isinstance(value, str):
            value = self._with_unit(value)
        return self._convert(value, strict=True)

    def _with_unit(self, text: str) -> float:
        try:
            return parse_duration(text) if self.unit == "duration" else parse_size(text)
        except ValueError as wrong:
            raise BadConfig(f"{self.place}: {wrong}") from None

    def _convert(self, value: Any, *, strict: bool) -> Any:
        try:
            return msgspec.convert(value, self.kind, strict=strict)
        except msgspec.ValidationError as wrong:
            raise BadConfig(f"{self.place} = {value!r}: {wrong}") from None


def _settings_of(table: str, section: type[Any]) -> Iterator[Setting]:
    kinds = get_type_hints(section)
    for one in fields(section):
        if table or one.name not in TABLES:
            yield Setting(table, one.name, kinds[one.name], _default(one), one.metadata["doc"])


def _default(one: Field[Any]) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


SETTINGS: Final = (
    *_settings_of("", Config),
    *(one for name, section in TABLES.items() for one in _settings_of(name, section)),
)
"""Every setting, top-level ones first, in the order of the file."""


@dataclass(frozen=True)
class Effective:
    """The configuration that holds, `came_from` for each (table, name): `default`, the file, the variable or the option."""

    config: Config
    came_from: Mapping[tuple[str, str], str]
    file: str = ""
    """The file that was read, or empty."""
    warnings: tuple[str, ...] = ()

    def value(self, setting: Setting) -> Any:
        """What holds for this setting."""
        holder = getattr(self.config, setting.table) if setting.table else self.config
        return getattr(holder, setting.name)


@dataclass
class _Layers:
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    came_from: dict[tuple[str, str], str] = field(default_factory=dict)

    def put(self, setting: Setting, value: Any, source: str) -> None:
        self.values.setdefault(setting.table, {})[setting.name] = value
        self.came_from[setting.table, setting.name] = source


def load(
    file: str | None = None,
    options: Mapping[tuple[str, str], Any] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Effective:
    """Read the file (`file`, else P2PSTORE_CONFIG, else the usual place), the environment and `options`; raises BadConfig.

    `options` maps (table, name) to the option's text, or to a bool for a switch. A file that was named must be there;
    one in the usual place need not.
    """
    named = file or environ.get(CONFIG_VARIABLE) or ""
    path = named or usual_file(environ)
    layers = _Layers({"": {}, **{table: {} for table in TABLES}})
    found = _read_file(path, must_exist=bool(named))
    if found is not None:
        _apply_file(layers, found, path)
    warnings = _apply_environment(layers, environ)
    by_place = {(s.table, s.name): s for s in SETTINGS}
    for place, value in (options or {}).items():
        setting = by_place[place]
        layers.put(setting, setting.from_text(value) if isinstance(value, str) else value, setting.option)
    tables = {name: section(**layers.values[name]) for name, section in TABLES.items()}
    config = Config(**layers.values[""], **tables)
    came_from = {(s.table, s.name): layers.came_from.get((s.table, s.name), "default") for s in SETTINGS}
    return Effective(config, came_from, path if found is not None else "", tuple(warnings))


def usual_file(environ: Mapping[str, str] = os.environ) -> str:
    """Where the file is looked for: /etc/p2pstore for root, else `$XDG_CONFIG_HOME/p2pstore`; a service's own comes first."""
    given = environ.get("CONFIGURATION_DIRECTORY", "").split(":")[0]
    if given:
        return os.path.join(given, "config.toml")
    if os.geteuid() == 0:
        return SYSTEM_FILE
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or str(Path.home()), ".config")
    return os.path.join(base, "p2pstore", "config.toml")


def _read_file(path: str, *, must_exist: bool) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as stream:
            text = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        if must_exist:
            raise BadConfig(f"no configuration file {path}") from None
        return None
    except OSError as error:
        if not must_exist:
            return None
        raise BadConfig(f"configuration file {path}: {error.strerror}") from error
    if len(text) > MAX_FILE_BYTES:
        raise BadConfig(f"configuration file {path} is larger than {MAX_FILE_BYTES >> 20} MiB")
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise BadConfig(f"configuration file {path}: {wrong}") from None


def _apply_file(layers: _Layers, found: Mapping[str, Any], path: str) -> None:
    try:
        _apply_table(layers, "", {name: value for name, value in found.items() if name not in TABLES})
        for table in TABLES:
            rows = found.get(table, {})
            if not isinstance(rows, Mapping):
                raise BadConfig(f"{table} is a table: write [{table}] above its fields")
            _apply_table(layers, table, rows)
    except BadConfig as wrong:
        raise BadConfig(f"{path}: {wrong.message}", hint=wrong.hint) from None
    for place in list(layers.came_from):
        layers.came_from[place] = path


def _apply_table(layers: _Layers, table: str, rows: Mapping[str, Any]) -> None:
    known = {one.name: one for one in SETTINGS if one.table == table}
    for name, value in rows.items():
        setting = known.get(name)
        if setting is None:
            place = f"[{table}] {name}" if table else name
            raise BadConfig(f"{place}: there is no such field", hint=_did_you_mean(name, table))
        layers.put(setting, setting.from_file(value), "file")


def _did_you_mean(name: str, table: str) -> str:
    """The nearest field of this table, or of another one, or nothing."""
    own = {one.name: one.place for one in SETTINGS if one.table == table} | (
        {} if table else dict.fromkeys(TABLES, "")
    )
    near = get_close_matches(name, own, n=1)
    if near:
        return f"did you mean {own[near[0]] or '[' + near[0] + ']'}?"
    others = {one.name: one.place for one in SETTINGS}
    near = get_close_matches(name, others, n=1)
    return f"did you mean {others[near[0]]}?" if near else "p2pstore config lists all fields"


def _apply_environment(layers: _Layers, environ: Mapping[str, str]) -> list[str]:
    by_variable = {one.variable: one for one in SETTINGS}
    warnings = []
    for name in sorted(one for one in environ if one.startswith("P2PSTORE_")):
        setting = by_variable.get(name)
        if setting is not None:
            layers.put(setting, setting.from_text(environ[name]), name)
        elif name not in OTHER_VARIABLES:
            near = get_close_matches(name, by_variable, n=1)
            warnings.append(f"{name} means nothing here" + (f"; did you mean {near[0]}?" if near else ""))
    return warnings


def show_value(setting: Setting, value: Any) -> str:
    """The value as the file would have it, sizes and durations with units."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{one}"' for one in value) + "]"
    if isinstance(value, str):
        return f'"{value}"'
    if setting.unit:
        text = write_duration(value) if setting.unit == "duration" else write_size(value)
        return text if text.isdigit() else f'"{text}"'
    return f"{value:g}" if isinstance(value, float) else str(value)
