"""``/os-server-groups``: servers that must share a host, or must not."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.server_schemas import ranges
from ostro.http.compute.service import COMPUTE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, STRING, array, shape, strict, wrapped
from ostro.http.versions import Version
from ostro.model.errors import Invalid
from ostro.services.compute import server_groups
from ostro.services.compute.server_groups import POLICIES
from ostro.store.paging import Page, Sort
from ostro.store.server_groups import ServerGroup

POLICY = "os_compute_api:os-server-groups"
PATH = "/v2.1/os-server-groups"
NAME = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^\S(.*\S)?$"}
SHOWN = shape({"server_group": ANY_OBJECT})
HARD = ["affinity", "anti-affinity"]
STEPS = (Version(2, 1), Version(2, 15), Version(2, 64))


def _body(version: Version) -> dict[str, Any]:
    if version >= (2, 64):
        rules = strict({"max_server_per_host": {"type": "integer", "minimum": 1}})
        properties: dict[str, Any] = {"name": NAME, "policy": {"enum": list(POLICIES)}, "rules": rules}
        return wrapped("server_group", strict(properties, ("name", "policy")))
    allowed = list(POLICIES) if version >= (2, 15) else HARD
    policies = array({"enum": allowed}, minItems=1, maxItems=1)
    return wrapped("server_group", strict({"name": NAME, "policies": policies}, ("name", "policies")))


def _view(req: Request, group: ServerGroup, members: list[str]) -> dict[str, Any]:
    view: dict[str, Any] = {"id": group.id, "name": group.name, "members": members}
    if req.at_least(2, 64):
        view |= {"policy": group.policy, "rules": group.rules}
    else:
        view |= {"policies": [group.policy], "metadata": {}}
    if req.at_least(2, 13):
        view |= {"project_id": group.project_id, "user_id": group.user_id}
    return view


@COMPUTE.route(
    "GET",
    PATH,
    policy=f"{POLICY}:index",
    rule=Rule.READER,
    query={"limit": INTEGER, "offset": INTEGER, "all_projects": STRING},
    response=shape({"server_groups": array(ANY_OBJECT)}),
    summary="List server groups",
)
async def list_groups(req: Request) -> Reply:
    offset = req.integer("offset", 0, high=10_000)
    limit = min(req.integer("limit", 1000), 1000)
    page = Page(limit=offset + limit, sorts=(Sort("created_at_us"),))
    groups, members = await req.read(server_groups.list_server_groups, page, every_project="all_projects" in req.query)
    shown = groups[offset : offset + limit]
    return Reply({"server_groups": [_view(req, group, members[group.id]) for group in shown]})


async def create_group(req: Request) -> Reply:
    given = req.body["server_group"]
    policy = given["policy"] if "policy" in given else given["policies"][0]
    rules = given.get("rules", {})
    if rules and policy != "anti-affinity":
        raise Invalid("Only anti-affinity policy supports rules.")
    group = await req.run(server_groups.create_server_group, given["name"], policy, rules)
    return Reply({"server_group": _view(req, group, [])})


for _low, _high in ranges(STEPS):
    COMPUTE.route(
        "POST",
        PATH,
        policy=f"{POLICY}:create",
        rule=Rule.MEMBER,
        low=_low,
        high=_high,
        body=_body(_low),
        response=SHOWN,
        summary="Create a server group",
    )(create_group)


@COMPUTE.route(
    "GET", PATH + "/{id}", policy=f"{POLICY}:show", rule=Rule.READER, response=SHOWN, summary="Show a server group"
)
async def show_group(req: Request) -> Reply:
    group, members = await req.read(server_groups.get_server_group, req.params["id"])
    return Reply({"server_group": _view(req, group, members)})


@COMPUTE.route(
    "DELETE", PATH + "/{id}", policy=f"{POLICY}:delete", rule=Rule.MEMBER, status=204, summary="Delete a server group"
)
async def delete_group(req: Request) -> Reply:
    await req.run(server_groups.delete_server_group, req.params["id"])
    return Reply()
