"""Bytes from origins: one first answer, then ranges of it; see docs/reference/origins.md for every rule."""
