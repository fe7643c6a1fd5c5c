"""``/flavors/{id}/os-flavor-access``: which projects may use a flavor that is not public."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.service import COMPUTE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING, array, shape, strict
from ostro.services.compute import flavors

_TENANT = strict(
    {"tenant": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9-]*$"}}, ("tenant",)
)
ACTION = {
    "oneOf": [
        strict({"addTenantAccess": _TENANT}, ("addTenantAccess",)),
        strict({"removeTenantAccess": _TENANT}, ("removeTenantAccess",)),
    ]
}
ACCESS = shape({"flavor_access": array(shape({"flavor_id": STRING, "tenant_id": STRING}))})


def _view(flavor_id: str, project_ids: list[str]) -> dict[str, Any]:
    return {"flavor_access": [{"flavor_id": flavor_id, "tenant_id": project_id} for project_id in project_ids]}


@COMPUTE.route(
    "GET",
    "/v2.1/flavors/{flavor_id}/os-flavor-access",
    policy="os_compute_api:os-flavor-access",
    rule=Rule.ADMIN,
    response=ACCESS,
    summary="List the projects with access to a flavor",
)
async def list_flavor_access(req: Request) -> Reply:
    flavor_id = req.params["flavor_id"]
    return Reply(_view(flavor_id, await req.read(flavors.list_flavor_access, flavor_id)))


@COMPUTE.route(
    "POST",
    "/v2.1/flavors/{flavor_id}/action",
    policy="os_compute_api:os-flavor-access:add_tenant_access",
    rule=Rule.ADMIN,
    body=ACTION,
    response=ACCESS,
    summary="Give or take a project's access to a flavor",
)
async def change_flavor_access(req: Request) -> Reply:
    flavor_id = req.params["flavor_id"]
    [(action, given)] = req.body.items()
    change = flavors.add_flavor_access if action == "addTenantAccess" else flavors.remove_flavor_access
    return Reply(_view(flavor_id, await req.run(change, flavor_id, given["tenant"])))
