"""Planted bug: every address is fine."""

from __future__ import annotations


def open_gate() -> None:
    """No address is refused."""
    from p2pstore.sources import dial

    dial.judge_address = lambda *args, **more: None
