"""Groups of users."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class Group(msgspec.Struct, frozen=True):
    """A group; its roles are its members'."""

    id: str
    name: str
    domain_id: str
    description: str
    extra: dict[str, Any]
    source: str = ""
    """Where the group comes from, when it isn't from here, as of a user."""
    shown_name: str = ""
    """Its name then; ``name`` is its id."""

    @property
    def display_name(self) -> str:
        """The name that is shown."""
        return self.shown_name or self.name


GROUPS = Table("groups", Group)


def add_member(tx: Tx, group_id: str, user_id: str) -> None:
    """Put a user into a group. Idempotent."""
    tx.execute(
        "INSERT INTO group_members (group_id, user_id) VALUES (?, ?) ON CONFLICT DO NOTHING", (group_id, user_id)
    )


def remove_member(tx: Tx, group_id: str, user_id: str) -> bool:
    """Undo ``add_member``; whether the user was in it."""
    return tx.execute("DELETE FROM group_members WHERE group_id = ? AND user_id = ?", (group_id, user_id)) > 0


def is_member(tx: Tx, group_id: str, user_id: str) -> bool:
    """Whether the user is in the group."""
    return tx.one("SELECT 1 FROM group_members WHERE group_id = ? AND user_id = ?", (group_id, user_id)) is not None


_HOLDS = "p.authorization_ttl IS NOT NULL AND m.verified_at_us + CAST(p.authorization_ttl AS BIGINT) * 60000000 > ?"
"""Whether an identity provider's word of a membership ``m`` still holds at a time."""
MEMBERS_OF = f"""
SELECT user_id FROM group_members WHERE group_id = ?
UNION
SELECT m.user_id FROM expiring_members m JOIN identity_providers p ON p.id = m.idp_id WHERE m.group_id = ? AND {_HOLDS}
"""
"""The users of a group, for ``list_member_ids``'s parameters."""


def list_member_ids(tx: Tx, group_id: str, now_us: int) -> list[str]:
    """Ids of the group's users: for good, or for as long as an identity provider's word holds."""
    return [row[0] for row in tx.all(MEMBERS_OF + "ORDER BY 1", (group_id, group_id, now_us))]


def list_expiries(tx: Tx, user_id: str) -> dict[str, int]:
    """Group -> when the user's membership in it ends, of those that an identity provider has vouched for."""
    rows = tx.all(
        "SELECT m.group_id, m.verified_at_us + CAST(coalesce(p.authorization_ttl, 0) AS BIGINT) * 60000000"
        " FROM expiring_members m JOIN identity_providers p ON p.id = m.idp_id WHERE m.user_id = ?",
        (user_id,),
    )
    return {row[0]: row[1] for row in rows}


_GROUPS_OF = f"""
SELECT group_id FROM group_members WHERE user_id = ?
UNION
SELECT m.group_id FROM expiring_members m JOIN identity_providers p ON p.id = m.idp_id
WHERE m.user_id = ? AND {_HOLDS}
ORDER BY 1
"""


def list_group_ids_of(tx: Tx, user_id: str, now_us: int) -> list[str]:
    """Ids of the groups that the user is in: for good, or for as long as an identity provider's word holds."""
    return [row[0] for row in tx.all(_GROUPS_OF, (user_id, user_id, now_us))]


def verify_member(tx: Tx, group_id: str, user_id: str, idp_id: str, now_us: int) -> None:
    """An identity provider says now that the user is in the group."""
    tx.execute(
        "INSERT INTO expiring_members (user_id, group_id, idp_id, verified_at_us) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (user_id, group_id) DO UPDATE SET verified_at_us = excluded.verified_at_us, idp_id = excluded.idp_id",
        (user_id, group_id, idp_id, now_us),
    )
