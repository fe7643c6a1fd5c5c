"""Rules of security groups."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ostro.store.database import Tx
from ostro.store.paging import Where
from ostro.store.table import Table


class SecurityGroupRule(msgspec.Struct, frozen=True):
    """One rule. None is any. ``fingerprint`` is what it admits, normalised, and unique in its group."""

    id: str
    security_group_id: str
    project_id: str
    description: str
    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_ip_prefix: str | None
    remote_group_id: str | None
    fingerprint: str
    revision_number: int
    created_at_us: int
    updated_at_us: int


SECURITY_GROUP_RULES = Table("security_group_rules", SecurityGroupRule, noun="security group rule")


def map_group_rules(tx: Tx, group_ids: Iterable[str]) -> dict[str, list[SecurityGroupRule]]:
    """The rules of each group, the oldest first."""
    out: dict[str, list[SecurityGroupRule]] = {id_: [] for id_ in group_ids}
    if out:
        for rule in SECURITY_GROUP_RULES.list(tx, security_group_id=list(out), order="created_at_us, id"):
            out[rule.security_group_id].append(rule)
    return out


def list_referring_groups(tx: Tx, group_id: str) -> list[str]:
    """Groups with rules that name this group as the other side."""
    rows = tx.all(
        "SELECT DISTINCT security_group_id FROM security_group_rules WHERE remote_group_id = ?"
        " ORDER BY security_group_id",
        (group_id,),
    )
    return [row[0] for row in rows]


def find_duplicate(tx: Tx, group_id: str, fingerprint: str) -> str | None:
    """The id of the group's rule that admits the same."""
    rule = SECURITY_GROUP_RULES.find(tx, security_group_id=group_id, fingerprint=fingerprint)
    return rule.id if rule else None


def in_groups_of(project_id: str) -> Where:
    """Narrows a list to the rules of a project and those in its groups."""
    return Where(
        "security_group_rules.project_id = ? OR security_group_rules.security_group_id IN"
        " (SELECT id FROM security_groups WHERE project_id = ?)",
        (project_id, project_id),
    )


def in_default_groups(wanted: bool) -> Where:
    """Narrows a list to rules of default groups, or of all others."""
    word = "IN" if wanted else "NOT IN"
    return Where(f"security_group_rules.security_group_id {word} (SELECT id FROM security_groups WHERE is_default = 1)")
