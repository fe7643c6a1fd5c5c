"""Quotas: nobody has more than is allowed, where limits are not lowered below what there is, and sums that are kept are what there is."""

from __future__ import annotations

from collections.abc import Iterator

from ostro.model.quotas import DISK_GB, MEMORY_MB, SERVERS, VCPU
from ostro.services.identity.catalog import service_id
from ostro.services.network.quotas import TABLES
from ostro.store.database import Tx
from ostro.store.limits import Scope, of_project, read_limits
from ostro.store.ports import list_wrong_port_sums
from ostro.store.projects import PROJECTS
from ostro.store.servers import list_wrong_sums, sum_servers
from ostro.store.volumes import VOLUMES


def check_quotas(tx: Tx, now_us: int) -> list[str]:
    """See `ostro.testing.checkers`."""
    complaints = [
        f"the servers of project {id_} are not what they are noted to add up to" for id_ in list_wrong_sums(tx)
    ]
    complaints += [f"project {id_} has not as many ports as is noted" for id_ in list_wrong_port_sums(tx)]
    for project in PROJECTS.list(tx, is_domain=False, order="id"):
        limits: dict[str, dict[str, int]] = {}
        for service, name, used in _used(tx, project.id):
            if service not in limits:
                limits[service] = read_limits(tx, service_id(service), "", project_id=project.id)
            limit = limits[service].get(name, -1)
            if 0 <= limit < used:
                complaints.append(f"project {project.name} has {used} {name} of {limit}")
    return complaints


def _used(tx: Tx, project_id: str) -> Iterator[tuple[str, str, int]]:
    """(service, resource, amount)."""
    scope: Scope = of_project(project_id)
    for name, used in zip((SERVERS, VCPU, MEMORY_MB, DISK_GB), sum_servers(tx, scope), strict=True):
        yield "compute", name, used
    for name, table in TABLES.items():
        yield "network", name, table.count_where(tx, scope.on("project_id"), scope.params)
    yield "block-storage", "volumes", VOLUMES.count(tx, project_id=project_id)
