"""Who may: which addresses are dialled, which data is private, whose entry it is. No IO here."""

from __future__ import annotations

__all__: list[str] = []
