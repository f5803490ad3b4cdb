"""Whom to believe over TLS: the system's certificates, or those that the operator named instead."""

from __future__ import annotations

import ssl

from p2pstore.errors import BadConfig


def client_context(ca_file: str) -> ssl.SSLContext:
    """The context for https origins; `ca_file` (PEM) replaces the system's certificates. Raises BadConfig."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as exc:
        raise BadConfig(f"[origin] ca_file = {ca_file!r} can't be read: {exc}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
