"""Mirrors of directories: what LDAP servers said last of their users and groups.

A mirrored row is a user or group like any other, so that assignments, names and tokens need no directory. ``name`` of its row is its id and ``shown_name``
what the directory calls it, because a directory's names are its own affair. What a directory has no more is *gone*: hidden and of no use,
but remembered with its roles, in case the directory was only misread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.groups import GROUPS, Group
from ostro.store.table import Table
from ostro.store.users import DIRECTORY, GONE, USERS, User


class DirectoryId(msgspec.Struct, frozen=True):
    """What a directory calls one of its users or groups."""

    public_id: str
    domain_id: str
    kind: str
    local_id: str


DIRECTORY_IDS = Table("directory_ids", DirectoryId, key="public_id")


def mirror_user(tx: Tx, user: User, local_id: str) -> bool:
    """Make the row what the directory says; whether anything changed."""
    present = USERS.find(tx, id=user.id)
    if present is None:
        USERS.insert_new(tx, user)
        DIRECTORY_IDS.insert_new(tx, DirectoryId(user.id, user.domain_id, "user", local_id))
        return True
    return _update(tx, USERS, present, user, ("shown_name", "email", "description", "enabled", "source"))


def mirror_group(tx: Tx, group: Group, local_id: str) -> bool:
    """Make the row what the directory says; whether anything changed."""
    present = GROUPS.find(tx, id=group.id)
    if present is None:
        GROUPS.insert_new(tx, group)
        DIRECTORY_IDS.insert_new(tx, DirectoryId(group.id, group.domain_id, "group", local_id))
        return True
    return _update(tx, GROUPS, present, group, ("shown_name", "description", "source"))


def _update(tx: Tx, table: Table[Any], present: Any, wanted: Any, names: Sequence[str]) -> bool:
    changes = {name: getattr(wanted, name) for name in names if getattr(wanted, name) != getattr(present, name)}
    if changes:
        table.update(tx, present.id, **changes)
    return bool(changes)


def set_memberships(tx: Tx, domain_id: str, wanted: Mapping[str, set[str]], user_id: str = "") -> bool:
    """Make who is in which of the domain's mirrored groups what ``wanted`` (group -> users) says, of one user or of all; whether anything changed."""
    one, more = (" AND m.user_id = ?", (user_id,)) if user_id else ("", ())
    rows = tx.all(
        "SELECT m.group_id, m.user_id FROM group_members m JOIN groups g ON g.id = m.group_id"
        f" WHERE g.domain_id = ? AND g.source <> ''{one}",
        (domain_id, *more),
    )
    have = {(row[0], row[1]) for row in rows}
    want = {(group, user) for group, users in wanted.items() for user in users}
    for pair in have - want:
        tx.execute("DELETE FROM group_members WHERE group_id = ? AND user_id = ?", pair)
    for pair in want - have:
        tx.execute("INSERT INTO group_members (group_id, user_id) VALUES (?, ?) ON CONFLICT DO NOTHING", pair)
    return have != want


def list_mirrored(tx: Tx, table: str, domain_id: str) -> set[str]:
    """Ids of the users or groups that the domain's directory had when it was read last."""
    assert table in ("users", "groups")
    return {
        row[0] for row in tx.all(f"SELECT id FROM {table} WHERE domain_id = ? AND source = ?", (domain_id, DIRECTORY))
    }


def hide(tx: Tx, table: str, ids: Sequence[str]) -> None:
    """These are gone."""
    rows: Table[Any] = USERS if table == "users" else GROUPS
    for id_ in ids:
        rows.update(tx, id_, source=GONE, **({"enabled": False} if table == "users" else {}))


def forget_directory(tx: Tx, domain_id: str) -> None:
    """The domain has no directory any more: all that was mirrored is gone."""
    for table in ("users", "groups"):
        hide(tx, table, sorted(list_mirrored(tx, table, domain_id)))


def find_local_id(tx: Tx, public_id: str) -> str:
    """What the directory calls the user; empty when it isn't a directory's."""
    row = DIRECTORY_IDS.find(tx, public_id=public_id)
    return row.local_id if row else ""
