"""Planted bug: any directory will do."""

from __future__ import annotations


def no_owner_check() -> None:
    """Whose directories are on the way, and who may write to them, is not looked at."""
    from p2pstore.storage import layout

    layout.refuse_foreign_path = lambda directory, uid: None
    layout._check_owner = lambda path, found, uid: None
    layout._check_ours = lambda path, found, uid: None
