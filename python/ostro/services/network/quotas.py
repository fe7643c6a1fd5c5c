"""The network service's quotas: unified limits under Neutron's names, which are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ostro.model.context import Context
from ostro.model.errors import Invalid
from ostro.model.quotas import DEFAULTS, UNLIMITED
from ostro.services.network.access import owns, require_owner
from ostro.services.network.errors import NetworkConflict
from ostro.services.quotas import (
    find_over,
    foresee_limits,
    get_default_limits,
    get_limits,
    list_limited_projects,
    reset_limits,
    set_limits,
)
from ostro.store.database import Tx
from ostro.store.limits import Scope, of_project
from ostro.store.networks import NETWORKS
from ostro.store.ports import PORTS, foresee_ports_sum, sum_ports
from ostro.store.security_group_rules import SECURITY_GROUP_RULES
from ostro.store.security_groups import SECURITY_GROUPS
from ostro.store.subnets import SUBNETS
from ostro.store.table import Table

SERVICE = "network"
TABLES: dict[str, Table[Any]] = {
    "network": NETWORKS,
    "subnet": SUBNETS,
    "port": PORTS,
    "security_group": SECURITY_GROUPS,
    "security_group_rule": SECURITY_GROUP_RULES,
}
"""What is counted, by resource; each table has an index by project. Ports, of which there are most, are added up by the database."""
RESOURCES = tuple(DEFAULTS[SERVICE])
"""What a quota shows. Of those that this service doesn't have, none is used."""


def check_quota(tx: Tx, context: Context, project_id: str, resource: str, more: int = 1) -> None:
    """Raise NetworkConflict, in Neutron's words, unless the project may have so many more."""

    def count(tx: Tx, scope: Scope) -> dict[str, int]:
        return {resource: _used(tx, resource, scope)}

    if find_over(tx, context, SERVICE, project_id, {resource: more}, count):
        raise NetworkConflict("OverQuota", f"Quota exceeded for resources: ['{resource}'].")


def _used(tx: Tx, resource: str, scope: Scope) -> int:
    if resource == "port":
        return sum_ports(tx, scope)
    return TABLES[resource].count_where(tx, scope.on("project_id"), scope.params)


def foresee_port_quota(tx: Tx, context: Context, project_id: str) -> None:
    """``check_quota`` will be called for ports (``Tx.foresee``)."""
    foresee_limits(tx, context, SERVICE, project_id)
    foresee_ports_sum(tx, of_project(project_id))


def check_quotas(tx: Tx, context: Context, project_ids: Iterable[str], resource: str) -> None:
    """The same for the objects of one request, by the project that each is for; an empty one is the actor's own.

    Whether the actor may act for it is another question, whose answer doesn't depend on the project's quota.
    """
    for project_id, more in Counter(id_ or context.project_id for id_ in project_ids).items():
        if owns(context, project_id):
            check_quota(tx, context, project_id, resource, more)


def check_quota_reader(context: Context, project_id: str) -> None:
    """Raise NetworkForbidden unless the actor may see the project's quota."""
    require_owner(context, project_id, "get_quota")


def _named(limits: Mapping[str, int]) -> dict[str, int]:
    return {name: limits.get(name, UNLIMITED) for name in RESOURCES}


def get_quota(tx: Tx, context: Context, project_id: str) -> dict[str, int]:
    """A project's limits. Raises NetworkForbidden."""
    check_quota_reader(context, project_id)
    return _named(get_limits(tx, context, SERVICE, project_id))


def get_default_quota(tx: Tx, context: Context, project_id: str) -> dict[str, int]:
    """The limits of projects that have none of their own. Raises NetworkForbidden."""
    check_quota_reader(context, project_id)
    return _named(get_default_limits(tx, context, SERVICE))


def list_quotas(tx: Tx, context: Context) -> list[dict[str, Any]]:
    """The limits of the projects that have some of their own."""
    return [
        {"project_id": project_id, "tenant_id": project_id, **get_quota(tx, context, project_id)}
        for project_id in list_limited_projects(tx, SERVICE)
    ]


def _count(tx: Tx, project_id: str) -> dict[str, int]:
    scope = of_project(project_id)
    used = {name: _used(tx, name, scope) for name in TABLES}
    return {name: used.get(name, 0) for name in RESOURCES}


def get_quota_details(tx: Tx, context: Context, project_id: str) -> tuple[dict[str, int], dict[str, int]]:
    """(limits, what is used) of a project. Raises NetworkForbidden."""
    return get_quota(tx, context, project_id), _count(tx, project_id)


def update_quota(
    tx: Tx, context: Context, project_id: str, wanted: Mapping[str, int], *, check_used: bool
) -> dict[str, int]:
    """Give a project limits of its own. With ``check_used``, raises Invalid for less than there is already."""
    used = _count(tx, project_id) if check_used else {}
    for name, number in sorted(wanted.items()):
        if 0 <= number < used.get(name, 0):
            raise Invalid(
                f"Quota limit {number} for {name} must be greater than or equal to already used {used[name]}."
            )
    set_limits(tx, context, SERVICE, project_id, wanted)
    return get_quota(tx, context, project_id)


def reset_quota(tx: Tx, context: Context, project_id: str) -> None:
    """Take a project's own limits away."""
    reset_limits(tx, context, SERVICE, project_id)
