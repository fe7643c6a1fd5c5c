"""``/v3/OS-EP-FILTER``: endpoint groups, and what projects are tied to."""

from __future__ import annotations

from ostro.http.identity import projects as project_routes
from ostro.http.identity.catalog import ENDPOINTS
from ostro.http.identity.resources import Wire, declare_resource
from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import DESCRIPTION, NAME_255, list_body, list_shape
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, shape
from ostro.services.identity import endpoint_groups
from ostro.services.identity.endpoint_groups import ENDPOINT_GROUP

ROOT = "/v3/OS-EP-FILTER"
GROUP = ROOT + "/endpoint_groups/{group_id}"
GROUP_IN_PROJECT = GROUP + "/projects/{project_id}"
PROJECT = ROOT + "/projects/{project_id}"
ENDPOINT_IN_PROJECT = PROJECT + "/endpoints/{endpoint_id}"

ENDPOINT_GROUPS = Wire(
    ENDPOINT_GROUP,
    "OS-EP-FILTER/endpoint_groups",
    {"name": NAME_255, "description": DESCRIPTION, "filters": ANY_OBJECT},
    required=("name", "filters"),
    names=("name",),
)
declare_resource(ENDPOINT_GROUPS)
ENDPOINT_LIST = list_shape("endpoints", ENDPOINTS.schema)
PROJECT_LIST = list_shape("projects", project_routes.PROJECT)


@IDENTITY.route(
    "GET",
    GROUP + "/endpoints",
    policy="identity:list_endpoints_associated_with_endpoint_group",
    rule=Rule.POLICY,
    response=ENDPOINT_LIST,
    summary="List the endpoints of an endpoint group",
)
async def list_endpoints_of_group(req: Request) -> Reply:
    found = await req.read(endpoint_groups.list_endpoints_of_group, req.params["group_id"])
    return Reply(list_body(req, "endpoints", [ENDPOINTS.view(req, row) for row in found]))


@IDENTITY.route(
    "GET",
    GROUP + "/projects",
    policy="identity:list_projects_associated_with_endpoint_group",
    rule=Rule.POLICY,
    response=PROJECT_LIST,
    summary="List the projects that an endpoint group is for",
)
async def list_projects_of_group(req: Request) -> Reply:
    found = await req.read(endpoint_groups.list_projects_of_group, req.params["group_id"])
    return Reply(list_body(req, "projects", [project_routes.view(req, row) for row in found]))


@IDENTITY.route(
    "GET",
    PROJECT + "/endpoint_groups",
    policy="identity:list_endpoint_groups_for_project",
    rule=Rule.POLICY,
    response=list_shape("endpoint_groups", ENDPOINT_GROUPS.schema),
    summary="List the endpoint groups of a project",
)
async def list_groups_of_project(req: Request) -> Reply:
    found = await req.read(endpoint_groups.list_groups_of_project, req.params["project_id"])
    return Reply(list_body(req, "endpoint_groups", [ENDPOINT_GROUPS.view(req, row) for row in found]))


@IDENTITY.route(
    "PUT",
    GROUP_IN_PROJECT,
    policy="identity:add_endpoint_group_to_project",
    rule=Rule.POLICY,
    status=204,
    summary="Tie an endpoint group to a project",
)
async def tie_group(req: Request) -> Reply:
    await req.run(endpoint_groups.tie_group, req.params["group_id"], req.params["project_id"])
    return Reply()


@IDENTITY.route(
    "GET",
    GROUP_IN_PROJECT,
    policy="identity:get_endpoint_group_in_project",
    rule=Rule.POLICY,
    response=shape({"endpoint_group": ENDPOINT_GROUPS.schema}),
    summary="Show an endpoint group if it is tied to a project",
)
async def show_group_tie(req: Request) -> Reply:
    row = await req.read(endpoint_groups.get_group_tie, req.params["group_id"], req.params["project_id"])
    return Reply({"endpoint_group": ENDPOINT_GROUPS.view(req, row)})


@IDENTITY.route(
    "DELETE",
    GROUP_IN_PROJECT,
    policy="identity:remove_endpoint_group_from_project",
    rule=Rule.POLICY,
    status=204,
    summary="Untie an endpoint group from a project",
)
async def untie_group(req: Request) -> Reply:
    await req.run(endpoint_groups.untie_group, req.params["group_id"], req.params["project_id"])
    return Reply()


@IDENTITY.route(
    "PUT",
    ENDPOINT_IN_PROJECT,
    policy="identity:add_endpoint_to_project",
    rule=Rule.POLICY,
    status=204,
    summary="Tie an endpoint to a project",
)
async def tie_endpoint(req: Request) -> Reply:
    await req.run(endpoint_groups.tie_endpoint, req.params["project_id"], req.params["endpoint_id"])
    return Reply()


@IDENTITY.route(
    "GET",
    ENDPOINT_IN_PROJECT,
    policy="identity:check_endpoint_in_project",
    rule=Rule.POLICY,
    status=204,
    summary="Check that an endpoint is tied to a project",
)
async def check_endpoint_tie(req: Request) -> Reply:
    await req.read(endpoint_groups.check_endpoint_tie, req.params["project_id"], req.params["endpoint_id"])
    return Reply()


@IDENTITY.route(
    "DELETE",
    ENDPOINT_IN_PROJECT,
    policy="identity:remove_endpoint_from_project",
    rule=Rule.POLICY,
    status=204,
    summary="Untie an endpoint from a project",
)
async def untie_endpoint(req: Request) -> Reply:
    await req.run(endpoint_groups.untie_endpoint, req.params["project_id"], req.params["endpoint_id"])
    return Reply()


@IDENTITY.route(
    "GET",
    PROJECT + "/endpoints",
    policy="identity:list_endpoints_for_project",
    rule=Rule.POLICY,
    response=ENDPOINT_LIST,
    summary="List the endpoints that a project is tied to",
)
async def list_endpoints_of_project(req: Request) -> Reply:
    found = await req.read(endpoint_groups.list_endpoints_of_project, req.params["project_id"])
    return Reply(list_body(req, "endpoints", [ENDPOINTS.view(req, row) for row in found]))


@IDENTITY.route(
    "GET",
    ROOT + "/endpoints/{endpoint_id}/projects",
    policy="identity:list_projects_for_endpoint",
    rule=Rule.POLICY,
    response=PROJECT_LIST,
    summary="List the projects that an endpoint is tied to",
)
async def list_projects_of_endpoint(req: Request) -> Reply:
    found = await req.read(endpoint_groups.list_projects_of_endpoint, req.params["endpoint_id"])
    return Reply(list_body(req, "projects", [project_routes.view(req, row) for row in found]))
