"""Security groups and who is a member of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class SecurityGroup(msgspec.Struct, frozen=True):
    """A security group. Each project has at most one ``is_default``."""

    id: str
    project_id: str
    name: str
    description: str
    stateful: bool
    is_default: bool
    tags: list[str]
    revision_number: int
    created_at_us: int
    updated_at_us: int


SECURITY_GROUPS = Table("security_groups", SecurityGroup, noun="security group")


def has_members(tx: Tx, group_id: str) -> bool:
    """Whether any port uses the group."""
    return tx.one("SELECT 1 FROM memberships WHERE security_group_id = ? LIMIT 1", (group_id,)) is not None


def list_group_hosts(tx: Tx, group_id: str) -> list[str]:
    """Hosts with ports, or where ports arrive, that use the group."""
    rows = tx.all(
        "SELECT DISTINCT ports.host_id, ports.arriving_host_id FROM memberships"
        " JOIN ports ON ports.id = memberships.port_id WHERE memberships.security_group_id = ? AND ports.host_id <> ''",
        (group_id,),
    )
    return sorted({host_id for row in rows for host_id in row if host_id})


def groups_on_host(tx: Tx, host_id: str, group_ids: Iterable[str]) -> set[str]:
    """Those of the groups that ports on the host use."""
    ids = list(group_ids)
    if not ids:
        return set()
    marks = ", ".join("?" * len(ids))
    rows = tx.all(
        "SELECT DISTINCT memberships.security_group_id FROM memberships JOIN ports ON ports.id = memberships.port_id"
        f" WHERE memberships.security_group_id IN ({marks}) AND ports.host_id = ?",
        (*ids, host_id),
    )
    return {row[0] for row in rows}


def map_groups(tx: Tx, ids: Sequence[str]) -> dict[str, SecurityGroup]:
    """Groups by id; unknown ids are left out."""
    return SECURITY_GROUPS.by_key(SECURITY_GROUPS.list(tx, id=list(ids))) if ids else {}
