"""Rules of security groups."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ostro.store.database import Tx
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
