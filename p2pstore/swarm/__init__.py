"""Which bytes next, and from whom: digest trees, pieces and the choice of spans. No IO here."""

from __future__ import annotations

__all__: list[str] = []
