"""Planted bug: an unfinished download begins anew."""

from __future__ import annotations


def forget_the_log() -> None:
    """No piece log can be read."""
    from p2pstore.errors import IntegrityError
    from p2pstore.storage import partial, unfinished
    from p2pstore.wire import records

    def decode_log(data: bytes) -> records.PieceLog:
        raise IntegrityError("planted")

    for module in (records, unfinished, partial):
        if hasattr(module, "decode_log"):
            module.decode_log = decode_log
