"""Sizes, rates and durations as people write and read them; plain functions, no IO.

`K M G T P` and `KiB ...` are powers of 1024, `KB MB ...` powers of 1000; a bare number is bytes or seconds.
"""

from __future__ import annotations

import re
from typing import Final

_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)(b?)(?:/s)?\s*\Z", re.IGNORECASE)
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|[smhdw]?)\s*")
_POWERS: Final = " kmgtp"
_SECONDS: Final = {
    "": 1.0,
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def parse_size(text: str) -> int:
    """Bytes from `10G`, `512KiB`, `1.5T`, `300MB` or `4096`; raises ValueError."""
    match = _SIZE.match(text)
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"not a size: {text!r}; write for example 512M, 10G or 4096")
    base = 1000 if match[2] and match[4] and not match[3] else 1024
    # Whole numbers stay whole: a float holds only 53 bits of them.
    number = float(match[1]) if "." in match[1] else int(match[1])
    return int(number * base ** _POWERS.index(match[2].lower() or " "))


def parse_duration(text: str) -> float:
    """Seconds from `30s`, `500ms`, `1h30m`, `2d` or `45`; raises ValueError."""
    rest, total = text.strip().lower(), 0.0
    wrong = ValueError(f"not a duration: {text!r}; write for example 30s, 5m or 1h30m")
    if not rest:
        raise wrong
    while rest:
        match = _PART.match(rest)
        if match is None:
            raise wrong
        total += float(match[1]) * _SECONDS[match[2]]
        rest = rest[match.end() :]
    return total


def parse_wait(text: str) -> float:
    """Seconds as `parse_duration` reads them, at least a millisecond: how long somebody waits; raises ValueError."""
    seconds = parse_duration(text)
    if seconds < 0.001:
        raise ValueError(
            f"too short a time to wait: {text!r}; leave the option out to wait as long as it takes"
        )
    return seconds


def show_size(size_bytes: float) -> str:
    """`17 B`, `4.0 GiB`, `310 MiB`: two or three figures."""
    value, unit = float(size_bytes), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    if unit == 0:
        return f"{int(value)} B"
    return f"{value:.1f} {_UNITS[unit]}" if value < 99.95 else f"{value:.0f} {_UNITS[unit]}"


def show_rate(size_bytes: float, seconds: float) -> str:
    """`310 MiB/s`; of no time at all, the rate of a microsecond."""
    return show_size(size_bytes / max(seconds, 1e-6)) + "/s"


def show_seconds(seconds: float) -> str:
    """`0.4 ms`, `13.0 s`, `2 min 13 s`, `5 h 02 min`, `3 d 04 h`."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 99.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 6000:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def write_size(size_bytes: int) -> str:
    """The shortest text that `parse_size` reads as exactly this: `256M`, `10G`, `1000`."""
    power = 0
    while size_bytes and size_bytes % 1024 == 0 and power < len(_POWERS) - 1:
        size_bytes, power = size_bytes // 1024, power + 1
    return f"{size_bytes}{_POWERS[power].upper().strip()}"


def write_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as exactly this: `30s`, `1d`, `500ms`, `0`."""
    if seconds == 0:
        return "0"
    for unit in ("w", "d", "h", "m"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:g}{unit}"
    whole_ms = seconds < 1 and (seconds * 1000).is_integer()
    return f"{seconds * 1000:g}ms" if whole_ms else f"{seconds:.12g}s"
