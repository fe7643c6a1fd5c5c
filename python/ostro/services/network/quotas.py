"""How much of each network resource a project uses. Limits are not implemented: everything is unlimited."""

from __future__ import annotations

from typing import Any

from ostro.model.context import Context
from ostro.services.network.access import require_owner
from ostro.store.database import Tx
from ostro.store.networks import NETWORKS
from ostro.store.ports import PORTS
from ostro.store.security_group_rules import SECURITY_GROUP_RULES
from ostro.store.security_groups import SECURITY_GROUPS
from ostro.store.subnets import SUBNETS
from ostro.store.table import Table

UNLIMITED = -1
TABLES: dict[str, Table[Any]] = {
    "network": NETWORKS,
    "subnet": SUBNETS,
    "port": PORTS,
    "security_group": SECURITY_GROUPS,
    "security_group_rule": SECURITY_GROUP_RULES,
}
NOT_HERE = ("subnetpool", "router", "floatingip", "rbac_policy")
"""Resources that clients expect to see in a quota and that this service doesn't have: none is used."""
RESOURCES = (*TABLES, *NOT_HERE)


def check_quota_reader(context: Context, project_id: str) -> None:
    """Raise NetworkForbidden unless the actor may see the project's quota."""
    require_owner(context, project_id, "get_quota")


def count_usage(tx: Tx, context: Context, project_id: str) -> dict[str, int]:
    """What the project has, by resource."""
    check_quota_reader(context, project_id)
    used = {name: table.count(tx, project_id=project_id) for name, table in TABLES.items()}
    return {name: used.get(name, 0) for name in RESOURCES}
