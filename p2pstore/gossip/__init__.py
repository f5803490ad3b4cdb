"""Who is there: membership by rumour, probes and suspicion. No IO here."""

from __future__ import annotations

__all__: list[str] = []
