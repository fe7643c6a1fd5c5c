"""OS-EP-FILTER: endpoint groups, and the projects that endpoints and groups are tied to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostro.model.context import Context
from ostro.model.errors import Invalid, NotFound
from ostro.services.identity.access import need_project
from ostro.services.identity.catalog import ENDPOINT, fits
from ostro.services.identity.resources import Resource
from ostro.store.catalog import ENDPOINTS, Endpoint
from ostro.store.database import Tx
from ostro.store.endpoint_groups import (
    ENDPOINT_GROUPS,
    ENDPOINT_TIES,
    GROUP_TIES,
    EndpointGroup,
    EndpointTie,
    GroupTie,
)
from ostro.store.projects import PROJECTS, Project
from ostro.store.tokens import TOPIC

FILTERS = frozenset(("service_id", "region_id", "interface"))


def _check(_tx: Tx, _context: Context, fields: Mapping[str, Any], _present: EndpointGroup | None) -> None:
    if set(fields["filters"]) - FILTERS:
        raise Invalid(f"An endpoint group filters by {', '.join(sorted(FILTERS))}.")


ENDPOINT_GROUP: Resource[EndpointGroup] = Resource(
    ENDPOINT_GROUPS,
    "endpoint_group",
    "endpoint_groups",
    {"name": "", "description": "", "filters": {}},
    check=_check,
    rings=True,
)


def list_endpoints_of_group(tx: Tx, context: Context, group_id: str) -> list[Endpoint]:
    """The endpoints that the group's filters let in."""
    context.enforce("identity:list_endpoints_associated_with_endpoint_group")
    group = ENDPOINT_GROUP.need(tx, group_id)
    return [endpoint for endpoint in ENDPOINTS.list(tx, order="id") if fits(endpoint, group.filters)]


def list_projects_of_group(tx: Tx, context: Context, group_id: str) -> list[Project]:
    """The projects that the group is for."""
    context.enforce("identity:list_projects_associated_with_endpoint_group")
    ENDPOINT_GROUP.need(tx, group_id)
    ids = [tie.project_id for tie in GROUP_TIES.list(tx, endpoint_group_id=group_id)]
    return PROJECTS.list(tx, id=ids, order="id")


def list_groups_of_project(tx: Tx, context: Context, project_id: str) -> list[EndpointGroup]:
    """The groups that are for a project."""
    context.enforce("identity:list_endpoint_groups_for_project")
    need_project(tx, project_id)
    ids = [tie.endpoint_group_id for tie in GROUP_TIES.list(tx, project_id=project_id)]
    return ENDPOINT_GROUPS.list(tx, id=ids, order="id")


def tie_group(tx: Tx, context: Context, group_id: str, project_id: str) -> None:
    """Make a group one of a project's. Idempotent."""
    context.enforce("identity:add_endpoint_group_to_project")
    ENDPOINT_GROUP.need(tx, group_id)
    need_project(tx, project_id)
    GROUP_TIES.insert_new(tx, GroupTie(group_id, project_id))
    tx.ring(TOPIC)


def get_group_tie(tx: Tx, context: Context, group_id: str, project_id: str) -> EndpointGroup:
    """The group, if it is one of the project's. Raises NotFound."""
    context.enforce("identity:get_endpoint_group_in_project")
    group = ENDPOINT_GROUP.need(tx, group_id)
    need_project(tx, project_id)
    if GROUP_TIES.find(tx, endpoint_group_id=group_id, project_id=project_id) is None:
        raise NotFound("endpoint group", group_id, "Could not find Endpoint Group Association.")
    return group


def untie_group(tx: Tx, context: Context, group_id: str, project_id: str) -> None:
    """Undo ``tie_group``. Raises NotFound."""
    context.enforce("identity:remove_endpoint_group_from_project")
    ENDPOINT_GROUP.need(tx, group_id)
    need_project(tx, project_id)
    if not GROUP_TIES.delete_where(tx, endpoint_group_id=group_id, project_id=project_id):
        raise NotFound("endpoint group", group_id, "Could not find Endpoint Group Association.")
    tx.ring(TOPIC)


def tie_endpoint(tx: Tx, context: Context, project_id: str, endpoint_id: str) -> None:
    """Make an endpoint one of a project's. Idempotent."""
    context.enforce("identity:add_endpoint_to_project")
    ENDPOINT.need(tx, endpoint_id)
    need_project(tx, project_id)
    ENDPOINT_TIES.insert_new(tx, EndpointTie(project_id, endpoint_id))
    tx.ring(TOPIC)


def check_endpoint_tie(tx: Tx, context: Context, project_id: str, endpoint_id: str) -> None:
    """Raise NotFound unless the endpoint is tied to the project."""
    context.enforce("identity:check_endpoint_in_project")
    ENDPOINT.need(tx, endpoint_id)
    need_project(tx, project_id)
    if ENDPOINT_TIES.find(tx, project_id=project_id, endpoint_id=endpoint_id) is None:
        raise NotFound("endpoint", endpoint_id, f"Endpoint {endpoint_id} not found in project {project_id}.")


def untie_endpoint(tx: Tx, context: Context, project_id: str, endpoint_id: str) -> None:
    """Undo ``tie_endpoint``. Raises NotFound."""
    context.enforce("identity:remove_endpoint_from_project")
    if not ENDPOINT_TIES.delete_where(tx, project_id=project_id, endpoint_id=endpoint_id):
        raise NotFound("endpoint", endpoint_id, f"Endpoint {endpoint_id} not found in project {project_id}.")
    tx.ring(TOPIC)


def list_endpoints_of_project(tx: Tx, context: Context, project_id: str) -> list[Endpoint]:
    """The endpoints that a project is tied to, directly or by groups."""
    context.enforce("identity:list_endpoints_for_project")
    need_project(tx, project_id)
    direct = {tie.endpoint_id for tie in ENDPOINT_TIES.list(tx, project_id=project_id)}
    group_ids = [tie.endpoint_group_id for tie in GROUP_TIES.list(tx, project_id=project_id)]
    filters = [group.filters for group in ENDPOINT_GROUPS.list(tx, id=group_ids)]
    endpoints = ENDPOINTS.list(tx, order="id")
    return [e for e in endpoints if e.id in direct or any(fits(e, wanted) for wanted in filters)]


def list_projects_of_endpoint(tx: Tx, context: Context, endpoint_id: str) -> list[Project]:
    """The projects that an endpoint is tied to."""
    context.enforce("identity:list_projects_for_endpoint")
    ENDPOINT.need(tx, endpoint_id)
    return PROJECTS.list(tx, id=[t.project_id for t in ENDPOINT_TIES.list(tx, endpoint_id=endpoint_id)], order="id")
