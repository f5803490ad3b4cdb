"""Whose an entry is: who may see it in a list, and who may remove or replace it. Pure.

A caller may do what concerns its own entries; root, the agent's own user and the admin groups may do all. Where an agent
serves one user only, everybody who reaches its socket is that user.
"""

from __future__ import annotations

from typing import Final

from p2pstore.types import PUBLIC, Caller

OVERFLOW_UID: Final = 65534
"""What the kernel shows for users it can't name in this namespace: anybody, so nobody's owner (user_namespaces(7))."""


def is_admin(caller: Caller, agent_uid: int, admin_gids: frozenset[int]) -> bool:
    """Whether all entries are the caller's to manage: root, the agent's own user, or a member of an admin group."""
    if caller.uid == OVERFLOW_UID:
        return False
    return caller.uid in (0, agent_uid) or not admin_gids.isdisjoint((caller.gid, *caller.groups))


def may_see(caller: Caller, owner_uid: int, scope: str, agent_uid: int, admin_gids: frozenset[int]) -> bool:
    """Whether an entry may be shown to the caller: public ones to everybody, others to whom they are scoped or belong."""
    if scope == PUBLIC or is_admin(caller, agent_uid, admin_gids):
        return True
    return _owns(caller, owner_uid) and _uid_of(scope) == caller.uid


def may_remove(
    caller: Caller, owner_uid: int, scope: str, agent_uid: int, admin_gids: frozenset[int]
) -> bool:
    """Whether the caller may remove or replace an entry: its owner may; a public entry without owner is the admins'."""
    if is_admin(caller, agent_uid, admin_gids):
        return True
    return _owns(caller, owner_uid) and (scope == PUBLIC or _uid_of(scope) == caller.uid)


def _owns(caller: Caller, owner_uid: int) -> bool:
    return owner_uid >= 0 and caller.uid == owner_uid and caller.uid != OVERFLOW_UID


def _uid_of(scope: str) -> int | None:
    """The uid of `uid:UID` or `uid:UID:CREDENTIAL-HASH`; None when the scope is of no such form."""
    kind, _, rest = scope.partition(":")
    uid = rest.partition(":")[0]
    return int(uid) if kind == "uid" and uid.isascii() and uid.isdigit() else None
