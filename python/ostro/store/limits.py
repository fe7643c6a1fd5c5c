"""Unified limits: registered limits, which hold for everybody, and limits of single projects and domains."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class RegisteredLimit(msgspec.Struct, frozen=True):
    """The default of a resource of a service, in one region or (empty) in all."""

    id: str
    service_id: str
    region_id: str
    resource_name: str
    default_limit: int
    description: str


class Limit(msgspec.Struct, frozen=True):
    """What one project, or one domain, has instead."""

    id: str
    project_id: str
    domain_id: str
    service_id: str
    region_id: str
    resource_name: str
    resource_limit: int
    description: str


REGISTERED_LIMITS = Table("registered_limits", RegisteredLimit, noun="registered limit")
LIMITS = Table("limits", Limit)


class Scope(NamedTuple):
    """Whose rows are counted, as a condition on a column that holds a project's id."""

    sql: str
    """With ``{}`` for the column."""
    params: tuple[str, ...]

    def on(self, column: str) -> str:
        """The condition."""
        return self.sql.format(column)


def of_project(project_id: str) -> Scope:
    """One project's."""
    return Scope("{} = ?", (project_id,))


def of_domain(domain_id: str) -> Scope:
    """Those of all projects of a domain."""
    return Scope("{} IN (SELECT p.id FROM projects p WHERE p.domain_id = ?)", (domain_id,))


_LIMITS = (
    "SELECT resource_name, region_id, 0, default_limit FROM registered_limits"
    " WHERE service_id = ? AND region_id IN ('', ?)"
    " UNION ALL SELECT resource_name, region_id, 1, resource_limit FROM limits"
    " WHERE project_id = ? AND domain_id = ? AND service_id = ? AND region_id IN ('', ?)"
)


def foresee_limits(tx: Tx, service_id: str, region: str, project_id: str) -> None:
    """``read_limits`` will be called for the project (``Tx.foresee``)."""
    tx.foresee(_LIMITS, (service_id, region, project_id, "", service_id, region))


def read_limits(tx: Tx, service_id: str, region: str, *, project_id: str = "", domain_id: str = "") -> dict[str, int]:
    """What holds for a project, a domain, or (neither) everybody, of one service: one statement."""
    rows = tx.all(_LIMITS, (service_id, region, project_id, domain_id, service_id, region))
    # The weakest first: registered, then own; of all regions, then of this one.
    return {row[0]: int(row[3]) for row in sorted(rows, key=lambda row: (row[2], row[1]))}


class ClassQuota(msgspec.Struct, frozen=True):
    """A number that an operator has noted under a class other than ``default``. Nothing goes by it, as upstream has it."""

    service_id: str
    class_name: str
    resource_name: str
    hard_limit: int


CLASS_QUOTAS = Table("class_quotas", ClassQuota, key="class_name")


def put_class_quota(tx: Tx, quota: ClassQuota) -> None:
    """Note a number, in place of the one that is there."""
    tx.execute(
        "INSERT INTO class_quotas (service_id, class_name, resource_name, hard_limit) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (service_id, class_name, resource_name) DO UPDATE SET hard_limit = excluded.hard_limit",
        (quota.service_id, quota.class_name, quota.resource_name, quota.hard_limit),
    )
