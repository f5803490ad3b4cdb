"""Who may see and remove what: the whole table."""

from __future__ import annotations

import pytest

from p2pstore.trust.ownership import OVERFLOW_UID, is_admin, may_remove, may_see
from p2pstore.types import PUBLIC, Caller

AGENT_UID = 900
ADMINS = frozenset({50, 60})

ROOT = Caller(0, 0, 1)
AGENT = Caller(AGENT_UID, 900, 1)
ADMIN_BY_GROUP = Caller(1500, 1500, 1, (7, 50))
ADMIN_BY_MAIN_GROUP = Caller(1501, 60, 1)
ANN = Caller(1000, 1000, 1, (7, 8))
BOB = Caller(1001, 1000, 1, (7, 8))
ANYBODY = Caller(OVERFLOW_UID, OVERFLOW_UID, 1, (50,))

# owner, scope, who may see, who may remove
ALL = {"root", "agent", "admin", "admin2", "ann", "bob", "anybody"}
POWER = {"root", "agent", "admin", "admin2"}
CALLERS = {
    "root": ROOT,
    "agent": AGENT,
    "admin": ADMIN_BY_GROUP,
    "admin2": ADMIN_BY_MAIN_GROUP,
    "ann": ANN,
    "bob": BOB,
    "anybody": ANYBODY,
}
TABLE = [
    ("public from an origin", -1, PUBLIC, ALL, POWER),
    ("a stored result of ann", 1000, PUBLIC, ALL, POWER | {"ann"}),
    ("private to ann", 1000, "uid:1000", POWER | {"ann"}, POWER | {"ann"}),
    ("private to ann's credential", 1000, "uid:1000:0123456789abcdef", POWER | {"ann"}, POWER | {"ann"}),
    ("private without owner", -1, "uid:1000", POWER, POWER),
    ("private to ann, owned by bob", 1001, "uid:1000", POWER, POWER),
    ("a scope like ann's uid", 1000, "uid:10000", POWER, POWER),
    ("a scope of another kind", 1000, "gid:1000", POWER, POWER),
    ("a scope without number", 1000, "uid:", POWER, POWER),
    ("a scope with odd digits", 1000, "uid:\u0661\u0660\u0660\u0660", POWER, POWER),
    ("a negative scope", -1, "uid:-1", POWER, POWER),
    ("nobody's by the overflow uid", OVERFLOW_UID, f"uid:{OVERFLOW_UID}", POWER, POWER),
    ("a result of the overflow uid", OVERFLOW_UID, PUBLIC, ALL, POWER),
]


@pytest.mark.parametrize("name", sorted(CALLERS))
@pytest.mark.parametrize(
    ("what", "owner_uid", "scope", "see", "remove"), TABLE, ids=[row[0] for row in TABLE]
)
def test_table(name: str, what: str, owner_uid: int, scope: str, see: set[str], remove: set[str]) -> None:
    caller = CALLERS[name]
    assert may_see(caller, owner_uid, scope, AGENT_UID, ADMINS) is (name in see)
    assert may_remove(caller, owner_uid, scope, AGENT_UID, ADMINS) is (name in remove)


def test_without_admin_groups_nobody_is_admin_by_group() -> None:
    assert [is_admin(caller, AGENT_UID, frozenset()) for caller in CALLERS.values()] == [
        True, True, False, False, False, False, False,
    ]  # fmt: skip


def test_an_agent_of_the_overflow_uid_trusts_nobody_by_it() -> None:
    assert not is_admin(ANYBODY, OVERFLOW_UID, ADMINS)


def test_in_user_mode_everybody_on_the_socket_is_the_agent() -> None:
    assert may_remove(ANN, -1, PUBLIC, ANN.uid, frozenset())
    assert may_see(ANN, 1001, "uid:1001", ANN.uid, frozenset())


def test_what_may_be_removed_may_be_seen() -> None:
    for _, owner_uid, scope, _, _ in TABLE:
        for caller in CALLERS.values():
            if may_remove(caller, owner_uid, scope, AGENT_UID, ADMINS):
                assert may_see(caller, owner_uid, scope, AGENT_UID, ADMINS)
